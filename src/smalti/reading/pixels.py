"""How the values of an image's file become those of an image."""

from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import MinLen
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from smalti import imaging
from smalti.config import Count, settings
from smalti.errors import UserError
from smalti.exif import Turn
from smalti.opening import Source, Unreadable, readable, source_of
from smalti.reading import values
from smalti.reading.values import Values

Bands = Annotated[tuple[Count, ...], MinLen(1)]
Pixels = UInt8[Tensor, "c _ _"] | Float[Tensor, "c _ _"]  # channels, height, width; both in 0 .. 255


@settings
class PixelReading:
    """What the values in an image's file mean; a model keeps it, and reads every image by it."""

    # values that become black and white, as they stand in the file; None: those of its type
    range: tuple[float, float] | None = None
    # of the file, from 0, that become the channels; gray: one channel; None: red, green, blue
    bands: Bands | Literal["gray"] | None = None

    def __post_init__(self) -> None:
        check_range(self.range)

    @property
    def channels(self) -> int:
        """Return the channels of an image."""
        return 1 if self.bands == "gray" else 3 if self.bands is None else len(self.bands)

    @property
    def is_usual(self) -> bool:
        """Return whether images are read as without a reading, of which gray is made at most."""
        return self.range is None and self.bands in (None, "gray")


def check_range(found: tuple[float, float] | None) -> None:
    """UserError for a range whose white is not above its black."""
    if found is not None and not found[0] < found[1]:
        remedy = "data.range='[0, 4095]'"
        raise UserError("data.range as [black, white], the smaller first", str(list(found)), remedy)


_USUAL = PixelReading()


def open_pixels(path: str | Source, how: PixelReading | None = None, max_pixels: int | None = None) -> Pixels:
    """Return the pixels of an image file, upright, from 0 (black) to 255 (white).

    how: None is `imaging.open_rgb`. With a range they are fp32, not rounded, cut at black and white; without
    one they have 8 bits. Values that are no numbers become black. max_pixels: see `opening.use`. Raises
    UserError with the path and the reason for what cannot be read.
    """
    return open_turned(path, how, max_pixels)[0]


def open_turned(
    path: str | Source, how: PixelReading | None = None, max_pixels: int | None = None
) -> tuple[Pixels, Turn]:
    """Return what `open_pixels` does, and how the stored raster was turned, for what describes it."""
    how = how or _USUAL
    if how.is_usual:
        pixels, turn = imaging.open_turned(path, max_pixels)
        return _of_colours(pixels, how), turn
    with readable(path):
        found = values.read(source_of(path), _numbers(how), max_pixels)
        return _read(found, how), found.turn


def from_pil(image: Image.Image, how: PixelReading | None = None) -> Pixels:
    """Return the pixels of a Pillow image, as `open_pixels` gives them."""
    how = how or _USUAL
    if how.is_usual:
        return _of_colours(imaging.from_pil(image), how)
    with readable(image):
        found, numbers = values.of_image(image), _numbers(how)
        if numbers is not None:
            found = values.pick(found, numbers)
        return _read(found, how)


def from_values(found: Values, how: PixelReading | None) -> Pixels:
    """Return the pixels of values, of the bands asked for or of a file without transparency.

    See `open_pixels`.
    """
    return _read(found, how or _USUAL)


def _of_colours(pixels: Tensor, how: PixelReading) -> Tensor:
    return _luminance(pixels) if how.bands == "gray" else pixels


def _numbers(how: PixelReading) -> tuple[int, ...] | None:
    return None if how.bands == "gray" else how.bands


def _read(found: Values, how: PixelReading) -> Pixels:
    if how.range is None:
        pixels = torch.from_numpy(np.ascontiguousarray(_eight_bits(found)))
    else:
        pixels = torch.from_numpy(_scaled(found, how.range))
    if _numbers(how) is not None:
        return pixels
    if found.alpha:
        pixels = pixels[:-1] * pixels[-1:] + 255 * (1 - pixels[-1:])
    if len(pixels) not in (1, 3):
        remedy = "say which: data.bands='[0]', or '[0, 1, 2]'"
        raise Unreadable(f"{len(pixels)} bands: which are red, green, blue?", remedy)
    return _of_colours(pixels if how.bands == "gray" else pixels.expand(3, -1, -1), how)


def _eight_bits(found: Values) -> Any:
    samples = found.samples
    if samples.dtype == np.uint16:
        samples = ((samples.astype(np.int64) + 128) // 257).astype(np.uint8)
    if samples.dtype != np.uint8:
        remedy = "say in training what is black and white: data.range='[0, 1]'"
        raise Unreadable(f"{samples.dtype} numbers, which have no known white", remedy)
    return 255 - samples if found.is_white_zero else samples


def _scaled(found: Values, limits: tuple[float, float]) -> Any:
    """Return black to white as 0 .. 255, in fp32; a share that is not transparent as 0 .. 1."""
    black, white = limits
    share = (np.nan_to_num(found.samples.astype(np.float64), nan=black) - black) / (white - black)
    share = share.clip(0, 1)
    share = 1 - share if found.is_white_zero else share
    scaled = (share * 255).astype(np.float32)
    if found.alpha:
        scaled[-1] = found.samples[-1] / np.iinfo(found.samples.dtype).max
    return scaled


def _luminance(pixels: Tensor) -> Tensor:
    """Return gray as Pillow makes it.

    ITU-R 601, rounded where pixels are whole numbers; equal channels stay what they are.
    """
    if len(pixels) == 1:
        return pixels
    weights = torch.tensor([19595, 38470, 7471]).view(3, 1, 1)  # of 65536
    if pixels.is_floating_point():
        return (pixels.double() * weights).sum(0, keepdim=True).div(65536).float()
    return ((pixels.long() * weights).sum(0, keepdim=True) + 32768 >> 16).to(torch.uint8)
