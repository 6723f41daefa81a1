"""How fast a run goes, what it waits for, and how much memory it takes."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Pace:
    """Times steps, without what comes between them (samples, validation, checkpoints)."""

    def __init__(self, batch: int) -> None:
        self.batch = batch  # images a step
        self._seconds = {"waiting": 0.0, "working": 0.0}
        self._steps = 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around the wait for a batch."""
        with self._timed("waiting"):
            yield

    @contextmanager
    def working(self) -> Iterator[None]:
        """Around the step."""
        with self._timed("working"):
            yield
        self._steps += 1

    def take(self) -> dict[str, float]:
        """Return images a second of all processes, and the share of time spent waiting, since the last."""
        total = max(sum(self._seconds.values()), 1e-9)
        rates = {
            "images_per_second": self.batch * self._steps / total,
            "data_wait": self._seconds["waiting"] / total,
        }
        self._seconds, self._steps = {"waiting": 0.0, "working": 0.0}, 0
        return rates

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
