"""How fast a run goes, what it waits for, and how much memory it takes."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from smalti.training.watch import Slow, Watch

WAITS = ("data", "log", "checkpoint", "sheet", "validation")  # what a run does beside steps


class Pace:
    """Times steps, and by name what comes between them."""

    def __init__(self, batch: int, device: torch.device | None = None) -> None:
        """batch: images a step. device: on which steps are worked off later than they are asked for."""
        self.batch, self._device = batch, device
        self._seconds = dict.fromkeys((*WAITS, "working"), 0.0)
        self._steps = 0
        self._waited = 0.0  # for the batch of the step that comes
        self._watch = Watch()
        self.slow: Slow | None = None  # what is to be said of the last step, where it was slow

    @contextmanager
    def waiting(self, what: str = "data") -> Iterator[None]:
        """Around the wait for a batch, or for another of WAITS."""
        if what != "data":  # what was asked for is the steps' own time, also where it is waited for here
            self._finish()
        before = self._seconds[what]
        with self._timed(what):
            yield
        if what == "data":
            self._waited = self._seconds[what] - before
        else:
            self._watch.forget()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Around the step."""
        before = self._seconds["working"]
        with self._timed("working"):
            yield
        self._steps += 1
        worked = self._seconds["working"] - before
        self.slow, self._waited = self._watch.step(worked + self._waited, self._waited), 0.0

    def take(self) -> dict[str, float]:
        """Return images a second of all processes, of steps and their data alone, and shares of all time.

        The shares: what each of WAITS took, since the last call.
        """
        self._finish()
        stepping = max(self._seconds["data"] + self._seconds["working"], 1e-9)
        total = max(sum(self._seconds.values()), 1e-9)
        rates = {"images_per_second": self.batch * self._steps / stepping}
        rates |= {f"{what}_wait": self._seconds[what] / total for what in WAITS}
        self._seconds, self._steps = dict.fromkeys(self._seconds, 0.0), 0
        return rates

    def _finish(self) -> None:
        """Wait until the device has done its steps, as part of these."""
        if self._device is not None and self._device.type == "cuda":
            with self._timed("working"):
                torch.cuda.synchronize(self._device)

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self._seconds[what] += time.perf_counter() - began


def memory_gib(device: torch.device) -> float:
    """Return the most memory taken so far.

    By tensors on a GPU, else by this process (0 where that is not known).
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    if sys.platform == "win32":
        return 0.0
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
