"""Tensors that lie in a file: where their bytes are, and views of them that cannot leave them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from mmap import mmap
from typing import Any

import torch
from torch import Tensor

EXPANDED = 2**20  # a tensor may have this many elements more than its storage, by a stride of 0


class Corrupt(Exception):
    """A file that contradicts itself, or asks for what is not given."""


@dataclass(frozen=True, eq=False)
class Placeholder:
    """What stands for a class, a function or an object that the file names: its name, and nothing else."""

    name: str


@dataclass(frozen=True)
class Region:
    """A part of a file in memory."""

    memory: mmap
    start: int
    size: int

    def __post_init__(self) -> None:
        if self.start + self.size > len(self.memory):
            raise Corrupt(f"{len(self.memory)} bytes, but {self.start + self.size} are needed: truncated")

    def bytes(self) -> bytes:
        """Return a copy."""
        return self.memory[self.start : self.start + self.size]


@dataclass(frozen=True, eq=False)
class Storage:
    """Numbers of one kind. Declared alone (region None) it has no numbers yet."""

    kind: torch.dtype
    count: int
    region: Region | None

    def __post_init__(self) -> None:
        if self.region is not None and self.region.size < self.count * self.itemsize:
            needed = self.count * self.itemsize
            raise Corrupt(f"a storage of {self.region.size} bytes where {needed} are declared")

    @property
    def itemsize(self) -> int:
        """Return bytes a number."""
        return self.kind.itemsize

    def view(
        self, offset: int, size: Sequence[int], stride: Sequence[int], kind: torch.dtype | None = None
    ) -> Tensor | Placeholder:
        """Return a tensor on these numbers; a Placeholder where they are only declared.

        kind: read the storage's bytes as other numbers.
        """
        kind = kind or self.kind
        count = self.count * self.itemsize // kind.itemsize
        _check(offset, size, stride, count)
        if self.region is None:
            return Placeholder("torch.Tensor")
        if not count:
            return torch.empty(tuple(size), dtype=kind)
        raw = torch.uint8 if kind is torch.bool else kind
        flat = torch.frombuffer(self.region.memory, dtype=raw, count=count, offset=self.region.start)
        if kind is torch.bool:  # a byte that is neither 0 nor 1 is no bool; in place, as copies could be many
            flat = flat.clamp_(max=1).view(torch.bool)
        return flat.as_strided(tuple(size), tuple(stride), offset)


def numbers(what: tuple[Any, ...]) -> tuple[torch.dtype, str, int]:
    """Return a storage's kind of numbers, key and count, from what a pickle says of it."""
    if len(what) not in (5, 6) or what[0] != "storage" or (len(what) == 6 and what[5] is not None):
        raise Corrupt("a reference that is no storage of tensors")
    kind, key, count = what[1], what[2], what[4]
    name = kind.name if isinstance(kind, Placeholder) else ""
    if name not in STORAGES:
        raise Corrupt(f"numbers of the kind {name or kind!r:.40}")
    if not isinstance(key, str) or type(count) is not int or count < 0:
        raise Corrupt("a storage without a name and a length")
    return STORAGES[name], key, count


def _check(offset: int, size: Sequence[int], stride: Sequence[int], count: int) -> None:
    values = [offset, *size, *stride]
    if len(size) != len(stride) or any(type(value) is not int or value < 0 for value in values):
        raise Corrupt("a tensor whose shape is no shape")
    elements = math.prod(size)
    last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True))
    if elements and last >= count:
        raise Corrupt(f"a tensor that ends at number {last} of a storage of {count}")
    if elements > count + EXPANDED:
        raise Corrupt(f"a tensor of {elements} elements on a storage of {count}")


STORAGES = {
    "torch.storage.UntypedStorage": torch.uint8,
    "torch.UntypedStorage": torch.uint8,
    **{
        f"torch.{name}Storage": kind
        for name, kind in {
            "Double": torch.float64,
            "Float": torch.float32,
            "Half": torch.float16,
            "BFloat16": torch.bfloat16,
            "Long": torch.int64,
            "Int": torch.int32,
            "Short": torch.int16,
            "Char": torch.int8,
            "Byte": torch.uint8,
            "Bool": torch.bool,
            "ComplexDouble": torch.complex128,
            "ComplexFloat": torch.complex64,
        }.items()
    },
}
