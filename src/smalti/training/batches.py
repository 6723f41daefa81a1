"""Batches moved and cut."""

from collections.abc import Iterable
from dataclasses import fields, replace

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
    return [Batch(**{name: part[first : first + size] for name, part in there.items()}) for first in firsts]
