"""Trainings in processes that may be killed: forked from one that has imported all, which no try need do.

A recipe rich in state (two networks, averages, a codebook started and revived, sheets, validation, the best
model), a moment to kill at, and all that must be equal at the end.
"""

import json
import multiprocessing
import os
import random
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from tiny import TOKENIZER_TRAINING
from tqdm import tqdm

import smalti
from smalti.errors import UserError
from smalti.training import checkpoints, log
from smalti.training.folder import RunFolder

RECIPE = {
    **TOKENIZER_TRAINING,
    "size": [16, 24],
    "steps": 6,
    "ema": 0.9,
    "quantizer": {"codebook_size": 16, "kmeans_start": True, "revive_below": 0.2},
    "losses": {
        **TOKENIZER_TRAINING["losses"],
        "adversarial": {"start": 2, "discriminator_start": 1, "patchgan": {"width": 8, "layers": 1}},
    },
    "sample_every": 2,
    "validate_every": 2,
    "keep_best": "psnr",
    "checkpoint_every": 1,
}
PROCESSES = {"single": 1, "ddp": 2, "fsdp": 2}  # of a run, by its strategy
CLOCKS = {"images_per_second", "memory_gib"}  # what no two runs have alike, and all that ends in _wait
WRITES = "writes: "  # said at the end of a process, and how many it did
PATIENCE = 3.0  # seconds that a process has to see that another one is gone, before it is asked to end
LONG = 60.0  # seconds after which a process hangs


@dataclass
class Server:
    """Starts trainings: `start` forks, from a process that imports torch and smalti once."""

    context: Any = field(default_factory=lambda: multiprocessing.get_context("forkserver"))

    def __post_init__(self) -> None:
        # by name, as the server knows no path of the tests; what runs there is found when it is unpickled
        self.context.set_forkserver_preload(
            ["smalti.training.train", "torch.nn.parallel", "torch.utils.tensorboard", "scipy", "pytest"]
        )

    def start(
        self, out: Path, strategy: str, event: tuple[int, int] | None, **given: Any
    ) -> list[BaseProcess]:
        """Start the processes of a training. event: (process, number of the write at which it is killed)."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        count = PROCESSES[strategy]
        out.parent.mkdir(exist_ok=True)
        processes = [
            self.context.Process(
                target=_train,
                args=(out, (rank, count, port), event[1] if event and event[0] == rank else None, given),
            )
            for rank in range(count)
        ]
        for process in processes:
            process.start()
        return processes


def _train(out: Path, place: tuple[int, int, int], event: int | None, given: dict[str, Any]) -> None:
    """Train as the process of a place (rank, count, port) in the world; what it says goes beside the run."""
    rank, count, port = place
    told = os.open(f"{out}.{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(told, 1)
    os.dup2(told, 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    tqdm.set_lock(threading.RLock())  # one for several processes would be left by those that are killed
    if count > 1:
        os.environ.update(RANK=f"{rank}", LOCAL_RANK=f"{rank}", WORLD_SIZE=f"{count}")
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=f"{port}")
    torch.set_num_threads(1)
    writes = _Writes(out, event)
    sys.addaudithook(writes)
    try:
        smalti.train(out=out, **given)
    except UserError as mistake:
        raise SystemExit(str(mistake)) from None
    finally:
        print(f"{WRITES}{writes.seen}")


class _Writes:
    """Counts writes into a folder: files opened, renamed, made, deleted; kills the process at one of them."""

    EVENTS = frozenset({"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod"})

    def __init__(self, folder: Path, deadly: int | None) -> None:
        self._folder, self._deadly, self.seen = str(folder), deadly, 0

    def __call__(self, event: str, given: tuple[Any, ...]) -> None:
        if event in self.EVENTS and str(given[0]).startswith(self._folder):
            self.seen += 1
            if self.seen == self._deadly:
                os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Moment:
    """When a training is killed, and which of its processes."""

    seconds: float  # after its start
    event: tuple[int, int] | None  # or at a write of process 0
    alone: int | None  # the process that is killed; None: all

    @staticmethod
    def draw(chance: random.Random, count: int, seconds: float, writes: int) -> "Moment":
        """Draw one for a training of so many processes, which takes so long and writes so often."""
        alone = chance.choice([None, *range(count)]) if count > 1 else None
        if alone in (None, 0) and chance.random() < 0.5:
            return Moment(LONG, (0, chance.randint(1, writes)), alone)
        return Moment(chance.uniform(0.0, seconds), None, alone)


def kill(processes: list[BaseProcess], moment: Moment) -> list[int]:
    """Kill them; gives their exit statuses. Of those left by one that is killed alone no one may hang."""
    processes[moment.alone or 0].join(moment.seconds)
    for number, process in enumerate(processes):
        if moment.alone in (None, number):
            process.kill()
    for process in processes:
        process.join(PATIENCE)
        process.terminate()  # as torchrun does; most have ended before
    return finish(processes)


def finish(processes: list[BaseProcess]) -> list[int]:
    """Wait for them; gives their exit statuses. One that hangs is an error."""
    end = time.monotonic() + LONG
    for process in processes:
        process.join(max(0.0, end - time.monotonic()))
    hanging = [process for process in processes if process.exitcode is None]
    for process in hanging:
        process.kill()
        process.join()
    assert not hanging, f"{len(hanging)} of {len(processes)} processes hang"
    return [process.exitcode for process in processes]


def told(out: Path) -> str:
    """What all processes of a run said."""
    return "\n".join(path.read_text() for path in sorted(out.parent.glob(f"{out.name}.*.txt")))


def record(run: Path) -> dict[str, Any]:
    """All that must be equal: weights, moments, averages; lines of the log without clocks; images; models.

    Of folders of one name, as models say the name of their run.
    """
    folder = RunFolder(run)
    found = checkpoints.read(checkpoints.latest(folder.checkpoints))
    lines = [
        json.dumps({name: value for name, value in line.items() if not _is_clock(name)})
        for line in log.read(folder.log)
    ]
    files = {
        str(path.relative_to(run)): path.read_bytes()
        for below in (folder.samples, folder.model, folder.best)
        for path in sorted(below.rglob("*"))
        if path.is_file()
    }
    tensors = {name: (tensor.dtype, tensor.numpy().tobytes()) for name, tensor in found.tensors.items()}
    return {"step": found.step, "tensors": tensors, "log": lines, "files": files}


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Return in words where two records differ; empty where they are equal."""
    found = [] if one["step"] == other["step"] else [f"step {one['step']} and {other['step']}"]
    for part in ("tensors", "files"):
        names = sorted(one[part].keys() | other[part].keys())
        found += [f"{part} {name}" for name in names if one[part].get(name) != other[part].get(name)]
    return found + [f"log: {line}" for line in sorted(set(one["log"]) ^ set(other["log"]))]


def _is_clock(name: str) -> bool:
    return name in CLOCKS or name.endswith("_wait")
