"""Maps out of image files: what a condition's tokenizer takes."""

import math
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from smalti import exif, imaging, opening
from smalti.conditions.protocol import Codec
from smalti.errors import UserError
from smalti.opening import Source
from smalti.reading.labels import open_labels
from smalti.reading.pixels import from_pil, open_pixels

# nearer and further than any depth is: bytes that mean this were meant as colours
_NEAR, _FAR = 1e-12, 1e12


def open_for(tokenizer: Codec, source: str | Path | Image.Image) -> Float[Tensor, "1 c H W"]:
    """Return what a tokenizer takes, out of a file or a Pillow image, of its own size.

    Of images as its settings say that values are read, else, and of maps, as `open_map` gives it; of
    classes one channel each, 0 or 1, out of a label map, whose values mean what they did in training
    (settings.labels). UserError for what cannot be read, and for numbers of classes that the tokenizer lacks.
    """
    how = tokenizer.settings.pixels
    if how is not None:
        if isinstance(source, Image.Image):
            return imaging.to_float(from_pil(source, how))[None]
        return imaging.to_float(open_pixels(source, how))[None]
    if tokenizer.settings.content != "segmentation":
        return open_map(source, tokenizer.channels)[None]
    of = "" if isinstance(source, Image.Image) else f" in {source}"
    meant = tokenizer.settings.labels
    labels = open_labels(source, meant)
    if meant is not None and meant.shift:  # what the file holds is a number less
        of += " (1 is added to the values in the file, of which 255 is class 0)"
    return one_hot(labels[None], tokenizer.channels, of=of)


def one_hot(labels: Tensor, classes: int, of: str = "") -> Float[Tensor, "b {classes} H W"]:
    """Return a channel a class, of class numbers (b H W).

    of: the end of the UserError for numbers of no class.
    """
    if labels.numel() == 0 or labels.min() < 0 or labels.max() >= classes:
        got = f"{labels.min().item()} to {labels.max().item()}" if labels.numel() else "none"
        remedy = "renumber the map's classes as in training"
        raise UserError(f"class numbers from 0 to {classes - 1}", got + of, remedy)
    return imaging.one_hot(labels.long(), classes)


def open_map(source: str | Source | Image.Image, channels: int) -> Float[Tensor, "c H W"]:
    """Return a map of one or three channels in [-1, 1], from a file or a Pillow image.

    Three: as an image. One: gray of 8 bits from black to white, colours by their luminance, transparency on
    white; gray of more bits, floats, and a float in the four bytes of an RGBA pixel (the 2021 code's depth
    files) stretched, so that the smallest value is -1 and the largest 1. UserError for what cannot be read,
    and other channels.
    """
    if channels == 3:
        pixels = imaging.from_pil(source) if isinstance(source, Image.Image) else imaging.open_rgb(source)
        return imaging.to_float(pixels)
    if channels != 1:
        expected = f"a tensor: this tokenizer takes {channels} channels, image files have 1 or 3"
        raise UserError(expected, "an image", f"give a tensor (b {channels} H W) in Python")
    image = imaging.open_pil(source)
    depths = _depths(image)
    if depths is not None:
        return exif.turn(image).raster(stretched(depths)[None])
    with opening.readable(source):
        return _luminance(image)


def _luminance(image: Image.Image) -> Float[Tensor, "1 H W"]:
    if image.has_transparency_data:  # on white first: the luminance of what cannot be seen is no value
        image = imaging.to_pil(imaging.from_pil(image)[None])[0]
    gray = image if image.mode in ("1", "L") else image.convert("L")
    return imaging.to_float(imaging.from_pil(gray)[:1])


def stretched(depths: Float[Tensor, "H W"]) -> Float[Tensor, "H W"]:
    """Scale to the range from the smallest value, -1, to the largest, 1 (2021 code)."""
    least, most = depths.min(), depths.max()
    return 2 * ((depths - least) / (most - least).clamp(min=1e-8)) - 1


def _depths(image: Image.Image) -> Float[Tensor, "H W"] | None:
    """Return the values of an image that has more than 8 bits; None for the others."""
    if image.mode == "RGBA":
        values = np.ascontiguousarray(np.asarray(image)).view("<f4")[..., 0]
        furthest = np.abs(values).max() if np.isfinite(values).all() else np.inf
        if furthest > _FAR or 0 < furthest < _NEAR:
            return None
    elif image.mode == "F" or image.mode.startswith("I"):
        values = np.asarray(image)
        values = -values.astype(np.float64) if opening.is_white_zero(image) else values
    else:
        return None
    depths = torch.from_numpy(values.astype(np.float32))
    return depths if math.isfinite(depths.abs().max().item()) else None
