"""EXIF orientation: from the raster that a file stores to the image as it is seen."""

import struct
import zlib
from dataclasses import dataclass
from typing import Any

from jaxtyping import Shaped
from PIL import Image
from torch import Tensor

# what Pillow's readers raise on files that are cut off, damaged or too large: more than they document
BROKEN = (
    OSError, ValueError, SyntaxError, EOFError, TypeError, LookupError, ArithmeticError, MemoryError,
    RuntimeError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip


@dataclass(frozen=True)
class Turn:
    """What EXIF asks for: rows and columns of what is stored change places, then these axes are flipped."""

    swapped: bool = False
    flipped: tuple[int, ...] = ()  # -2: upside down, -1: left to right

    def __bool__(self) -> bool:
        return self.swapped or bool(self.flipped)

    def raster(self, stored: Shaped[Tensor, "*c _ _"]) -> Shaped[Tensor, "*c H W"]:
        """Return what is stored, upright."""
        upright = stored.transpose(-2, -1) if self.swapped else stored
        return upright.flip(self.flipped) if self.flipped else upright

    def size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return height and width as stored -> upright, and the other way round."""
        return (size[1], size[0]) if self.swapped else size

    def box(self, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        """Turn x0, y0, x1, y1 in shares of the stored raster into those of the upright one."""
        x0, y0, x1, y1 = (box[1], box[0], box[3], box[2]) if self.swapped else box
        y0, y1 = (1 - y1, 1 - y0) if -2 in self.flipped else (y0, y1)
        x0, x1 = (1 - x1, 1 - x0) if -1 in self.flipped else (x0, x1)
        return x0, y0, x1, y1


UPRIGHT = Turn()  # as it is stored

TURNS: dict[Any, Turn] = {  # by EXIF orientation; others are upright
    2: Turn(False, (-1,)), 3: Turn(False, (-2, -1)), 4: Turn(False, (-2,)),
    5: Turn(True), 6: Turn(True, (-1,)), 7: Turn(True, (-2, -1)), 8: Turn(True, (-2,)),
}  # fmt: skip


def load(image: Image.Image) -> Turn:
    """Decode a Pillow image; gives how it is, or was, to be turned.

    A TIFF turns itself while it loads, and knows then no more of it. Others are asked afterwards: in a PNG
    EXIF may stand behind the pixels, and Pillow looks for it but once.
    """
    before = turn(image) if image.format == "TIFF" else UPRIGHT
    image.load()
    return before or turn(image)


def turn(image: Image.Image) -> Turn:
    """Return how a Pillow image is to be turned, by its EXIF; a TIFF that was loaded has turned itself."""
    try:
        exif = Image.Image.getexif(image)  # the base class's: that of a PNG decodes the whole file to look
    except BROKEN:  # damaged EXIF in a sound image: upright, as most viewers show it
        return UPRIGHT
    return TURNS.get(exif.get(0x0112), UPRIGHT)
