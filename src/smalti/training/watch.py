"""Steps that take far longer than those before: named, with what was seen meanwhile."""

import os
import sys
import time
from collections import deque
from dataclasses import dataclass

TIMES = 5.0  # of the mean of the steps before
SETTLED, REGARDED = 30, 200  # steps before one is judged; the newest that count for the mean
LEAST = 0.5  # seconds: what is shorter nobody minds


@dataclass(frozen=True)
class _Use:
    """What this process, and the machine, used so far."""

    faults: int  # pages that had to be read from a disk
    preempted: int  # times that another process got the processor first
    busy: float  # seconds of processors, of all threads

    def since(self, before: "_Use") -> "_Use":
        """Return what was used after an earlier look."""
        return _Use(self.faults - before.faults, self.preempted - before.preempted, self.busy - before.busy)


@dataclass(frozen=True)
class Slow:
    """A slow step, in words."""

    finding: str
    remedy: str


class Watch:
    """Is told how long each step took, with its wait for data."""

    def __init__(self) -> None:
        self._steps: deque[float] = deque(maxlen=REGARDED)
        self._before = _use()

    def step(self, seconds: float, waited: float) -> Slow | None:
        """Take in a step that has ended just now; gives what is to be said of it, if it is slow.

        seconds: that it took, with those that it waited for its batch.
        """
        now, before = _use(), self._before
        mean = sum(self._steps) / max(len(self._steps), 1)
        slow = len(self._steps) >= SETTLED and seconds >= max(TIMES * mean, LEAST)
        self._steps.append(seconds)
        self._before = now
        if not slow:
            return None
        return _told(seconds, mean, waited, now.since(before))

    def forget(self) -> None:
        """Leave out of the next step what was used since the last one: validation, say."""
        self._before = _use()


def _told(seconds: float, mean: float, waited: float, used: _Use) -> Slow:
    """Return what was seen, and what it points to, the likeliest first."""
    load, cores = _load(), os.cpu_count() or 1
    said = [f"took {seconds:.2g} s, {seconds / mean:.0f} times the mean of those before"]
    remedies = []
    if used.faults:
        said.append(f"{used.faults} pages were read from a disk")
        remedies.append("free memory: what spills to a disk is slow")
    if waited > seconds / 2:
        said.append(f"{waited:.2g} s of them it waited for data")
        remedies.append("more workers, or data on a faster disk")
    said.append(f"processors worked {used.busy:.2g} s for it")
    if load is not None:
        said.append(f"the load of the machine was {load:.1f} on {cores} cores")
        if load > cores:
            remedies.append("end what else runs on this machine")
    if used.preempted > 100 * seconds:
        said.append(f"others took its place {used.preempted} times")
    return Slow(", ".join(said), "; ".join(remedies) or "see whether it comes back: top, iostat, nvidia-smi")


def _use() -> _Use:
    if sys.platform == "win32":
        return _Use(0, 0, time.process_time())
    import resource  # not on Windows

    found = resource.getrusage(resource.RUSAGE_SELF)
    return _Use(found.ru_majflt, found.ru_nivcsw, time.process_time())


def _load() -> float | None:
    """Return how many processes wanted a processor within the last minute; None where that is not known."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None
