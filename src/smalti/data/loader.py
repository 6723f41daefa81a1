"""Batch n of a run as a function of (seed, n): order and chance need no state, so a run can go on anywhere.

Sample p of the run (p = 0, 1, ...) is number p % N of pass p // N over the dataset of N samples; a pass is a
permutation that belongs to (seed, pass), a sample's crop and flip belong to (seed, pass, index). So does the
sample that stands in for one that cannot be used, among those that can: no other place of the run changes.
Of a stream sample p is what its reader gives as number p; another sample of the same share stands in.

Where crops have several sizes each batch is of one bucket, and all this holds within each, see `Turns`.
"""

import hashlib
from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache, partial
from itertools import count, cycle, islice
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.data import Dataset

from smalti import imaging
from smalti.data import faults, transforms
from smalti.data.buckets import Buckets
from smalti.data.faults import Place, Say
from smalti.data.protocol import Batch, Reader, Sample
from smalti.data.transforms import CropSettings, Placement
from smalti.errors import UserError
from smalti.files import evenly
from smalti.reading.huge import Huge
from smalti.reading.pixels import Pixels
from smalti.sizes import Sides

T = TypeVar("T")
Size = Sides | Buckets  # of all crops in pixels; or of those of each sample
# is told why a sample cannot be used, and in words what else befell the data
Skipped = Callable[[UserError | str], None]

SUBSTITUTES = 1000  # tried for one sample: where hardly one in a hundred can be used, training is no use


