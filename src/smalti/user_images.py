"""Images as a person holds them in Python: whether their range is ours, and files of them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from smalti import imaging
from smalti.errors import UserError, shown
from smalti.files import as_path

FORMS = "a path, a Pillow image, a uint8 array (h, w, c), a tensor (c, H, W) in [-1, 1], or a list of them"
_FAR = 2.0  # filters and decoders overshoot 1, but not so far where nothing is below 0
_TOO_FAR = 50.0  # neither noise nor a wild decoder reaches so far, but 0 to 255 less its mean does
# Of 25 photographs, resized, from 0 to 1: all begin below _DARK and reach over _SPREAD, and 90 % of their
# tiles of 64 and 128 pixels; in [-1, 1] 0.9 % of the tiles would be taken for such: nothing there is below 0.
_DARK, _SPREAD = 0.4, 0.2

_PNG = {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"}  # modes of Pillow's that it writes


def check_range(images: Tensor) -> None:
    """UserError for floats that are surely or very probably no images in [-1, 1], with what to do.

    Images from 0 to 1 are told by what images in [-1, 1] do not have. Out of 8 bits: an even multiple of
    1/255. Others: nothing below 0, and yet values from dark to light, which in [-1, 1] would all be bright.
    Of plain images nothing can be told, and they are taken.
    """
    if images.numel() == 0:
        return
    values = images.detach().float()
    least, most = (bound.item() for bound in torch.aminmax(values))
    got, expected = f"values from {least:g} to {most:g}", "images in [-1, 1]"
    if not (least >= -_TOO_FAR and most <= (_FAR if least >= 0 else _TOO_FAR)):  # not a number fails too
        remedy = "bring them into [-1, 1], or give uint8"
        if least >= 0 and most <= 255:
            remedy = "divide by 127.5 and subtract 1, or give uint8"
        raise UserError(expected, got, remedy)
    if 0 <= least < most <= 1 and _begins_at_zero(values):
        raise UserError(expected, got, "multiply by 2 and subtract 1, or give uint8")


def _begins_at_zero(values: Tensor) -> bool:
    levels = values * 255
    whole = levels.round()
    if ((levels - whole).abs() < 1e-2).all():  # 8 bits in [-1, 1] are (2 k - 255) / 255: odd multiples
        return bool((whole % 2 == 0).any())
    least, most = torch.aminmax(values)
    return bool(least < _DARK and most - least > _SPREAD)


def save_all(given: Any, folder: str | Path | Any, first: int | Any = 0) -> list[Path]:
    """Write images as 00000.png, 00001.png, ..., counted from `first`, with the metadata they carry.

    given: a Pillow image, a tensor (c H W) or (b c H W) in [-1, 1] or of uint8, a uint8 array (h, w) or
    (h, w, c), or a list of them; c is 1 or 3, of arrays also 4. Raises UserError, with nothing written yet,
    if a name is taken.
    """
    if not isinstance(first, int) or first < 0:
        raise UserError("a whole number from 0 for first", shown(first), "for example first=0")
    return imaging.save_all(_pillow(given), as_path(folder, "folder"), first)


def grid(given: Any, columns: int | Any = 4) -> Image.Image:
    """Lay images of one size side by side, in rows of `columns`; places left over are white.

    given: as `save_all` takes them. Gray ones stay gray, 16 bits become 8, what is mixed becomes colour.
    """
    if isinstance(columns, bool) or not isinstance(columns, int) or columns < 1:
        raise UserError("a whole number from 1 for columns", shown(columns), "for example columns=4")
    images = _pillow(given)
    sizes = list(dict.fromkeys((one.height, one.width) for one in images))
    if len(sizes) != 1:
        got = " and ".join(f"{height} x {width}" for height, width in sizes[:2]) or "none"
        raise UserError("images of one size, at least one", got, "resize them alike, or leave some out")
    pixels = torch.stack([imaging.from_pil(one) for one in images])
    if all(one.mode in ("1", "L", "I;16") for one in images):
        pixels = pixels[:, :1]
    return imaging.to_pil(imaging.grid(pixels, min(columns, len(images)))[None])[0]


def _pillow(given: Any) -> list[Image.Image]:
    if isinstance(given, Image.Image):
        if given.mode not in _PNG or 0 in given.size:
            got = f"mode {given.mode}, {given.height} x {given.width}"
            raise UserError("images that a PNG can hold", got, 'convert them: .convert("RGB")')
        return [given]
    if isinstance(given, Tensor):
        return _of_tensor(given)
    if isinstance(given, np.ndarray):
        return _of_array(given)
    if isinstance(given, str | bytes | Path | dict) or not hasattr(given, "__iter__"):
        raise UserError("images to save", shown(given), "give Pillow images, uint8 arrays or tensors")
    return [image for one in given for image in _pillow(one)]


def _of_tensor(given: Tensor) -> list[Image.Image]:
    images = given[None] if given.dim() == 3 else given
    is_known = images.is_floating_point() or images.dtype == torch.uint8
    if images.dim() != 4 or images.shape[1] not in (1, 3) or 0 in images.shape[2:] or not is_known:
        remedy = "give floats in [-1, 1] or uint8; of codes what decode makes of them"
        raise UserError("images (b, 3, H, W)", shown(given), remedy)
    # what a decoder gives may lie beyond [-1, 1]; it is clipped
    if images.is_floating_point() and images.numel():
        least, most = images.min().item(), images.max().item()
        check_range(images if least >= 0 and most > _FAR else images.clamp(-1, 1))
    return imaging.to_pil(images)


def _of_array(given: NDArray[Any]) -> list[Image.Image]:
    if given.ndim == 4:
        return [image for one in given for image in _of_array(one)]
    array = given[..., 0] if given.ndim == 3 and given.shape[-1] == 1 else given
    is_shaped = array.ndim == 2 or array.shape[2:] in ((3,), (4,))
    if array.dtype != np.uint8 or not is_shaped or 0 in array.shape:
        remedy = "give uint8 with channels last, or a tensor in [-1, 1]"
        raise UserError("images (h, w, 3) of uint8", shown(given), remedy)
    return [Image.fromarray(array)]
