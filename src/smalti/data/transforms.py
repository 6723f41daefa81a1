"""From a picture of any size to a crop of the size that a training wants."""

import math
from dataclasses import replace
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from jaxtyping import UInt8
from torch import Tensor

from smalti import images
from smalti.config import Share, settings
from smalti.errors import UserError
from smalti.images import Filter

Scale = Annotated[float, Ge(1.0)]


@settings
class CropSettings:
    """How a crop is taken."""

    resize: Literal["short", "none"] = (
        "short"  # short: so that the crop just fits, times scale; none: as it is
    )
    scale: tuple[Scale, Scale] = (1.0, 1.0)  # drawn evenly between the two: above 1 a crop shows a part
    filter: Filter = "bicubic"
    antialias: bool = True  # average what a smaller picture cannot show; the 2021 code did not
    position: Literal["random", "center"] = "random"
    flip: Share = 0.5  # of the crops, left to right

    def __post_init__(self) -> None:
        if self.scale[0] > self.scale[1]:
            raise UserError("crop.scale as [least, most]", str(list(self.scale)), "crop.scale=[1.0, 1.25]")

    def for_validation(self) -> "CropSettings":
        """The same without chance: the middle, at the least scale, not flipped."""
        return replace(self, position="center", flip=0.0, scale=(self.scale[0], self.scale[0]))


def crop(
    picture: UInt8[Tensor, "c H W"],
    size: tuple[int, int],
    settings: CropSettings,
    generator: torch.Generator,
) -> UInt8[Tensor, "c h w"]:
    """A crop of size (height, width) pixels. All chance comes from the generator, four draws a call.

    Raises UserError where the picture is too small and resize is "none".
    """
    scale, down, across, flip = torch.rand(4, generator=generator).tolist()
    if settings.resize == "short":
        picture = _fit(
            picture, size, settings.scale[0] + scale * (settings.scale[1] - settings.scale[0]), settings
        )
    room = [have - want for have, want in zip(picture.shape[1:], size, strict=True)]
    if min(room) < 0:
        got = "{} x {}".format(*picture.shape[1:])
        remedy = "leave crop.resize at short, or choose a smaller size"
        raise UserError("a picture of at least {} x {} pixels".format(*size), got, remedy)
    if settings.position == "center":
        top, left = (length // 2 for length in room)
    else:
        top, left = int(down * (room[0] + 1)), int(across * (room[1] + 1))
    cut = picture[:, top : top + size[0], left : left + size[1]]
    return cut.flip(2) if flip < settings.flip else cut


def _fit(
    picture: UInt8[Tensor, "c H W"], size: tuple[int, int], scale: float, settings: CropSettings
) -> UInt8[Tensor, "c h w"]:
    """Resize, keeping the shape, so that the crop fits `scale` times into the tighter side."""
    ratio = scale * max(want / have for want, have in zip(size, picture.shape[1:], strict=True))
    sides = [
        max(want, math.floor(have * ratio + 0.5)) for want, have in zip(size, picture.shape[1:], strict=True)
    ]
    if tuple(sides) == tuple(picture.shape[1:]):
        return picture
    return images.resize(picture, (sides[0], sides[1]), settings.filter, antialias=settings.antialias)