class Loader:
    """Endless batches for training, each cut into equal shares for `world` processes."""

    def __init__(
        self,
        reader: Reader,
        *,
        size: Size,
        crop: CropSettings,
        batch: int,
        seed: int,
        workers: int = 0,
        share: tuple[int, int] = (0, 1),
        skipped: Skipped | None = None,
    ) -> None:
        """size: see Size. batch: samples a step of all processes. share: (rank, world).

        skipped: is told of a sample that cannot be used, and another one stands in; None: that is an error.
        It is told too, in words, of what costs nothing but time.
        """
        rank, world = share
        if not len(reader):
            raise UserError("images to train on", "none", "give more images, or a smaller data.val_share")
        if batch % world:
            raise UserError(f"a batch that {world} processes can share", str(batch), f"batch={world * 8}")
        self._crops = Crops(reader, size, crop, seed)
        self._members = [members for members in self._crops.buckets.members if members]
        self._turns = Turns([len(members) for members in self._members], batch, seed)
        self._batch, self._seed = batch, seed
        ordered = [partial(reader.order, members) for members in self._members]
        self._orders = [lru_cache(maxsize=3)(order) for order in ordered]  # a batch lies across two
        self._rank, self._share, self._workers = rank, batch // world, workers
        self._skipped, self._say = skipped, skipped or faults.say

    def batches(self, start: int = 0) -> Iterator[Batch]:
        """Return this process's share of batch start, start + 1, ... without end; as `samples` gives it."""
        return map(collate, self.samples(start))

    @property
    def sizes(self) -> Sequence[Sides]:
        """Return height and width of crops in pixels, of each size."""
        return self._crops.buckets.sizes

    def firsts(self) -> dict[int, int]:
        """Return by the number of each size that there are samples of that of its first batch."""
        there = [size for size, members in enumerate(self._crops.buckets.members) if members]
        return {size: self._turns.first(bucket) for bucket, size in enumerate(there)}

    def samples(self, start: int = 0, *, shuffled: bool = True, step: int = 1) -> Iterator[list[Sample]]:
        """Return the cropped samples of this process's share of batch start, start + step, ... without end.

        shuffled: false: each pass in the reader's order; a stream has but one order. step: above 1 the
        batches between are left out, and but for a stream not opened.

        Raises the UserError of a sample that cannot be used when its turn comes, from workers too; with
        `skipped` only where none of the samples tried in its place can be used either.
        """
        stream = self._crops.reader.samples(self._seed, start * self._batch)
        if stream is not None:
            yield from self._streamed(stream, start, step)  # endless: nothing below is reached
        numbers = count(start, step)
        for number, samples in zip(numbers, self._samples(start, step, shuffled), strict=True):
            places = self._places(number, shuffled)
            yield usable([self._usable(*pair) for pair in zip(places, samples, strict=True)])

    def _samples(self, start: int, step: int, shuffled: bool) -> Iterator[list[Sample | UserError]]:
        """Return what lies at the places of batch start, start + step, ..."""
        batches = (self._places(number, shuffled) for number in count(start, step))
        if not self._workers:
            for places in batches:  # endless: nothing below is reached
                yield [self._crops[place] for place in places]
        yield from faults.opened(
            self._crops,
            lambda done: (self._places(number, shuffled) for number in count(start + done * step, step)),
            workers=self._workers,
            say=self._say,
        )

    def _streamed(
        self, stream: Iterator[Sample | UserError], start: int, step: int
    ) -> Iterator[list[Sample]]:
        """Give this process's share of batches of a stream, whose first sample is that of batch start."""
        own = range(self._rank * self._share, (self._rank + 1) * self._share)
        for number in count(start, step):
            between = (step - 1) * self._batch if number > start else 0
            deque(islice(stream, between), maxlen=0)
            batch = enumerate(islice(stream, self._batch))
            begin = number * self._batch
            found = [self._crops.cropped(one, (0, begin + at)) for at, one in batch if at in own]
            assert len(found) == self._share, "a stream has no end"
            yield usable(found if self._skipped is None else self._filled(found, self._skipped))

    def _filled(self, found: list[Sample | UserError], skipped: Skipped) -> list[Sample | UserError]:
        """Return samples of a stream, in which those that can be used stand in for those that cannot."""
        usable = cycle([one for one in found if not isinstance(one, UserError)])
        for mistake in found:
            if isinstance(mistake, UserError):
                skipped(mistake)
        return [next(usable, one) if isinstance(one, UserError) else one for one in found]

    def _usable(self, place: Place, sample: Sample | UserError) -> Sample | UserError:
        """Return the sample, or if it is skipped the first usable one in a permutation of its place."""
        sample = self._crops.again(place, sample, self._say)
        if not isinstance(sample, UserError) or self._skipped is None:
            return sample
        self._skipped(sample)
        turn, index = place
        members = next(members for members in self._members if index in members)
        others = _permutation(len(members), mix(self._seed, turn, index))[:SUBSTITUTES].tolist()
        for other in others:
            found = self._crops[-1 - turn, members[other]]  # no pass of the run: not the crop of its own turn
            if not isinstance(found, UserError):
                return found
        got = f"{len(others)} in a row that cannot, among them {sample.got}"
        return UserError("images that can be used", got, sample.remedy)

    def _places(self, number: int, shuffled: bool) -> list[Place]:
        """Return the places of this process's share of a batch."""
        bucket, own = self._turns(number)
        first = own * self._batch + self._rank * self._share
        return [self._place(bucket, position, shuffled) for position in range(first, first + self._share)]

    def _place(self, bucket: int, position: int, shuffled: bool) -> Place:
        members = self._members[bucket]
        turn, number = divmod(position, len(members))
        if shuffled:
            number = int(self._orders[bucket](mix(self._seed, turn))[number])
        return turn, members[number]


