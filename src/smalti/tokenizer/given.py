"""What a person gives a tokenizer in Python: images and codes in any common form, checked and made ours."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from smalti import imaging
from smalti.conditions.map_files import one_hot, open_for
from smalti.conditions.protocol import Codec
from smalti.errors import UserError, shown
from smalti.user_images import FORMS, check_range


def read_images(tokenizer: Codec, given: Any) -> Float[Tensor, "b c H W"]:
    """Return what a tokenizer takes, out of files, Pillow images, arrays, tensors, or several.

    Files and Pillow images are read as `open_for` reads them; arrays (h, w) and (h, w, c) of uint8 as
    Pillow's. Tensors (c H W) or (b c H W), which may have their channels last as arrays do: uint8, or
    floats in [-1, 1]; of segmentations also class numbers (H W) or (b H W). UserError for others, for
    another range, and for images of unequal sizes.
    """
    if isinstance(given, list | tuple):
        return _together([read_images(tokenizer, one) for one in given])
    if isinstance(given, np.ndarray):
        array = _native(given)
        if _is_as_a_file(array):
            return _together([open_for(tokenizer, Image.fromarray(one)) for one in _each(array)])
        given = _tensor(array)
    if isinstance(given, Tensor):
        return _floats(tokenizer, given)
    if isinstance(given, str | Path | Image.Image):
        return open_for(tokenizer, given)
    raise UserError("an image, or several", shown(given), f"give {FORMS}")


def read_codes(tokenizer: Codec, given: Any) -> Int64[Tensor, "b h w"]:
    """Return codes as a tensor, of a tensor, array or nested lists of whole numbers, (h w) or (b h w).

    UserError for other forms, and for codes that the codebook lacks.
    """
    try:
        # a copy: torch warns of arrays that may not be written to
        found = given if isinstance(given, Tensor) else torch.from_numpy(_native(np.array(given)))
    except (TypeError, ValueError, RuntimeError):  # rows of unequal lengths, words, things
        raise UserError("codes (b, h, w)", shown(given), "give what encode gave") from None
    is_whole = not found.is_floating_point() and not found.is_complex() and found.dtype != torch.bool
    if found.dim() not in (2, 3) or 0 in found.shape[-2:] or not is_whole:
        remedy = "give what encode gave, as whole numbers: .long()"
        raise UserError("codes (b, h, w)", f"{found.dtype} {tuple(found.shape)}", remedy)
    found = (found if found.dim() == 3 else found[None]).long()
    size = tokenizer.codebook_size
    if ((found < 0) | (found >= size)).any():
        got = f"{found.min().item()} to {found.max().item()}"
        raise UserError(f"codes from 0 to {size - 1}", got, "use the tokenizer that made the codes")
    return found


def read_images_or_codes(tokenizer: Codec, given: Any) -> Float[Tensor, "b c H W"] | Int64[Tensor, "b h w"]:
    """Return images as `read_images` does, or codes as `read_codes` does: whole numbers of more than a byte.

    UserError as these.
    """
    return (read_codes if _are_codes(given) else read_images)(tokenizer, given)


def only_one(found: Tensor) -> Tensor:
    """Return images or codes (1 ...), as they are; UserError for several."""
    if len(found) != 1:
        raise UserError("one image (c H W)", f"{len(found)} of them", "give them one after the other")
    return found


def _are_codes(given: Any) -> bool:
    if isinstance(given, np.ndarray):
        return given.dtype.kind in "iu" and given.dtype != np.uint8
    if not isinstance(given, Tensor):
        return False
    return not given.is_floating_point() and given.dtype not in (torch.uint8, torch.bool)


def _together(found: list[Tensor]) -> Tensor:
    sizes = list(dict.fromkeys(tuple(one.shape[2:]) for one in found))
    if not sizes:
        raise UserError("an image, or several", "none", f"give {FORMS}")
    if len(sizes) > 1:
        got = " and ".join(f"{height} x {width}" for height, width in sizes[:2])
        raise UserError("images of one size", got, "crop or resize them alike, or give them one by one")
    return torch.cat([one.float() for one in found])


def _is_as_a_file(given: NDArray[Any]) -> bool:
    """Return whether Pillow can hold it: gray or colours, with or without transparency, one or several."""
    if given.dtype == np.uint8 and given.ndim >= 3 and given.shape[-1] in (1, 3, 4):
        return given.ndim in (3, 4)
    return given.dtype in (np.uint8, np.uint16, np.bool_) and given.ndim == 2


def _each(given: NDArray[Any]) -> list[NDArray[Any]]:
    several = list(given) if given.ndim == 4 else [given]
    return [one[..., 0] if one.ndim == 3 and one.shape[-1] == 1 else one for one in several]


def _native(given: NDArray[Any]) -> NDArray[Any]:
    """Return it in this machine's order of bytes, the only one that torch knows."""
    return given.astype(given.dtype.newbyteorder("="), copy=False)


def _tensor(given: NDArray[Any]) -> Tensor:
    try:
        return torch.from_numpy(np.ascontiguousarray(given))
    except TypeError:  # words, things, or numbers that torch has no type for
        raise UserError("an image as an array", shown(given), f"give {FORMS}") from None


def _floats(tokenizer: Codec, given: Tensor) -> Float[Tensor, "b c H W"]:
    is_real, channels = given.is_floating_point(), tokenizer.channels
    of_classes = tokenizer.settings.content == "segmentation"
    is_whole = not is_real and not given.is_complex() and given.dtype != torch.bool
    if of_classes and is_whole and given.dim() in (2, 3):
        return one_hot((given if given.dim() == 3 else given[None]).long(), channels)
    several = given[None] if given.dim() == 3 else given
    if given.dim() == 2 and channels == 1:
        several = given[None, None]
    if several.dim() == 4 and several.shape[1] != channels and several.shape[3] == channels:
        several = several.permute(0, 3, 1, 2)
    fits = several.dim() == 4 and several.shape[1] == channels
    if not fits or not (is_real or (given.dtype == torch.uint8 and not of_classes)):
        expected = f"images as floats (batch, {channels}, height, width) in [-1, 1], or uint8"
        if of_classes:
            expected = f"class numbers (batch, height, width), or floats (batch, {channels}, height, width)"
        remedy = f"give {channels} channels, or use another tokenizer" if is_real else f"give {FORMS}"
        raise UserError(expected, f"{given.dtype} {tuple(given.shape)}", remedy)
    if not is_real:
        how = tokenizer.settings.pixels  # as files of such values are read
        if how is not None and how.range is not None:
            black, white = how.range
            several = ((several.float() - black) / (white - black)).clamp(0, 1) * 255
        return imaging.to_float(several)
    if not of_classes:
        check_range(several)
    return several
