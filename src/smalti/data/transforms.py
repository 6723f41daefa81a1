"""From a picture of any size to a crop of one size, with all chance from a given generator."""

from dataclasses import replace
from typing import Annotated, Literal, Self

import torch
from annotated_types import Ge
from jaxtyping import UInt8
from torch import Tensor

from smalti import images
from smalti.config import Share, settings
from smalti.data.protocol import Sample
from smalti.errors import UserError

Zoom = Annotated[float, Ge(1.0)]


@settings
class CropSettings:
    """How a crop is taken from a picture."""

    resize: Literal["short", "none"] = (
        "short"  # so that the crop just fits in; none: pixels as they are in the file
    )
    scale: tuple[Zoom, Zoom] = (
        1.0,
        1.0,
    )  # with resize=short: how much larger than just fitting, drawn in between
    filter: images.Filter = "bicubic"
    antialias: bool = True  # false aliases when it reduces, as the 2021 code does
    position: Literal["random", "center"] = "random"
    flip: Share = 0.5  # how often left and right change places

    def __post_init__(self) -> None:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale is [smallest, largest], not {list(self.scale)}")
        if self.resize == "none" and self.scale != (1.0, 1.0):
            raise ValueError("scale needs resize=short")

    def for_validation(self) -> Self:
        """The same without chance: the centre, just fitting, never flipped."""
        return replace(self, scale=(1.0, 1.0), position="center", flip=0.0)


def apply(
    sample: Sample, size: int | tuple[int, int], settings: CropSettings, generator: torch.Generator
) -> UInt8[Tensor, "3 H W"]:
    """A crop of size (height, width), or of a square of that side.

    A picture that is smaller is enlarged; with resize=none it is a UserError with its path. The generator
    (on the CPU) gives four numbers a call, whatever the settings.
    """
    height, width = (size, size) if isinstance(size, int) else size
    zoom, down, right, turn = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
    picture = sample.image
    if settings.resize == "short":
        low, high = settings.scale
        picture = _enlarge_or_reduce(picture, (height, width), low + zoom * (high - low), settings)
    spare_height, spare_width = picture.shape[-2] - height, picture.shape[-1] - width
    if spare_height < 0 or spare_width < 0:
        raise UserError(
            f"pictures of at least {height} x {width} pixels",
            f"{sample.path or 'one'} of {picture.shape[-2]} x {picture.shape[-1]}",
            "crop.resize=short enlarges it",
        )
    if settings.position == "center":
        top, left = spare_height // 2, spare_width // 2
    else:
        top, left = int((spare_height + 1) * down), int((spare_width + 1) * right)
    crop = picture[:, top : top + height, left : left + width]
    return (crop.flip(-1) if turn < settings.flip else crop).contiguous()


def _enlarge_or_reduce(
    picture: UInt8[Tensor, "3 _ _"], crop: tuple[int, int], zoom: float, settings: CropSettings
) -> UInt8[Tensor, "3 _ _"]:
    sides = picture.shape[-2:]
    ratio = zoom * max(wanted / side for wanted, side in zip(crop, sides, strict=True))
    # rounded half to even, as the 2021 code's augmentation library; never below the crop by rounding
    height, width = (max(wanted, round(side * ratio)) for wanted, side in zip(crop, sides, strict=True))
    return images.resize(picture, (height, width), settings.filter, settings.antialias)