class Turns:
    """Which bucket batch n of a run is of, and which of that bucket's batches it is.

    Pass after pass the n_k samples of bucket k stand in a row without end, which is cut into batches of b:
    the last one of a pass is filled up with the first samples of the next. ceil(r n_k / b) batches of it come
    before pass r. So in the first r passes every sample is shown r times or more, and no bucket is a whole
    batch ahead of its share. The batches of a pass, of all buckets, come in an order that belongs to
    (seed, pass).
    """

    def __init__(self, counts: Sequence[int], batch: int, seed: int) -> None:
        """counts: samples of each bucket, some. batch: samples of a batch."""
        self._counts, self._batch, self._seed = counts, batch, seed
        self._order = lru_cache(maxsize=2)(self._laid)

    def __call__(self, number: int) -> tuple[int, int]:
        """Return the bucket of a batch, and its number among the batches of that bucket."""
        if len(self._counts) == 1:
            return 0, number
        most = number * self._batch // sum(self._counts) + 1  # a pass has that many batches, or some more
        turn = bisect_right(range(most), number, key=lambda turn: sum(self._before(turn))) - 1
        begun = self._before(turn)
        order, place = self._order(turn), number - sum(begun)
        bucket = int(order[place])
        return bucket, begun[bucket] + int((order[:place] == bucket).sum())

    def first(self, bucket: int) -> int:
        """Return the number of a bucket's first batch."""
        return int((self._order(0) == bucket).nonzero()[0]) if len(self._counts) > 1 else 0

    def _before(self, turn: int) -> list[int]:
        """Return how many batches of each bucket come before a pass."""
        return [-(-turn * count // self._batch) for count in self._counts]

    def _laid(self, turn: int) -> Tensor:
        """Return the bucket of each batch of a pass."""
        ends = zip(self._before(turn), self._before(turn + 1), strict=True)
        each = torch.tensor([end - begin for begin, end in ends])
        buckets = torch.arange(len(each)).repeat_interleave(each)
        return buckets[_permutation(len(buckets), mix(self._seed, turn, -1))]


class Crops(Dataset[Sample | UserError]):
    """A reader's samples, cropped; an unreadable one is its UserError, which outlives a worker process so."""

    def __init__(self, reader: Reader, size: Size, crop: CropSettings, seed: int) -> None:
        self.reader, self.crop, self.seed = reader, crop, seed
        self.buckets = size if isinstance(size, Buckets) else Buckets.of(reader, [size])

    def __getitem__(self, place: Place) -> Sample | UserError:
        """The sample of an index, with the chance of its pass."""
        try:
            return self.cropped(self.reader[place[1]], place)
        except UserError as mistake:
            return mistake

    def again(self, place: Place, sample: Sample | UserError, say: Say) -> Sample | UserError:
        """Return the sample, asked for again where it could not be read: their folder may have been away."""
        if not isinstance(sample, UserError):
            return sample
        if self._away is not None:
            self._away.wait(say)
        return self[place]

    @cached_property
    def _away(self) -> faults.Away | None:
        """Return what waits for the folder of all files; None of what is not read from files."""
        summary = self.reader.summary()
        return faults.Away(summary.root) if summary.paths else None

    def cropped(self, sample: Sample | UserError, place: Place) -> Sample | UserError:
        """Return a sample cropped, with the chance of its pass; what is wrong with it as it is."""
        if isinstance(sample, UserError):
            return sample
        turn, index = place
        if sample.texts:
            sample = replace(sample, shown=mix(self.seed, turn, index, 1) % len(sample.texts))
        whole = sample.image if sample.image is not None else sample.segmentation
        if whole is None:
            return sample
        chance = torch.Generator().manual_seed(mix(self.seed, turn, index))
        height, width = whole.shape[-2:]
        try:
            where = transforms.place((height, width), self.buckets.size(index), self.crop, chance)
            crop = _cropped(sample, where)
        except UserError as mistake:
            return UserError(mistake.expected, f"{mistake.got} in {sample.path}", mistake.remedy)
        try:
            return self._with_map(crop, where)
        except UserError as mistake:
            return mistake

    def _with_map(self, crop: Sample, where: Placement) -> Sample:
        """Return a cropped sample with the map that is computed of the crop, where one is wanted."""
        compute = self.reader.compute
        if compute is None:
            return crop
        pixels = _open(crop.image)
        if compute.of == "alpha":
            if crop.path is None:
                raise compute.without_file()
            pixels = where.image(compute.open(crop.path, None))
        assert pixels is not None, "maps are computed of images"
        return replace(crop, map=compute(imaging.to_float(pixels)[None])[0])


def in_order(
    reader: Reader,
    *,
    size: Size,
    crop: CropSettings,
    batch: int,
    most: int | None = None,
    skipped: Skipped | None = None,
) -> Iterator[Batch]:
    """Return every sample once, in the reader's order and without chance; the last batch may be short.

    Of several sizes each bucket is in the reader's order, and the last batch of each may be short.

    most: at most so many samples, evenly over the reader, so that all classes are among them; of a stream
    the first ones. skipped: is told of a sample that cannot be used, which is left out; None: that is a
    UserError.
    """
    crops = Crops(reader, size, crop.for_validation(), seed=0)
    indices = range(len(reader)) if most is None else evenly(range(len(reader)), most)
    stream, waiting = reader.samples(0, 0), defaultdict[Sides, list[Sample]](list)
    if stream is None:
        found = ((index, crops[0, index]) for index in indices)
    else:
        firsts = zip(range(len(reader))[:most], stream, strict=False)
        found = ((at, crops.cropped(one, (0, at))) for at, one in firsts)
    for index, one in found:
        sample = one if stream is not None else crops.again((0, index), one, skipped or faults.say)
        if isinstance(sample, UserError):
            if skipped is None:
                raise sample
            skipped(sample)
            continue
        alike = waiting[crops.buckets.size(index)]
        alike.append(sample)
        if len(alike) == batch:
            yield collate(alike)
            alike.clear()
    yield from (collate(alike) for alike in waiting.values() if alike)


def usable(samples: Sequence[Sample | UserError]) -> list[Sample]:
    """Return the samples; raises the first UserError among them."""
    found: list[Sample] = []
    for sample in samples:
        if isinstance(sample, UserError):
            raise sample
        found.append(sample)
    return found


def collate(samples: Sequence[Sample | UserError]) -> Batch:
    """Return one batch of samples, images scaled to [-1, 1]; raises the first UserError among them."""
    found = usable(samples)
    pixels = _stack([_open(sample.image) for sample in found])
    return Batch(
        images=None if pixels is None else imaging.to_float(pixels),
        segmentations=_stack([sample.segmentation for sample in found]),
        maps=_stack([sample.map for sample in found]),
        scenes=_tuple([sample.scene for sample in found]),
        poses=_tuple([sample.pose for sample in found]),
        parts=_tuple([sample.part for sample in found]),
        codes=_stack([sample.codes for sample in found]),
        precomputed=_stacked([sample.precomputed for sample in found]),
        labels=_labels([sample.label for sample in found]),
        texts=_tuple([sample.texts[sample.shown] if sample.texts else None for sample in found]),
    )


def mix(*numbers: int) -> int:
    """Return a seed of 63 bits that belongs to these numbers and to no others in practice."""
    text = ",".join(map(str, numbers)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 1


def _permutation(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


def _cropped(sample: Sample, where: Placement) -> Sample:
    """Return the image of a sample and what belongs to it, cropped alike."""
    image, labels, found, scene = sample.image, sample.segmentation, sample.map, sample.scene
    return replace(
        sample,
        part=where.part,
        texts=sample.mirrored if where.flipped and sample.mirrored else sample.texts,
        map=None if found is None else where.map(found),
        scene=None if scene is None else where.shown(scene),
        pose=None if sample.pose is None else where.shown(sample.pose),
        image=None if image is None else where.image(image),
        segmentation=None if labels is None else where.labels(labels),
    )


def _open(image: Pixels | Huge | None) -> Tensor | None:
    assert not isinstance(image, Huge), "a crop has opened it"
    return image


def _stack(tensors: list[Tensor | None]) -> Tensor | None:
    there = [tensor for tensor in tensors if tensor is not None]
    return torch.stack(there) if there else None


def _stacked(held: list[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {key: torch.stack([one[key] for one in held]) for key in held[0]}


def _tuple(held: list[T | None]) -> tuple[T, ...] | None:
    return tuple(one for one in held if one is not None) or None


def _labels(labels: list[int | None]) -> Tensor | None:
    there = [label for label in labels if label is not None]
    return torch.tensor(there) if there else None
