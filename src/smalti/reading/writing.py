"""Images in the numbers of the files that a model was trained on: its range undone, all bands and bits."""

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image, PngImagePlugin
from torch import Tensor

from smalti import imaging
from smalti.errors import UserError
from smalti.imaging import METADATA
from smalti.reading.pixels import PixelReading
from smalti.reading.values import Array, tifffile

_APART = 32  # a range of whole numbers at least so far apart is one of counts: they are written as such


@dataclass(frozen=True)
class FileValues:
    """An image as a file holds it, and how it was made."""

    samples: Array  # (bands, height, width), in the numbers of the model's files
    metadata: str  # JSON

    def save(self, stem: Path) -> Path:
        """Write it, whole or not at all, beside nothing of that name; gives the file, a PNG or a TIFF.

        PNG: one or three bands of 8 or 16 bits without sign. TIFF: all else.
        """
        is_png = self.samples.dtype in (np.uint8, np.uint16) and len(self.samples) in (1, 3)
        path = stem.with_name(stem.name + (".png" if is_png else ".tif"))
        path.parent.mkdir(parents=True, exist_ok=True)
        imaging.refuse_existing([path])
        imaging.write_whole(path, _png(self) if is_png else _tiff(self))
        return path


def is_needed(how: PixelReading | None) -> bool:
    """Return whether what a model gives is more than images of 8 bits can hold.

    UserError without tifffile.
    """
    if how is None or (how.range is None and how.channels in (1, 3)):
        return False
    if _type(how.range) not in (np.uint8, np.uint16) or how.channels not in (1, 3):
        tifffile()
    return True


def file_values(image: Float[Tensor, "c H W"], how: PixelReading, metadata: str) -> FileValues:
    """Return an image around [-1, 1], cut there, in the numbers of the files that a model reads so.

    Whole numbers for a range of whole numbers at least 32 apart, else floating point numbers.
    """
    pixels = image.detach().float().cpu()
    if how.range is None:
        return FileValues(imaging.to_uint8(pixels).numpy(), metadata)
    black, white = how.range
    found = black + (pixels.double().clamp(-1, 1).numpy() + 1) / 2 * (white - black)
    kind = _type(how.range)
    return FileValues((found if kind is np.float32 else found.round()).astype(kind), metadata)


def to_pil(images: Float[Tensor, "b c H W"], how: PixelReading | None) -> list[Image.Image]:
    """Return Pillow images: in 16 bits what is gray and whole numbers in the files, else in 8 bits.

    UserError for other numbers of channels than Pillow has.
    """
    if how is None:
        return imaging.to_pil(images)
    if how.channels not in (1, 3):
        remedy = "use .values() or .tensors, or .save, of what was drawn"
        raise UserError("images of 1 or 3 channels for Pillow", f"{how.channels} channels", remedy)
    if how.channels == 1 and how.range is not None and _type(how.range) is np.uint16:
        return [Image.fromarray(file_values(one, how, "").samples[0]) for one in images]
    return imaging.to_pil(images)


def _type(found: tuple[float, float] | None) -> Any:
    if found is None:
        return np.uint8
    black, white = found
    if not (float(black).is_integer() and float(white).is_integer() and white - black >= _APART):
        return np.float32
    for kind in (np.uint16, np.int16, np.int32):
        if np.iinfo(kind).min <= black and white <= np.iinfo(kind).max:
            return kind
    return np.float32


def _tiff(found: FileValues) -> bytes:
    data = io.BytesIO()
    samples = found.samples.transpose(1, 2, 0)
    many = len(found.samples)
    tifffile().imwrite(
        data,
        np.ascontiguousarray(samples[..., 0] if many == 1 else samples),
        photometric="rgb" if many == 3 else "minisblack",
        planarconfig=None if many == 1 else "contig",
        description=found.metadata,
        metadata=None,
    )
    return data.getvalue()


def _png(found: FileValues) -> bytes:
    """Refuse colours in 16 bits, of which Pillow writes none."""
    samples = found.samples
    if len(samples) == 1 or samples.dtype == np.uint8:
        data, chunks = io.BytesIO(), PngImagePlugin.PngInfo()
        chunks.add_text(METADATA, found.metadata)
        array = samples[0] if len(samples) == 1 else np.ascontiguousarray(samples.transpose(1, 2, 0))
        Image.fromarray(array).save(data, "PNG", pnginfo=chunks)
        return data.getvalue()
    _, height, width = samples.shape
    rows = samples.transpose(1, 2, 0).astype(">u2").reshape(height, -1).view(np.uint8)
    lines = np.pad(rows, ((0, 0), (1, 0)))  # each begins with its filter: none
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)),
            _chunk(b"tEXt", METADATA.encode() + b"\0" + found.metadata.encode("latin-1", "replace")),
            _chunk(b"IDAT", zlib.compress(lines.tobytes())),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
