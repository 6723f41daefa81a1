"""From an image of any size to a crop of the size that a training wants."""

import math
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from smalti import imaging
from smalti.conditions.box_tokens import Whole
from smalti.conditions.coordinates import Part
from smalti.config import Share, settings
from smalti.errors import UserError
from smalti.imaging import Filter
from smalti.reading.huge import Huge
from smalti.reading.pixels import Pixels

Scale = Annotated[float, Ge(1.0)]


@settings
class CropSettings:
    """How a crop is taken."""

    # short: so that the crop just fits, times scale; none: as it is
    resize: Literal["short", "none"] = "short"
    scale: tuple[Scale, Scale] = (1.0, 1.0)  # drawn evenly between the two: above 1 a crop shows a part
    filter: Filter = "bicubic"
    antialias: bool = True  # average what a smaller image cannot show; the 2021 code did not
    position: Literal["random", "center"] = "random"
    flip: Share = 0.5  # of the crops, left to right

    def __post_init__(self) -> None:
        if self.scale[0] > self.scale[1]:
            raise UserError("crop.scale as [least, most]", str(list(self.scale)), "crop.scale=[1.0, 1.25]")

    def enlargement(self, sides: tuple[int, int], size: tuple[int, int]) -> float:
        """Return times by which an image of these sides is enlarged at least, below 1.

        reduced, for a crop.
        """
        if self.resize == "none":
            return 1.0
        return self.scale[0] * max(want / have for want, have in zip(size, sides, strict=True))

    def for_validation(self) -> "CropSettings":
        """Return the same without chance: the middle, at the least scale, not flipped."""
        return replace(self, position="center", flip=0.0, scale=(self.scale[0], self.scale[0]))


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where a crop lies, so that an image and its maps are cropped alike."""

    sides: tuple[int, int]  # height and width to which the whole is resized first
    top: int  # pixels of the resized whole, as all that follow
    left: int
    size: tuple[int, int]
    flipped: bool  # left to right, after the cut
    settings: CropSettings

    def image(self, image: Pixels | Huge) -> Pixels:
        """Return the crop of an image, from 0 to 255, resized by the settings' filter."""
        how = self.settings
        if isinstance(image, Huge):
            part = image.part(self.sides, (self.top, self.left, *self.size), how.filter, how.antialias)
            return part.flip(2) if self.flipped else part
        if tuple(image.shape[1:]) != self.sides:
            image = imaging.resize(image, self.sides, how.filter, antialias=how.antialias)
            # of 8 bits bicubic cuts what it overshoots by itself
            image = image.clamp(0, 255) if image.is_floating_point() else image
        return self._cut(image)

    def map(self, found: Float[Tensor, "c H W"]) -> Float[Tensor, "c h w"]:
        """Return the crop of a map, as that of the image."""
        how = self.settings
        return self._cut(imaging.resize(found, self.sides, how.filter, antialias=how.antialias))

    def shown(self, whole: Whole) -> Whole:
        """Return a scene or a pose with the crop that is shown of it."""
        height, width = self.sides
        x, y = self.left / width, self.top / height
        shown = whole.part((x, y, x + self.size[1] / width, y + self.size[0] / height))
        return shown.flipped() if self.flipped else shown

    @property
    def part(self) -> Part:
        """Return the crop's place in the whole, which is flipped where the crop is."""
        height, width = self.sides
        left = width - self.left - self.size[1] if self.flipped else self.left
        return Part(self.top, left, height, width)

    def labels(self, labels: Int64[Tensor, "H W"]) -> Int64[Tensor, "h w"]:
        """Return the crop of a label map: the nearest label each, as between two classes there is none."""
        # in the arithmetic that images are resized in, so that both agree; exact below 2 ** 24
        whole = imaging.resize(labels[None].float(), self.sides, "nearest-exact")
        return self._cut(whole)[0].long()

    def _cut(self, whole: Shaped[Tensor, "c H W"]) -> Shaped[Tensor, "c h w"]:
        cut = whole[:, self.top : self.top + self.size[0], self.left : self.left + self.size[1]]
        return cut.flip(2) if self.flipped else cut


def place(
    sides: tuple[int, int], size: tuple[int, int], settings: CropSettings, generator: torch.Generator
) -> Placement:
    """Return where a crop of size (height, width) lies in an image of sides (height, width), in pixels.

    All chance comes from the generator, four draws a call. Raises UserError where the image is too small
    and resize is "none".
    """
    scale, down, across, flip = torch.rand(4, generator=generator).tolist()
    if settings.resize == "short":
        least, most = settings.scale
        sides = _fit(sides, size, least + scale * (most - least))
    room = [have - want for have, want in zip(sides, size, strict=True)]
    if min(room) < 0:
        remedy = "leave crop.resize at short, or choose a smaller size"
        raise UserError("an image of at least {} x {} pixels".format(*size), "{} x {}".format(*sides), remedy)
    if settings.position == "center":
        top, left = (length // 2 for length in room)
    else:
        top, left = int(down * (room[0] + 1)), int(across * (room[1] + 1))
    flipped = flip < settings.flip
    return Placement(sides=sides, top=top, left=left, size=size, flipped=flipped, settings=settings)


def middle(sides: tuple[int, int], size: tuple[int, int], filter: Filter = "bicubic") -> Placement:
    """Return where the middle lies of an image that is scaled until it just covers a size, by no chance."""
    return place(sides, size, CropSettings(filter=filter).for_validation(), torch.Generator())


def middle_of_mask(mask: Bool[Tensor, "H W"], size: tuple[int, int]) -> Bool[Tensor, "h w"]:
    """Return a mask scaled and cut as `middle` does with its image."""
    where = middle((mask.shape[0], mask.shape[1]), size, "nearest-exact")
    return where.map(mask[None].float())[0] > 0


def crop(
    image: Pixels,
    size: tuple[int, int],
    settings: CropSettings,
    generator: torch.Generator,
) -> Pixels:
    """Return a crop of size (height, width) pixels, placed as `place` says."""
    height, width = image.shape[1:]
    return place((height, width), size, settings, generator).image(image)


def _fit(sides: tuple[int, int], size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return sides of the same shape in which the crop fits `scale` times into the tighter one."""
    ratio = scale * max(want / have for want, have in zip(size, sides, strict=True))
    height, width = (
        max(want, math.floor(have * ratio + 0.5)) for want, have in zip(size, sides, strict=True)
    )
    return height, width
