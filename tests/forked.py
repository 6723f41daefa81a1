"""Commands in processes of their own, forked from one that has imported all: a try costs no import.

What tests do to processes is done to these: signals, limits, closed pipes.
"""

import multiprocessing
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

PATIENCE = 3.0  # seconds that a process has to see that another one is gone, before it is asked to end
LONG = 60.0  # seconds after which a process hangs
IMPORTED = ("smalti.cli.train", "smalti.cli.encode", "smalti.cli.sample", "smalti.training.train")
IMPORTED += ("smalti.training.precompute", "smalti.pipeline", "torch.nn.parallel", "torch.utils.tensorboard")
IMPORTED += ("scipy", "pytest")

# what is done in a process before its command, given its rank; gives what is done after it, or nothing
Prepare = Callable[[int], Callable[[], None] | None]


@dataclass
class Server:
    """Starts commands."""

    context: Any = field(default_factory=lambda: multiprocessing.get_context("forkserver"))

    def __post_init__(self) -> None:
        # by name, as the server knows no path of the tests; what runs there is found when it is unpickled
        self.context.set_forkserver_preload(list(IMPORTED))

    def start(
        self, words: Sequence[object], told: Path, *, count: int = 1, prepare: Sequence[Prepare] = ()
    ) -> list[BaseProcess]:
        """Start a command in so many processes, as torchrun does; they append what they say to a file."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        given = (list(map(str, words)), told, tuple(prepare))
        places = [(rank, count, port) for rank in range(count)]
        processes = [self.context.Process(target=_run, args=(*given, place)) for place in places]
        for process in processes:
            process.start()
        return processes

    def run(
        self, words: Sequence[object], told: Path, *, count: int = 1, prepare: Sequence[Prepare] = ()
    ) -> list[int]:
        """Run a command to its end; gives the exit status of each process."""
        return finish(self.start(words, told, count=count, prepare=prepare))


def finish(processes: list[BaseProcess]) -> list[int]:
    """Wait for processes; gives their exit statuses. One that hangs is an error."""
    end = time.monotonic() + LONG
    for process in processes:
        process.join(max(0.0, end - time.monotonic()))
    hanging = [process for process in processes if process.exitcode is None]
    for process in hanging:
        process.kill()
        process.join()
    assert not hanging, f"{len(hanging)} of {len(processes)} processes hang"
    return [process.exitcode for process in processes]


def _run(words: list[str], told: Path, prepare: Sequence[Prepare], place: tuple[int, int, int]) -> None:
    """Run a command as the process of a place (rank, count, port) in the world."""
    rank, count, port = place
    target = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(target, 1)
    os.dup2(target, 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    multiprocessing.set_start_method(None, force=True)  # as in a process that nobody forked
    tqdm.set_lock(threading.RLock())  # one for several processes would be left by those that are killed
    if count > 1:
        os.environ.update(RANK=f"{rank}", LOCAL_RANK=f"{rank}", WORLD_SIZE=f"{count}")
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=f"{port}")
    torch.set_num_threads(1)
    sys.argv = ["smalti", *words]
    from smalti.cli.main import main

    after = [one(rank) for one in prepare]
    try:
        main()
    finally:
        for one in after:
            if one is not None:
                one()
