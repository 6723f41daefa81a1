"""Batches moved and cut."""

from dataclasses import fields

import torch

from smalti.data.protocol import Batch


def to(batch: Batch, device: torch.device) -> Batch:
    """The batch on a device."""
    held = {field.name: getattr(batch, field.name) for field in fields(batch)}
    there = {name: tensor for name, tensor in held.items() if tensor is not None}
    return Batch(**{name: tensor.to(device, non_blocking=True) for name, tensor in there.items()})


def cut(batch: Batch, parts: int) -> list[Batch]:
    """The batch in at most so many parts, as equal as can be."""
    held = {field.name: getattr(batch, field.name) for field in fields(batch)}
    chunks = {name: tensor.chunk(parts) for name, tensor in held.items() if tensor is not None}
    count = len(next(iter(chunks.values())))
    return [Batch(**{name: chunk[number] for name, chunk in chunks.items()}) for number in range(count)]
