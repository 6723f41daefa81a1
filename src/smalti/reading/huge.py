"""Images above Pillow's limit, where a setting allows them: a crop without the whole in memory."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from smalti import exif, imaging, opening
from smalti.errors import UserError
from smalti.imaging import Filter
from smalti.opening import Header, Source
from smalti.reading.pixels import PixelReading, Pixels, from_values, open_pixels
from smalti.reading.values import Values, pick, tifffile

_MARGIN = 4  # pixels of the result around a part: as far as filters look


@dataclass(frozen=True)
class Huge:
    """An image file that is not read yet, with what stands for the shape of its pixels."""

    path: Source
    header: Header
    how: PixelReading | None
    max_pixels: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the whole."""
        return 3 if self.how is None else self.how.channels, self.header.height, self.header.width

    def part(
        self, sides: tuple[int, int], box: tuple[int, int, int, int], filter: Filter, antialias: bool
    ) -> Pixels:
        """Return a part of the image as it is when the whole has been made as small as `sides`.

        box: top, left, height, width in pixels of the result. Of a TIFF in tiles or strips those alone are
        decoded that the part needs, a JPEG is decoded at a half, quarter or eighth where it stays larger than
        `sides`; other files are decoded whole. UserError as `open_pixels` has it.
        """
        if self.header.format == "TIFF":
            found = self._of_tiles(sides, box, filter, antialias)
            if found is not None:
                return found
        pixels = self._scaled_jpeg(sides)
        if pixels is None:
            pixels = open_pixels(self.path, self.how, self.max_pixels)
        return _cut(_within(imaging.resize(pixels, sides, filter, antialias)), box)

    def _scaled_jpeg(self, sides: tuple[int, int]) -> Tensor | None:
        """Return the whole, from `sides` up.

        None for what is no JPEG of gray or three colours, and for odd ones.
        """
        if self.header.format not in ("JPEG", "MPO") or self.header.mode not in ("RGB", "L"):
            return None
        with opening.readable(self.path):
            stored = imaging.decode_jpeg(self.path.read_bytes(), self.header.turn.size(sides))
        if stored is None:
            return None
        pixels = self.header.turn.raster(stored)
        if self.how is None:
            return pixels
        with opening.readable(self.path):
            found, bands = Values(samples=pixels[: self.header.bands].numpy()), self.how.bands
            return from_values(pick(found, bands) if isinstance(bands, tuple) else found, self.how)

    def _of_tiles(
        self, sides: tuple[int, int], box: tuple[int, int, int, int], filter: Filter, antialias: bool
    ) -> Pixels | None:
        """Return the part by tiles; None where tifffile is not there, or does not decode this kind."""
        top, left, height, width = box
        first = [max(0, start - _MARGIN) for start in (top, left)]
        last = [
            min(side, start + length + _MARGIN)
            for side, start, length in zip(sides, (top, left), (height, width), strict=True)
        ]
        ratios = [own / side for own, side in zip(self.shape[1:], sides, strict=True)]
        begin = [math.floor(at * ratio) for at, ratio in zip(first, ratios, strict=True)]
        end = [
            min(own, math.ceil(at * ratio))
            for at, ratio, own in zip(last, ratios, self.shape[1:], strict=True)
        ]
        try:
            with self.path.open("rb") as stream, tifffile().TiffFile(stream) as file:
                found = _window(file, (begin[0], end[0]), (begin[1], end[1]), self.how)
        except (UserError, *exif.BROKEN):
            return None
        if found is None:
            return None
        with opening.readable(self.path):
            pixels = from_values(found, self.how)
        pixels = imaging.resize(pixels, (last[0] - first[0], last[1] - first[1]), filter, antialias)
        return _cut(_within(pixels), (top - first[0], left - first[1], height, width))


def _within(pixels: Tensor) -> Tensor:
    """Cut what bicubic overshoots."""
    return pixels.clamp(0, 255) if pixels.is_floating_point() else pixels


def _cut(pixels: Tensor, box: tuple[int, int, int, int]) -> Tensor:
    top, left, height, width = box
    return pixels[:, top : top + height, left : left + width]


def _window(
    file: Any, rows: tuple[int, int], columns: tuple[int, int], how: PixelReading | None
) -> Values | None:
    """Return values of a part of a TIFF's first page, decoding the tiles or strips that it lies in."""
    page = file.pages[0]
    bands = how.bands if how is not None and isinstance(how.bands, tuple) else None
    many, turned = page.samplesperpixel, page.tags.valueof(opening.ORIENTATION, 1) != 1
    if turned or int(page.photometric) > 2 or int(page.planarconfig) != 1:
        return None
    if max(bands) >= many if bands else many not in (1, 3):  # others have transparency, or no known colours
        return None
    tall, wide = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    across = -(-page.imagewidth // wide)
    found = np.zeros((rows[1] - rows[0], columns[1] - columns[0], many), page.dtype)
    for row in range(rows[0] // tall, -(-rows[1] // tall)):
        for column in range(columns[0] // wide, -(-columns[1] // wide)):
            number = row * across + column
            file.filehandle.seek(page.dataoffsets[number])
            data = file.filehandle.read(page.databytecounts[number])
            tile = page.decode(data, number, jpegtables=page.jpegtables)[0][0]  # rows columns bands
            _lay(found, tile, row * tall - rows[0], column * wide - columns[0])
    samples = found.transpose(2, 0, 1)
    return Values(
        samples=samples[list(bands)] if bands else samples, is_white_zero=int(page.photometric) == 0
    )


def _lay(whole: Any, tile: Any, top: int, left: int) -> None:
    """Put a tile where it belongs; what of it lies outside is left out."""
    rows = slice(max(0, top), min(whole.shape[0], top + tile.shape[0]))
    columns = slice(max(0, left), min(whole.shape[1], left + tile.shape[1]))
    whole[rows, columns] = tile[
        rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
    ]
