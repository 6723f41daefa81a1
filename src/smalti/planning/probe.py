"""The probe: a few real steps, and from them what a whole run takes. Bounded in memory and in time."""

import math
from dataclasses import dataclass
from typing import Any

from smalti import imaging, memory
from smalti.planning.case import Case
from smalti.planning.measuring import Resident, Taken, timed
from smalti.planning.parts import Parts
from smalti.planning.trial import Phase, Trial, phases
from smalti.training.prior_task import PriorTask
from smalti.training.settings import Training
from smalti.training.task import Task

POINTS = (1, 2, 4)  # samples of the small batches, each tried once the one before says that it fits
# bytes that a process takes for each byte of tensors more: what a CPU's allocator keeps between them
KEPT = 1.15
FILLED = 0.9  # of the free memory: what a probe may take of it, by its prediction
LONGEST = 10.0  # seconds of a step beyond which the whole batch is not tried
STEADY = 6.0  # seconds of steps of the whole batch that are timed, but at least two steps
BANDWIDTH = 5e9  # bytes a second in which weights are read: for drawings that would take too long to try


@dataclass(frozen=True)
class Line:
    """A number that grows with the samples of a part of a batch."""

    begin: float
    each: float

    @classmethod
    def through(cls, points: dict[int, float]) -> "Line":
        """Return the line through the two largest of some points; in proportion to one that is alone."""
        high = max(points)
        low = max((size for size in points if size < high), default=0)
        below = points.get(low, 0.0)
        each = max(0.0, (points[high] - below) / (high - low))
        return cls(max(0.0, points[high] - each * high), each)

    def at(self, samples: int) -> float:
        """Return the number of so many samples."""
        return self.begin + self.each * samples


@dataclass(frozen=True, kw_only=True)
class Small:
    """What small batches say of a part of a batch, as lines over its samples."""

    tried: int  # samples of the largest
    tensors: Line  # bytes
    wall: Line  # seconds
    processor: Line


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the probe found."""

    small: Small
    part: int  # samples of a part of a batch
    times: int  # parts of a process's share of a batch
    tensors: float  # bytes that a step makes and holds at one time
    total: float  # bytes that the process takes at most, beyond its base, but for copies of checkpoints
    total_by_lines: float  # the same by the small batches alone
    step_by_lines: Taken  # and what one of the last steps takes by them
    is_measured: bool  # total and steps: with the whole batch, else by lines
    steps: list[tuple[Phase, Taken]]  # what a step of each phase takes, without the wait for its batch
    loading: float  # seconds in which a process opens a batch
    sheet: float  # seconds
    is_sheet_drawn: bool  # else sheet is the least that it takes
    sheet_bytes: int
    validation: float  # seconds a batch

    @property
    def step(self) -> Taken:
        """Return what one of the last steps takes."""
        return self.steps[-1][1]


def try_small(case: Case, trial: Trial, part: int) -> Small:
    """Try small batches, no larger than `part` samples, and than what fits into the free memory.

    Where batches are cut each is one of two parts, as no later part takes more than the second.
    """
    last, parts = trial.training.steps - 1, min(trial.training.accumulate, 2)
    held: dict[int, float] = {}
    taken: dict[int, Taken] = {}
    with trial.in_parts(parts):
        for size in sorted({min(size, part) for size in POINTS}):
            if held and 2 * max(held.values()) * KEPT > FILLED * memory.free():
                break
            batch = case.batch(size * parts)
            held[size] = trial.memory(batch, last)
            taken[size] = Taken(*(number / parts for number in trial.time(batch, last, least=3)))
    return Small(
        tried=max(held),
        tensors=Line.through(held),
        wall=Line.through({size: one.wall for size, one in taken.items()}),
        processor=Line.through({size: one.processor for size, one in taken.items()}),
    )


def probe(case: Case, trial: Trial, parts: Parts, resident: Resident, processes: int) -> Found:
    """Take steps of the recipe, with the whole share of one of some processes where it fits.

    trial: with which nothing was tried. resident: since before its networks were built.
    """
    training, share = case.training, case.training.batch // processes
    part, times = cut(training, processes)
    batches = case.loader(training.batch, processes).batches()
    small = try_small(case, trial, part)
    more = kept(case, small.tensors.at(part) - small.tensors.at(small.tried))
    total = resident.most() + more
    expected = Taken(*(line.at(part) * times for line in (small.wall, small.processor)))
    whole = more < FILLED * memory.free() and expected.wall < LONGEST
    batch = next(batches) if whole else case.batch(small.tried)
    loading = timed(lambda: next(batches), case.device).wall if whole else 0.0
    with trial.in_parts(training.accumulate if whole else 1):
        steps = [(phase, _step(trial, batch, phase)) for phase in phases(trial.task, training)]
    if not whole:
        longer = [large / little for large, little in zip(expected, steps[-1][1], strict=True)]
        steps = [(phase, Taken(one.wall * longer[0], one.processor * longer[1])) for phase, one in steps]
        loading = timed(lambda: case.batch(small.tried), case.device).wall * share / small.tried
    least = _drawing(trial.task, parts)
    sheet, size = least, 0
    if least < LONGEST:
        sheet = timed(lambda: trial.show(batch), case.device).wall
        size = len(imaging.png(trial.show(batch)))
    validation = timed(lambda: trial.validate(batch), case.device).wall * training.batch / batch.size
    return Found(
        small=small,
        part=part,
        times=times,
        tensors=small.tensors.at(part),
        total=resident.most() if whole else total,
        total_by_lines=total,
        step_by_lines=expected,
        is_measured=whole,
        steps=steps,
        loading=loading,
        sheet=sheet,
        is_sheet_drawn=least < LONGEST,
        sheet_bytes=size,
        validation=validation,
    )


def cut(training: Training, processes: int) -> tuple[int, int]:
    """Return the samples of a part of a process's share of a batch, and how many parts there are."""
    share = training.batch // processes
    part = math.ceil(share / training.accumulate)
    return part, math.ceil(share / part)


def kept(case: Case, tensors: float) -> float:
    """Return the bytes that a process takes for bytes of tensors more."""
    return tensors * (1.0 if case.device.type == "cuda" else KEPT)


def _step(trial: Trial, batch: Any, phase: Phase) -> Taken:
    """Return what a step of a phase takes: of the last one most steps are."""
    if phase.last == trial.training.steps - 1:
        return trial.time(batch, phase.last, within=STEADY, least=2)
    return trial.time(batch, phase.first)


def _drawing(task: Task, parts: Parts) -> float:
    """Return the seconds that a sample sheet takes at the least: a prior reads its weights for every cell."""
    if not isinstance(task, PriorTask):
        return 0.0
    height, width = task.pipeline.settings.grids[0]
    return height * width * parts.weights / BANDWIDTH
