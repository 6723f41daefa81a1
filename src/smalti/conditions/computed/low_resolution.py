"""Images of low resolution, as large as those that they were made of."""

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge
from jaxtyping import Float, Float64
from PIL import Image
from torch import Tensor

from smalti.conditions.computed.protocol import Computation
from smalti.conditions.computed.reading import open_image
from smalti.config import settings
from smalti.errors import UserError
from smalti.imaging import eight_bit, resize
from smalti.opening import Source
from smalti.reading.pixels import PixelReading, Pixels


@settings
class LowResolutionSettings:
    """How images are shrunk."""

    kind: Literal["low_resolution"] = "low_resolution"
    factor: Annotated[int, Ge(2)] = 4  # of the sides
    # box: means of squares of pixels; bicubic and bilinear average over more, as image programs do
    filter: Literal["box", "bicubic", "bilinear"] = "bicubic"


class LowResolution(Computation):
    """An image shrunk, of 8 bits as a file would hold it, and enlarged again without anything new in it."""

    channels: ClassVar[int] = 0
    settings: LowResolutionSettings

    def check(self, size: tuple[int, int]) -> None:
        """See Computation: the factor divides both sides."""
        factor = self.settings.factor
        if any(side % factor for side in size):
            got, near = "{} x {}".format(*size), [max(1, round(side / factor)) * factor for side in size]
            remedy = f"choose a factor that divides them, or {near[0]} x {near[1]} pixels"
            raise UserError(f"sides that are multiples of compute.factor={factor}", got, remedy)

    def open(self, source: str | Source | Image.Image, how: PixelReading | None) -> Pixels:
        """See Computation: the image."""
        return open_image(source, how)

    def __call__(self, images: Float[Tensor, "b c H W"]) -> Float[Tensor, "b c H W"]:
        """See Computation."""
        return self.enlarged(self.shrunk(images))

    def shrunk(self, images: Float[Tensor, "b c H W"]) -> Float[Tensor, "b c h w"]:
        """Return small images; UserError where the factor does not divide the sides."""
        height, width = images.shape[2:]
        self.check((height, width))
        return eight_bit(shrink(images, self.settings.factor, self.settings.filter))

    def enlarged(self, small: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c H W"]:
        """Return small images as maps: bilinear, which adds nothing beyond black and white."""
        height, width = (side * self.settings.factor for side in small.shape[2:])
        return resize(small, (height, width), "bilinear")

    def small(self, maps: Float[Tensor, "b c H W"]) -> Float[Tensor, "b c h w"]:
        """Return the small images that maps were enlarged from."""
        rows, columns = (_back(side // self.settings.factor, self.enlarged) for side in maps.shape[2:])
        return (rows @ maps.double() @ columns.T).to(maps.dtype)


def shrink(images: Float[Tensor, "b c H W"], factor: int, filter: str) -> Float[Tensor, "b c h w"]:
    """Return images with sides smaller by a factor. filter: see LowResolutionSettings."""
    if filter == "box":
        return F.avg_pool2d(images.float(), factor)
    height, width = (side // factor for side in images.shape[2:])
    return resize(images.float(), (height, width), "bilinear" if filter == "bilinear" else "bicubic")


def _back(count: int, enlarge: Callable[[Tensor], Tensor]) -> Float64[Tensor, "{count} more"]:
    """Return the matrix that undoes an enlargement of `count` pixels in a row."""
    each = torch.eye(count, dtype=torch.float64)[:, None, None]  # one picture for each, of a single row
    return torch.linalg.pinv(enlarge(each)[:, 0, 0].T)
