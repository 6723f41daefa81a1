"""Batches moved and cut."""

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any

import torch

from smalti.data.protocol import Batch


def to(batch: Batch, device: torch.device, parts: Iterable[str]) -> Batch:
    """Return the batch with these parts of it on a device. The others stay where they are."""
    held = {name: getattr(batch, name) for name in parts}
    moved = {name: part.to(device, non_blocking=True) for name, part in held.items() if part is not None}
    return replace(batch, **moved)


def cut(batch: Batch, parts: int) -> list[Batch]:
    """Return the batch in at most so many parts, as equal as can be."""
    held = {field.name: getattr(batch, field.name) for field in fields(batch)}
    there = {name: values for name, values in held.items() if values is not None}
    size = -(-batch.size // parts)
    firsts = range(0, batch.size, size)
    return [
        Batch(**{name: _cut(part, slice(first, first + size)) for name, part in there.items()})
        for first in firsts
    ]


def is_finite(batch: Batch) -> bool:
    """Return whether all numbers of this process's share of a batch are finite."""
    held = [part for part in (batch.images, batch.maps) if part is not None]
    return all(bool(part.isfinite().all()) for part in held)


def _cut(held: Any, rows: slice) -> Any:
    if isinstance(held, Mapping):
        return {key: part[rows] for key, part in held.items()}
    return held[rows]
