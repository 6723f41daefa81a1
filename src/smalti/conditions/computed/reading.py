"""What of a file, or of a Pillow image, maps are computed of: its colours, or its transparency."""

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from smalti import exif, imaging, opening
from smalti.errors import UserError
from smalti.opening import Source
from smalti.reading.pixels import PixelReading, Pixels, from_pil, open_pixels


def open_image(source: str | Source | Image.Image, how: PixelReading | None) -> Pixels:
    """Return the pixels of an image, as its tokenizer has them; UserError for what cannot be read."""
    return from_pil(source, how) if isinstance(source, Image.Image) else open_pixels(source, how)


def open_alpha(source: str | Source | Image.Image) -> UInt8[Tensor, "1 H W"]:
    """Return how opaque each pixel is, 0 .. 255, upright; UserError for an image without transparency."""
    image = imaging.open_pil(source)
    if not image.has_transparency_data:
        remedy = "give images with an alpha channel (PNG, WebP), of which silhouettes are made"
        raise UserError("an image with transparency", f"{opening.name(source)}, without any", remedy)
    with opening.readable(source):
        alpha = np.array(image.convert("RGBA"))[None, :, :, 3]
    return exif.turn(image).raster(torch.from_numpy(alpha))
