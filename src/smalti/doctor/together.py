"""Whether processes on this machine can talk: sums, collections and messages, right and how quickly."""

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from smalti import memory
from smalti.doctor.protocol import Asked, Finding, judged

COUNT, NUMBERS = 2, 2**20  # processes; numbers of fp32 that each gives
PATIENCE = 40.0  # seconds until all have answered: a process starts in some
SLOW = 50 * 2**20  # bytes a second: the gradients of 10 million weights then take a second
_TURNS = 5
Answer = Mapping[str, tuple[bool, float]]  # by the operation: whether it is right, and seconds


def processes(asked: Asked) -> Iterator[Finding]:
    """Give a line for each operation of two processes: by nccl where there are two GPUs, else by gloo."""
    backend = "nccl" if asked.device.type == "cuda" and torch.cuda.device_count() >= COUNT else "gloo"
    if not dist.is_available() or not dist.is_backend_available(backend):
        yield judged(
            "processes that train together", f"no {backend} in this torch", "train in one", quick=False
        )
        return
    found, problem = answers(backend)
    remedy = "GLOO_SOCKET_IFNAME=lo in the environment (for nccl NCCL_SOCKET_IFNAME), or train in one process"
    if problem:
        yield judged(f"{COUNT} processes by {backend}", problem, remedy, right=False)
        return
    for name in OPERATIONS:
        right = all(one[name][0] for one in found)
        speed = 4 * NUMBERS / max(one[name][1] for one in found)
        value = f"{memory.size_of(int(speed))} a second" if right else "other numbers than were sent"
        slow = "fewer steps in which processes talk: a larger batch=, accumulate=" if right else remedy
        yield judged(
            f"{name} of {COUNT} processes by {backend}", value, slow, right=right, quick=speed >= SLOW
        )


def answers(backend: str) -> tuple[list[Answer], str]:
    """Return what each process found, or in words why they did not answer."""
    spawn = multiprocessing.get_context("spawn")  # no forks of a process with threads
    with tempfile.TemporaryDirectory(prefix="smalti-doctor-") as folder:
        pipes = [spawn.Pipe(duplex=False) for _ in range(COUNT)]
        processes = [
            spawn.Process(target=_work, args=(rank, backend, folder, end), daemon=True)
            for rank, (_, end) in enumerate(pipes)
        ]
        try:
            for process in processes:
                process.start()
            for _, end in pipes:  # so that the death of a process is seen at the other end
                end.close()
            return _collected([receiver for receiver, _ in pipes])
        finally:
            for process in processes:
                if process.is_alive():
                    process.terminate()
                process.join()


def _collected(pipes: list[Connection]) -> tuple[list[Answer], str]:
    found: list[Answer] = []
    ends, waiting = perf_counter() + PATIENCE, list(pipes)
    while waiting:
        ready = wait(waiting, max(0.0, ends - perf_counter()))
        if not ready:
            return [], f"no answer in {PATIENCE:.0f} seconds"
        for pipe in ready:
            assert isinstance(pipe, Connection), "what was waited for"
            try:
                answer = pipe.recv()
            except EOFError:
                return [], "a process that died"
            if isinstance(answer, str):
                return [], answer
            found.append(answer)
            waiting.remove(pipe)
    return found, ""


def _work(rank: int, backend: str, folder: str, end: Any) -> None:
    """Be one of the processes: do each operation and send what came of it."""
    if Path("/sys/class/net/lo").exists():  # else gloo asks for the host's name, which not every host knows
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    device = torch.device("cuda", rank) if backend == "nccl" else torch.device("cpu")
    try:
        dist.init_process_group(
            backend, init_method=(Path(folder) / "store").as_uri(), rank=rank, world_size=COUNT,
            timeout=timedelta(seconds=PATIENCE),
        )  # fmt: skip
        end.send({name: _timed(name, rank, device) for name in OPERATIONS})
        dist.barrier()
        dist.destroy_process_group()
    except (RuntimeError, OSError, ValueError) as problem:
        with suppress(OSError):
            end.send(str(problem).splitlines()[0][:100])


def _timed(name: str, rank: int, device: torch.device) -> tuple[bool, float]:
    """Return whether an operation gave what it should each time, and the shortest time that it took."""
    own, taken, right = numbers(rank).to(device), [], True
    expected = _expected(name)
    for _ in range(_TURNS):
        given = own.clone()
        dist.barrier()
        began = perf_counter()
        found = OPERATIONS[name](given).cpu()
        taken.append(perf_counter() - began)
        right = torch.equal(found, expected) and right
    return right, min(taken)


def numbers(rank: int) -> Tensor:
    """Return what a process gives: whole numbers, whose sums are exact."""
    chance = torch.Generator().manual_seed(rank)
    return torch.randint(-1000, 1000, (NUMBERS,), generator=chance).float()


def _expected(name: str) -> Tensor:
    """Return what every process is to have in the end."""
    given = torch.stack([numbers(rank) for rank in range(COUNT)])
    return {"all_reduce": given.sum(0), "all_gather": given.flatten(), "broadcast": given[0]}[name]


def _all_reduce(own: Tensor) -> Tensor:
    dist.all_reduce(own)
    return own


def _all_gather(own: Tensor) -> Tensor:
    parts = [torch.empty_like(own) for _ in range(COUNT)]
    dist.all_gather(parts, own)
    return torch.cat(parts)


def _broadcast(own: Tensor) -> Tensor:
    dist.broadcast(own, 0)
    return own


OPERATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "all_reduce": _all_reduce,
    "all_gather": _all_gather,
    "broadcast": _broadcast,
}
