"""Crops of several sizes in one training: a sample has those of the size whose shape is nearest."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from tqdm import tqdm

from smalti.data.protocol import Reader
from smalti.errors import UserError
from smalti.sizes import Sides, nearest, typed


@dataclass(frozen=True, kw_only=True)
class Buckets:
    """The samples of a reader by the size of their crops."""

    sizes: tuple[Sides, ...]  # height and width of a crop in pixels
    members: tuple[Sequence[int], ...]  # the samples of each size, by number, in the reader's order

    @classmethod
    def of(cls, reader: Reader, sizes: Sequence[Sides]) -> "Buckets":
        """Return the samples of a reader, each in the bucket of the size that is nearest to its shape.

        Of several sizes the header of every file is read. A sample without one that can be read is put into
        the largest bucket: what is wrong with it is told when its turn comes. UserError for data that do not
        say how large each image is before it is read, as streams.
        """
        if len(sizes) == 1:
            return cls(sizes=tuple(sizes), members=(range(len(reader)),))
        members: list[list[int]] = [[] for _ in sizes]
        unknown: list[int] = []
        found = reader.sides() if reader.samples(0, 0) is None else ()
        bar = tqdm(found, total=len(reader), desc="sizes", unit="image", disable=None, leave=False)
        for index, sides in enumerate(bar):
            (unknown if sides is None else members[nearest(sides, sizes)]).append(index)
        if len(unknown) + sum(map(len, members)) != len(reader):
            expected = "one size for data that do not say beforehand how large each image is"
            raise UserError(expected, f"{len(sizes)} sizes", f"size={typed(sizes[:1])}")
        largest = max(members, key=len)
        largest[:] = sorted([*largest, *unknown])
        return cls(sizes=tuple(sizes), members=tuple(members))

    def each(self) -> list["Buckets"]:
        """Return the buckets one by one, those that hold a sample."""
        alone = zip(self.sizes, self.members, strict=True)
        return [Buckets(sizes=(size,), members=(members,)) for size, members in alone if members]

    def size(self, index: int) -> Sides:
        """Return height and width of the crops of a sample."""
        return self.sizes[self._numbers[index] if self._numbers else 0]

    @cached_property
    def _numbers(self) -> Sequence[int]:
        """Return the bucket of each sample; nothing where there is but one."""
        if len(self.sizes) == 1:
            return ()
        found = [0] * sum(map(len, self.members))
        for number, members in enumerate(self.members):
            for index in members:
                found[index] = number
        return found
