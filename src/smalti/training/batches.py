"""Batches moved and cut."""

from dataclasses import fields

import torch

from smalti.data.protocol import Batch


def to(batch: Batch, device: torch.device) -> Batch:
    """The batch on a device. Labels stay: conditions check them on the CPU, without waiting for a GPU."""
    images = None if batch.images is None else batch.images.to(device, non_blocking=True)
    codes = None if batch.codes is None else batch.codes.to(device, non_blocking=True)
    return Batch(images=images, codes=codes, labels=batch.labels)


def cut(batch: Batch, parts: int) -> list[Batch]:
    """The batch in at most so many parts, as equal as can be."""
    held = {field.name: getattr(batch, field.name) for field in fields(batch)}
    chunks = {name: tensor.chunk(parts) for name, tensor in held.items() if tensor is not None}
    count = len(next(iter(chunks.values())))
    return [Batch(**{name: chunk[number] for name, chunk in chunks.items()}) for number in range(count)]
