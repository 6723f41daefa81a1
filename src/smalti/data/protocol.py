"""What every reader of a dataset keeps, and what passes from reader to training."""

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from smalti.conditions.box_tokens import Scene
from smalti.conditions.computed.protocol import Computation
from smalti.conditions.coordinates import Part
from smalti.conditions.pose import Pose
from smalti.data.pixels import PixelSettings
from smalti.data.splits import Splits
from smalti.errors import UserError
from smalti.opening import Header, Source
from smalti.reading.huge import Huge
from smalti.reading.pixels import Pixels
from smalti.reading.values import read_header
from smalti.sizes import Sides


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One image or label map as the reader found it, neither cropped nor scaled; or codes, from shards."""

    image: Pixels | Huge | None = None  # 0 .. 255, RGB or the bands that the settings name
    segmentation: Int64[Tensor, "H W"] | None = None  # a class number each pixel
    map: Float[Tensor, "m H W"] | None = None  # another map of the image, in [-1, 1]
    scene: Scene | None = None  # what stands where in the image
    pose: Pose | None = None  # the joints of figures in the image
    part: Part | None = None  # of a crop: which part of the image it is
    codes: Int64[Tensor, "h w"] | None = None
    precomputed: Mapping[str, Int64[Tensor, " m"]] = field(default_factory=dict)  # as the batch's
    label: int | None = None
    texts: tuple[str, ...] | None = None  # the captions of the image
    mirrored: tuple[str, ...] | None = None  # those of the image flipped, where they are others
    shown: int = 0  # of a crop: which of these is its caption
    path: Source | None = None


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What a training step gets: images, label maps or codes; what the data do not have is None."""

    images: Float[Tensor, "b c H W"] | None = None  # in [-1, 1]
    segmentations: Int64[Tensor, "b H W"] | None = None
    maps: Float[Tensor, "b m H W"] | None = None  # in [-1, 1]
    scenes: tuple[Scene, ...] | None = None  # on the CPU, as the next and labels
    poses: tuple[Pose, ...] | None = None
    parts: tuple[Part, ...] | None = None
    codes: Int64[Tensor, "b h w"] | None = None
    # what conditions made of the crops before they became codes: prefixes by their keys, see Condition
    precomputed: Mapping[str, Int64[Tensor, "b m"]] = field(default_factory=dict)
    labels: Int64[Tensor, " b"] | None = None
    texts: tuple[str, ...] | None = None  # the caption of each crop

    @property
    def size(self) -> int:
        """Return b, how many samples there are."""
        return len(self._held)

    @property
    def sides(self) -> Sides:
        """Return height and width of the crops: in pixels, or of codes in cells."""
        return self._held.shape[-2], self._held.shape[-1]

    @property
    def _held(self) -> Tensor:
        held = [part for part in (self.images, self.segmentations, self.codes) if part is not None]
        assert held, "a batch holds images, label maps or codes"
        return held[0]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a reader says of all its samples without opening one: to tell a person, and to know them again."""

    count: int
    root: Path  # of the files
    paths: Sequence[Source] = ()  # of the files, in the reader's order; none of codes
    looked: Sequence[Source] = ()  # those of them to look at, where others are slow to open; none: any
    pixels: PixelSettings = field(default_factory=PixelSettings)  # how they are opened
    splits: Splits | None = None  # folders that are splits by their names; None: its kind has no such
    note: str = ""  # for a person: which those are, or are called so and are not
    grids: Sequence[tuple[int, int]] = ()  # rows and columns of codes
    sides: Sequence[Sides] = ()  # of images that are made: height and width of all
    marks: Sequence[str] = ()  # what makes codes those that they are
    captions: Sequence[str] = ()  # of the samples, one after the other

    @property
    def samples(self) -> Sequence[Source]:
        """Return the files of which some are opened to learn what all are like."""
        return self.looked or self.paths

    def fingerprint(self) -> str:
        """Return what changes when samples come, go or change their names or captions, wherever they lie."""
        begin = len(str(self.root)) + 1  # by hand: a path's own way takes seconds for a million of them
        names = self.marks or [str(path)[begin:] for path in self.paths]
        text = "\n".join([*names, *self.captions]).encode("utf-8", "surrogateescape")
        return f"{self.count} {hashlib.blake2b(text, digest_size=8).hexdigest()}"


@runtime_checkable  # for the shape checker of the tests
class Reader(Protocol):
    """A member of the shelf, built as `X(settings, split)` with split "train" or "val".

    It opens files and nothing else: cropping and scaling to [-1, 1] are the transform's work. Samples come by
    number, or as a stream, see `samples`; its length is that of a pass over them.
    """

    classes: tuple[str, ...]  # names by label; empty where there are no labels
    joints: tuple[str, ...] = ()  # of poses, by name
    gives: frozenset[str]  # which of image, label, scene, pose, map, text, part and codes its samples have
    compute: Computation | None = None  # set by a training that wants maps of the images: each crop gets one
    # of codes: what conditions made of their crops, by key, with what whoever trains on it must know
    precomputed: Mapping[str, Mapping[str, Any]] = MappingProxyType({})

    @abstractmethod
    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample:
        """Return a sample by its number; UserError for one that cannot be read. Not asked of a stream."""
        raise NotImplementedError(f"{type(self).__name__} is a stream: see samples")

    def samples(self, seed: int, start: int) -> Iterator[Sample | UserError] | None:
        """Return the samples of a run from number `start` on; None: they are asked for by their numbers.

        For data that are read one after the other, as archives are. Without end. Sample n of a run belongs to
        (seed, n), so that a run goes on where it was left; one that cannot be read is its UserError. Every
        process reads all of them, and `workers` have no part in it.
        """
        return None

    @abstractmethod
    def summary(self) -> Summary:
        """Return what it holds; opens nothing."""

    def order(self, members: Sequence[int], seed: int) -> Int64[Tensor, " n"]:
        """Return the order in which a pass shows n of the samples, as numbers from 0 to n - 1.

        It belongs to the seed. Readers of which some samples are quicker to give together say another one.
        """
        return torch.randperm(len(members), generator=torch.Generator().manual_seed(seed))

    def sides(self) -> Iterator[Sides | None]:
        """Return height and width of every sample in pixels, in order; None for one that cannot be read.

        Of files as their headers have it. Not asked of a stream.
        """
        return ((one.height, one.width) if one else None for one in self.headers())

    def headers(self) -> Iterator[Header | None]:
        """Return the header of every file, in order; None for one that has none."""
        summary = self.summary()
        bands = summary.pixels.bands if isinstance(summary.pixels.bands, tuple) else None
        for path in summary.paths:
            try:
                yield read_header(path, bands, summary.pixels.max_pixels)
            except UserError:
                yield None

    def counts(self) -> dict[str, int]:
        """Return how many samples, or things in them, there are of each class; empty without classes."""
        return {}

    def captions(self) -> Iterator[str]:
        """Return the captions of all samples, of which a vocabulary is learned; opens no image."""
        return iter(())

    def notes(self, headers: Sequence[Header]) -> list[str]:
        """Return what a person should know of how maps and boxes are read, a line each; mostly nothing.

        headers: of the images that were looked at.
        """
        return []

    def most_objects(self) -> int:
        """Return how many things a sample has at most; 0 where there are none."""
        return 0

    def number_as(self, names: Sequence[str]) -> None:
        """Number the classes in this order, which somebody began with, if they are no others.

        Without effect where they have numbers of their own: those of a publisher, or of codes.
        """
        return

    def bound(self, classes: int) -> None:
        """Let class numbers of maps be below this one; without effect where there are none."""
        return

    def check(self, tokenizer: str) -> None:
        """Raise UserError where codes are of another tokenizer than that of this fingerprint, or are none."""
        return
