"""Batch n of a run as a function of (seed, n): order and chance need no state, so a run can go on anywhere.

Sample p of the run (p = 0, 1, ...) is number p % N of pass p // N over the dataset of N samples; a pass is a
permutation that belongs to (seed, pass), a sample's crop and flip belong to (seed, pass, index).
"""

import hashlib
from collections.abc import Iterator
from functools import lru_cache

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from smalti import images
from smalti.data.protocol import Batch, Reader, Sample
from smalti.data.transforms import CropSettings, crop
from smalti.errors import UserError

Place = tuple[int, int]  # pass over the dataset, index in the dataset


class Loader:
    """Endless batches for training, each cut into equal shares for `world` processes."""

    def __init__(
        self,
        reader: Reader,
        *,
        size: tuple[int, int],
        crop: CropSettings,
        batch: int,
        seed: int,
        workers: int = 0,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        """size: of a crop in pixels. batch: samples a step of all processes. share: (rank, world)."""
        rank, world = share
        if not len(reader):
            raise UserError("pictures to train on", "none", "give more pictures, or a smaller data.val_share")
        if batch % world:
            raise UserError(f"a batch that {world} processes can share", str(batch), f"batch={world * 8}")
        self._crops = Crops(reader, size, crop, seed)
        self._count, self._batch, self._seed = len(reader), batch, seed
        self._rank, self._share, self._workers = rank, batch // world, workers

    def batches(self, start: int = 0) -> Iterator[Batch]:
        """This process's share of batch start, start + 1, ... without end.

        Raises the UserError of a file that cannot be read when its turn comes, from workers too.
        """
        if not self._workers:
            for places in self._places(start):  # endless: nothing below is reached
                yield collate([self._crops[place] for place in places])
        loader = DataLoader(
            self._crops,
            batch_sampler=self._places(start),  # endless
            num_workers=self._workers,
            generator=torch.Generator(),  # workers' seeds: not from the global one, and not used
            collate_fn=list,
            pin_memory=torch.cuda.is_available(),
        )
        for samples in loader:
            yield collate(samples)

    def _places(self, start: int) -> Iterator[list[Place]]:
        number = start
        while True:
            first = number * self._batch + self._rank * self._share
            yield [self._place(position) for position in range(first, first + self._share)]
            number += 1

    def _place(self, position: int) -> Place:
        turn, number = divmod(position, self._count)
        return turn, int(_permutation(self._count, mix(self._seed, turn))[number])


class Crops(Dataset[Sample | UserError]):
    """A reader's samples, cropped; an unreadable one is its UserError, which outlives a worker process so."""

    def __init__(self, reader: Reader, size: tuple[int, int], crop: CropSettings, seed: int) -> None:
        self.reader, self.size, self.crop, self.seed = reader, size, crop, seed

    def __getitem__(self, place: Place) -> Sample | UserError:
        """The sample of an index, with the chance of its pass."""
        turn, index = place
        try:
            sample = self.reader[index]
        except UserError as mistake:
            return mistake
        if sample.image is None:
            return sample
        chance = torch.Generator().manual_seed(mix(self.seed, turn, index))
        try:
            return Sample(image=crop(sample.image, self.size, self.crop, chance), label=sample.label)
        except UserError as mistake:
            return UserError(mistake.expected, f"{mistake.got} in {sample.path}", mistake.remedy)


def in_order(
    reader: Reader, *, size: tuple[int, int], crop: CropSettings, batch: int, most: int | None = None
) -> Iterator[Batch]:
    """Every sample once, in the reader's order and without chance; the last batch may be short.

    most: at most so many samples, evenly over the reader, so that all classes are among them.
    """
    crops = Crops(reader, size, crop.for_validation(), seed=0)
    count = len(reader) if most is None else min(len(reader), most)
    indices = [number * len(reader) // count for number in range(count)]
    for first in range(0, count, batch):
        yield collate([crops[0, index] for index in indices[first : first + batch]])


def collate(samples: list[Sample | UserError]) -> Batch:
    """One batch of samples, pictures scaled to [-1, 1]; raises the first UserError among them."""
    found: list[Sample] = []
    for sample in samples:
        if isinstance(sample, UserError):
            raise sample
        found.append(sample)
    pixels = _stack([sample.image for sample in found])
    return Batch(
        images=None if pixels is None else images.to_float(pixels),
        codes=_stack([sample.codes for sample in found]),
        labels=_labels([sample.label for sample in found]),
    )


def mix(*numbers: int) -> int:
    """A seed of 63 bits that belongs to these numbers and to no others in practice."""
    text = ",".join(map(str, numbers)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 1


@lru_cache(maxsize=2)  # a batch may lie across two passes
def _permutation(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


def _stack(tensors: list[Tensor | None]) -> Tensor | None:
    there = [tensor for tensor in tensors if tensor is not None]
    return torch.stack(there) if there else None


def _labels(labels: list[int | None]) -> Tensor | None:
    there = [label for label in labels if label is not None]
    return torch.tensor(there) if there else None
