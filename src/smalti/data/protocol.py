"""What every reader of a dataset keeps, and what passes from reader to training."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int64
from torch import Tensor

from smalti.conditions.box_tokens import Scene
from smalti.conditions.coordinates import Part
from smalti.reading.huge import Huge
from smalti.reading.pixels import Pixels


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One picture or label map as the reader found it, neither cropped nor scaled; or codes, from shards."""

    image: Pixels | Huge | None = None  # 0 .. 255, RGB or the bands that the settings name
    segmentation: Int64[Tensor, "H W"] | None = None  # a class number each pixel
    map: Float[Tensor, "m H W"] | None = None  # another map of the picture, in [-1, 1]
    scene: Scene | None = None  # what stands where in the picture
    part: Part | None = None  # of a crop: which part of the picture it is
    codes: Int64[Tensor, "h w"] | None = None
    label: int | None = None
    path: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What a training step gets: pictures, label maps or codes; what the data do not have is None."""

    images: Float[Tensor, "b c H W"] | None = None  # in [-1, 1]
    segmentations: Int64[Tensor, "b H W"] | None = None
    maps: Float[Tensor, "b m H W"] | None = None  # in [-1, 1]
    scenes: tuple[Scene, ...] | None = None  # on the CPU, as the next and labels
    parts: tuple[Part, ...] | None = None
    codes: Int64[Tensor, "b h w"] | None = None
    labels: Int64[Tensor, " b"] | None = None

    @property
    def size(self) -> int:
        """b."""
        held = [part for part in (self.images, self.segmentations, self.codes) if part is not None]
        assert held, "a batch holds pictures, label maps or codes"
        return len(held[0])


@runtime_checkable  # for the shape checker of the tests
class Reader(Protocol):
    """A member of the shelf, built as `X(settings, split)` with split "train" or "val".

    It opens files and nothing else: cropping and scaling to [-1, 1] are the transform's work.
    """

    classes: tuple[str, ...]  # names by label; empty where there are no labels
    gives: frozenset[str]  # which of image, label, scene, map and codes its samples have

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...
