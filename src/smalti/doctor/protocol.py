"""What every subject of the doctor keeps: what is asked, and lines of findings."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Literal

import torch

Verdict = Literal["good", "slow", "wrong"]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is looked at."""

    device: torch.device
    folder: Path  # in which files are written and read; they are deleted again


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line. Slow: it works, but costs time, room, or that a run can be repeated to the bit."""

    what: str
    value: str  # what was measured, with its unit
    verdict: Verdict
    remedy: str = ""  # what to do where it is not good, in words that can be typed

    def __post_init__(self) -> None:
        assert self.remedy or self.verdict == "good", f"{self.what} without a remedy"


Subject = Callable[[Asked], Iterable[Finding]]


def judged(what: str, value: str, remedy: str, *, right: bool = True, quick: bool = True) -> Finding:
    """Return a finding: wrong unless right, else slow unless quick; its remedy only where it is not good."""
    verdict: Verdict = "wrong" if not right else "good" if quick else "slow"
    return Finding(what=what, value=value, verdict=verdict, remedy="" if verdict == "good" else remedy)


def looked(subject: Subject, asked: Asked) -> list[Finding]:
    """Return what a subject finds; a line more where torch or the system breaks off."""
    found: list[Finding] = []
    try:
        for one in subject(asked):
            found.append(one)  # one by one: those before the break stay
    except (RuntimeError, OSError, TypeError) as problem:
        told = str(problem).splitlines() or [type(problem).__name__]
        found.append(judged("what follows", told[0][:100], "--device cpu, or another torch", right=False))
    return found


def seconds(work: Callable[[], Any], device: torch.device, turns: int = 5) -> float:
    """Return the median time of a piece of work, without the first turn, in which things get ready."""
    found = []
    for _ in range(turns + 1):
        began = perf_counter()
        work()
        wait(device)
        found.append(perf_counter() - began)
    return median(found[1:])


def wait(device: torch.device) -> None:
    """Wait until an accelerator is done."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
