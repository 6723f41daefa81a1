"""What would take less memory: the same recipe with one setting changed, and what it takes then."""

import gc
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

from smalti.planning.case import Case
from smalti.planning.parts import Parts, count
from smalti.planning.probe import Found, Small, cut, kept, try_small

PATIENCE = 45.0  # seconds after which no more is tried


@dataclass(frozen=True)
class Less:
    """A change of settings, as it is typed, and what a run takes with it."""

    words: str
    total: float  # bytes beyond the process's base
    step: float  # seconds of a step of the last ones


def lighter(case: Case, found: Found, parts: Parts, processes: int) -> list[Less]:
    """Return what takes less, after small batches of each; the recipe's networks are gone by now."""
    training, began = case.training, perf_counter()
    options: list[Less] = []
    for words, changed in _changes(training, processes):
        # half a batch, and the line that is there says all
        plain = words.startswith("batch=")
        if not plain and perf_counter() - began > PATIENCE:
            continue
        small, held = (found.small, parts) if plain else _tried(case, changed, processes)
        options.append(_less(case, found, parts, (words, changed, small, held), processes))
    return [one for one in options if one.total < found.total]


def _changes(training: Any, processes: int) -> list[tuple[str, Any]]:
    share, found = training.batch // processes, []
    if share >= 2 * training.accumulate:
        many = 2 * training.accumulate
        found.append((f"accumulate={many}", replace(training, accumulate=many)))
    if hasattr(training, "recompute") and not training.recompute:
        found.append(("recompute=true", replace(training, recompute=True)))
    if training.precision == "fp32":
        found.append(("precision=bf16", replace(training, precision="bf16")))
    if share >= 2:
        many = share // 2 * processes
        found.append((f"batch={many}", replace(training, batch=many)))
    return found


def _tried(case: Case, changed: Any, processes: int) -> tuple[Small, Parts]:
    task = case.task(changed)
    part, _ = cut(changed, processes)
    small, held = try_small(case, case.trial(task, changed), part), count(task, changed)
    del task
    gc.collect()  # networks and their moments hold one another
    return small, held


def _less(
    case: Case, found: Found, parts: Parts, tried: tuple[str, Any, Small, Parts], processes: int
) -> Less:
    words, changed, small, held = tried
    part, times = cut(changed, processes)
    fewer = found.tensors + parts.steady - small.tensors.at(part) - held.steady
    # by lines on both sides, so that what they leave out is left out of both; the processor's time, as far as
    # there is no other that computes, is not that of other programs
    of = "processor" if case.device.type == "cpu" else "wall"
    before, after = getattr(found.small, of).at(found.part) * found.times, getattr(small, of).at(part) * times
    return Less(words, found.total - kept(case, fewer), found.step.wall * after / max(before, 1e-9))
