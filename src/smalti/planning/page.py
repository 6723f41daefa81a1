"""A plan in words, one screen, and as plain values."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import torch

from smalti.memory import size_of
from smalti.planning.plan import Plan
from smalti.planning.synthetic import KINDS
from smalti.sizes import worded

BUSY = 1.3  # times the processor's time: beyond it a step waits for other programs
_NAMES = {
    "process": "process and libraries",
    "frozen": "networks that do not learn",
    "averaged": "averaged weights",
    "others": "allocator, kernels, others",
    "checkpoint": "a checkpoint's copy",
}
_LEFT = 12  # characters of the first column, and those of the second
_SECOND = 28


def text(plan: Plan) -> str:
    """Return the whole."""
    parts = (
        _head(plan),
        _weights(plan),
        _memory(plan),
        _several(plan),
        _time(plan),
        _disk(plan),
        _less(plan),
    )
    return "\n".join(line for lines in parts for line in lines)


def facts(plan: Plan) -> dict[str, Any]:
    """Return the same as plain values: bytes and seconds."""
    found, training = plan.found, plan.case.training
    told: dict[str, Any] = {
        "recipe": plan.recipe,
        "kind": training.kind,
        "device": str(plan.case.device),
        "precision": training.precision,
        "batch": training.batch,
        "steps": training.steps,
        "synthetic": plan.case.is_synthetic,
        "parameters": plan.parameters,
        "memory": {**plan.memory, "total": plan.total, "free": plan.free},
        "fits": fits(plan),
        "processes": {"count": plan.processes, **plan.by_processes},
        "seconds": {**plan.seconds, "total": sum(plan.seconds.values())},
        "disk": {**plan.disk, "free": plan.disk_free, "shards": plan.shards},
        "less": [{**asdict(one), "total": round(one.total) + plan.beside} for one in plan.less],
    }
    if found is not None:
        told["measured"] = found.is_measured
        told["memory_by_lines"] = round(found.total_by_lines) + plan.beside
        told["step"] = {"wall": found.step.wall, "processor": found.step.processor, "wait": plan.wait}
        told["step_by_lines"] = found.step_by_lines._asdict()
        told["phases"] = [
            {"first": phase.first, "steps": phase.count, **one._asdict()} for phase, one in found.steps
        ]
    return told


def fits(plan: Plan) -> bool:
    """Return whether one process has room in the memory that was free, its libraries being there."""
    return plan.found is not None and plan.total - plan.base <= plan.free


def _head(plan: Plan) -> Iterable[str]:
    training, where = plan.case.training, plan.case.device
    crops = f"{training.batch} of {worded(training.sizes)}"
    many = torch.get_num_threads()
    threads = f", {many} thread{'s' * (many > 1)}" if where.type == "cpu" else ""
    count = f"{training.kind}, {training.steps:,} steps of {crops}, {training.precision} on {where}{threads}"
    yield _row("recipe", plan.recipe, count)
    if plan.case.is_synthetic:
        classes = len(plan.case.readers["train"].classes)
        yield _row("data", "none named", f"{KINDS} made samples of {classes} classes; --data plans by yours")
    else:
        counts = (len(plan.case.readers[split]) for split in ("train", "val"))
        yield _row("data", str(training.data.root), "{:,} to train on, {:,} held out".format(*counts))


def _weights(plan: Plan) -> Iterable[str]:
    for number, (name, count) in enumerate(plan.parameters.items()):
        yield _row("" if number else "parameters", _NAMES.get(name, name), f"{count:>13,}")


def _memory(plan: Plan) -> Iterable[str]:
    for number, (name, size) in enumerate(plan.memory.items()):
        yield _row("" if number else "memory", _NAMES.get(name, name), _size(size))
    found = plan.found
    if found is None:
        verdict = f"without activations, and more than {size_of(plan.free)} free: no step was tried"
    else:
        how = "steps of the whole batch" if found.is_measured else f"by batches up to {found.small.tried}"
        verdict = f"of {size_of(plan.free + plan.base)}: {'fits' if fits(plan) else 'DOES NOT FIT'}; {how}"
    yield _row("", "at most, together", f"{_size(plan.total)}   {verdict}")


def _several(plan: Plan) -> Iterable[str]:
    for number, (strategy, size) in enumerate(plan.by_processes.items()):
        words = f"strategy={strategy}"
        yield _row("" if number else f"{plan.processes} processes", words, f"{_size(size)}   each, by count")


def _time(plan: Plan) -> Iterable[str]:
    found = plan.found
    if found is None:
        return
    for number, (phase, one) in enumerate(found.steps):
        steps = "a step" if len(found.steps) == 1 else f"a step, {phase.first:,} .. {phase.last:,}"
        words = f"{one.wall:>10.3g} s   processor {one.processor:.3g} s"
        if not number and not found.is_measured:
            words += f"; by batches up to {found.small.tried}"
        if not number and plan.case.device.type == "cpu" and one.wall > BUSY * one.processor:
            words += "; other programs compute here: alone it takes less"
        yield _row("" if number else "time", steps, words)
    named = {"steps": "all steps", "data": "waits for data", "samples": "sample sheets"}
    for name, seconds in plan.seconds.items():
        least = "" if name != "samples" or found.is_sheet_drawn else "   at least: too long to try"
        unknown = name == "data" and plan.case.is_synthetic
        words = f"{'unknown':>12}" if unknown else f"{_span(seconds):>12}{least}"
        yield _row("", named.get(name, name), words)
    several = "; without what processes say to each other" if plan.processes > 1 else ""
    yield _row("", "in all", f"{_span(sum(plan.seconds.values())):>12}   without checkpoints{several}")


def _disk(plan: Plan) -> Iterable[str]:
    for number, (name, size) in enumerate(plan.disk.items()):
        more = {
            "checkpoint": "   once more while it is written",
            "checkpoints": f"   keep={plan.case.training.keep}",
        }.get(name, "")
        yield _row("" if number else "disk", name, _size(size) + more)
    if plan.shards is not None:
        yield _row("", "token shards of the data", f"{_size(plan.shards)}   smalti encode")
    needed = sum(plan.disk.values())
    verdict = "" if needed <= plan.disk_free else ": NOT ENOUGH"
    yield _row("", "in all, of what is free", f"{_size(needed)}   of {size_of(plan.disk_free)}{verdict}")


def _less(plan: Plan) -> Iterable[str]:
    for number, one in enumerate(plan.less):
        size = _size(round(one.total) + plan.beside)
        yield _row("" if number else "less memory", one.words, f"{size}   {one.step:.3g} s a step")


def _row(first: str, second: str, rest: str) -> str:
    return f"{first:{_LEFT}} {second:{_SECOND}} {rest}".rstrip()


def _size(count: int) -> str:
    return f"{size_of(count):>12}"


def _span(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.3g} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if hours else f"{minutes} min"
    return f"{hours / 24:.1f} days"
