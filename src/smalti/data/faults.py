"""What befalls data while they are read: a process that opens them dies, their folder is away."""

import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from smalti.errors import UserError

T = TypeVar("T")
Place = tuple[int, int]  # pass over the dataset, index in the dataset
Say = Callable[[str], None]

DEATHS, NEAR = 5, 100  # processes that may die before that many batches came between; more are no chance
AWAY = 60.0  # seconds in which a folder may come back
_DIED = re.compile(
    r"DataLoader worker .*(exited unexpectedly|killed by signal)|Pin memory thread exited", re.DOTALL
)


def say(text: str) -> None:
    """Tell the person at the terminal, above any bar."""
    tqdm.write(text, file=sys.stderr)


def opened(
    dataset: Dataset[T], places: Callable[[int], Iterator[list[Place]]], *, workers: int, say: Say
) -> Iterator[list[T]]:
    """Return what lies at the places of one batch after the other, without end, opened by processes.

    places: given a number, gives the places of all batches but for so many first ones. Where a process dies
    all begin again at the batch that is missing, which is told to `say`: what comes out is the same.
    UserError where they die again and again.
    """
    done, deaths = 0, list[int]()
    while True:
        try:
            with _by_asking():
                batches = iter(
                    DataLoader(
                        dataset,
                        batch_sampler=places(done),
                        num_workers=workers,
                        generator=torch.Generator(),  # workers' seeds: not from the global one, and not used
                        collate_fn=list,
                        pin_memory=torch.cuda.is_available(),
                    )
                )
            for found in batches:
                yield found
                done += 1
        except (RuntimeError, OSError, EOFError) as problem:
            # one that is dying tears what it sends; what a reader raised says that it was caught there
            torn = not isinstance(problem, RuntimeError) and not str(problem).startswith("Caught ")
            if not torn and not _DIED.search(str(problem)):
                raise
        deaths = [*(death for death in deaths if done - death < NEAR), done]
        if len(deaths) > DEATHS:
            got = f"{len(deaths)} that died within {NEAR} batches"
            remedy = "fewer workers, if the system ends them for lack of memory; workers=0 opens without"
            raise UserError("processes that open samples and stay alive", got, remedy)
        say("a process that opens samples died: all are begun again where they were")


@contextmanager
def _by_asking() -> Iterator[None]:
    """Within, an iterator over workers is made of which the death is noticed by whoever waits for a batch.

    And not, as torch has it, by a signal that raises in the middle of whatever the main thread does.
    """
    if sys.platform == "win32":  # where it asks anyway
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, before)


class Away:
    """Waits for a folder that is gone, or empty as a mount point is: a minute, and not again while it is.

    In place of a folder there may be a file that holds all, as archives do.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._is_given_up = folder, False

    def wait(self, say: Say) -> None:
        """Wait, and say so, unless the folder is there."""
        if self._is_there() or self._is_given_up:
            return
        say(f"{self._folder} is away; waiting {AWAY:.0f} seconds for it")
        end = time.monotonic() + AWAY
        while not self._is_there() and time.monotonic() < end:
            time.sleep(0.1)
        self._is_given_up = not self._is_there()
        if not self._is_given_up:
            say(f"{self._folder} is there again")

    def _is_there(self) -> bool:
        try:
            there = self._folder.is_file() or next(self._folder.iterdir(), None) is not None
        except OSError:
            return False
        self._is_given_up = self._is_given_up and not there
        return there
