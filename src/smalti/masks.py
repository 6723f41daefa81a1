"""Which cells of an image keep their codes: by a mask, or by the side that is kept."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from PIL import Image
from torch import Tensor

from smalti import imaging
from smalti.errors import UserError, shown

SIDES = ("top", "bottom", "left", "right", "centre")
FORMS = "a path, a Pillow image, an array or a tensor (h w), bool: True, or white, is made anew"
_KEEP = 'for example keep=0.5, keep="left" or keep="centre:0.5"'
_DARK = 128  # of 8 bits: below it a mask's pixel is black


def known(mask: Any, keep: Any, grid: tuple[int, int], factor: int) -> Bool[Tensor, "h w"]:
    """Give the cells of an image that keep their codes, by `read` of a mask or else by `side`.

    keep: None is the upper half. UserError for both, and as those say.
    """
    if mask is None:
        return side(0.5 if keep is None else keep, grid)
    if keep is not None:
        raise UserError("one of mask= and keep=", "both", "leave one of them out")
    return cells(read(mask), grid, factor)


def side(keep: Any, grid: tuple[int, int]) -> Bool[Tensor, "h w"]:
    """Give the cells of a grid (h, w) that are kept: True.

    keep: a share in [0, 1] of the rows, from the top; or one of SIDES, with its share after a colon where
    that is not a half: "left:0.25". Of the centre it is the share of both sides. Rows and columns are rounded
    to whole ones. UserError for others.
    """
    name, _, part = keep.partition(":") if isinstance(keep, str) else ("top", "", keep)
    name = name.strip().lower().replace("center", "centre")
    if isinstance(keep, str) and not part and name not in SIDES:  # as commands have it: 0.5
        name, part = "top", name
    try:
        share = float(0.5 if part == "" else part)
    except (TypeError, ValueError, RuntimeError):
        share = -1.0
    if name not in SIDES or not 0 <= share <= 1:
        raise UserError(f"a share in [0, 1] for keep, or one of {', '.join(SIDES)}", shown(keep), _KEEP)
    rows, columns = (round(share * cells) for cells in grid)
    known = torch.zeros(grid, dtype=torch.bool)
    top, left = (grid[0] - rows) // 2, (grid[1] - columns) // 2
    parts = {
        "top": (slice(rows), slice(None)),
        "bottom": (slice(grid[0] - rows, None), slice(None)),
        "left": (slice(None), slice(columns)),
        "right": (slice(None), slice(grid[1] - columns, None)),
        "centre": (slice(top, top + rows), slice(left, left + columns)),
    }
    known[parts[name]] = True
    return known


def read(mask: Any) -> Bool[Tensor, "h w"]:
    """Give a mask as it is, True where the image is to be made anew; see FORMS.

    Of Pillow images and files what is brighter than half; of numbers what is not 0 if none is above 1, of
    more up to 255 the upper half. UserError for others, and for transparency, which may mean either.
    """
    if isinstance(mask, str | Path):
        mask = imaging.open_pil(mask)
    if isinstance(mask, np.ndarray) and mask.dtype == np.uint8 and mask.ndim == 3 and mask.shape[2] in (3, 4):
        mask = Image.fromarray(mask)
    if isinstance(mask, Image.Image):
        if mask.has_transparency_data and np.asarray(mask.convert("RGBA"))[..., 3].min() < 255:
            got = "one with transparency"
            raise UserError("a mask in black and white", got, "paint white what is to be made anew")
        return imaging.from_pil(mask).float().mean(0) >= _DARK
    if mask is None or isinstance(mask, bool | int | float):
        raise UserError("a mask (h w)", shown(mask), f"give {FORMS}; a share of rows is keep=0.5")
    try:
        found = mask.detach().cpu() if isinstance(mask, Tensor) else torch.from_numpy(np.array(mask))
        found = found if found.dtype == torch.bool or found.is_complex() else found.double()
    except (TypeError, ValueError, RuntimeError):  # words, things, rows of unequal lengths
        raise UserError("a mask (h w)", shown(mask), f"give {FORMS}") from None
    while found.dim() > 2 and 1 in (found.shape[0], found.shape[-1]):
        found = found[0] if found.shape[0] == 1 else found[..., 0]
    if found.dim() != 2 or found.numel() == 0 or found.is_complex():
        raise UserError("a mask (h w)", shown(mask), f"give {FORMS}")
    if found.dtype == torch.bool:
        return found
    least, most = found.min().item(), found.max().item()
    if not 0 <= least <= most <= 255:
        got = f"values from {least:g} to {most:g}"
        raise UserError("a mask of bool, 0 and 1, or 0 to 255", got, "give mask > 0")
    return found >= (_DARK if most > 1 else 0.5)


def cells(mask: Bool[Tensor, "y x"], grid: tuple[int, int], factor: int) -> Bool[Tensor, "h w"]:
    """Give the cells of a grid that are kept, by a mask of cells or of pixels, True where all is made anew.

    A cell of which any pixel is masked is made anew whole. UserError for a mask of another size.
    """
    height, width = grid
    if tuple(mask.shape) == (height * factor, width * factor):
        return ~mask.reshape(height, factor, width, factor).any(3).any(1)
    if tuple(mask.shape) != grid:
        expected = f"a mask of {height * factor} x {width * factor} pixels, or of {height} x {width} cells"
        got = "{} x {}".format(*mask.shape)
        raise UserError(expected, got, "resize the mask to the image")
    return ~mask


def recorded(known: Bool[Tensor, "h w"], num: int) -> dict[str, Any]:
    """Give what num images record of the cells that they kept: whole rows from the top; else a mask besides.

    The mask is what `read` takes: 1 where cells were drawn anew.
    """
    rows = int(known.all(1).cumprod(0).sum())
    if not known[rows:].any():
        return {"rows_kept": rows}
    mask = (~known).int().tolist()
    return {"rows_kept": rows, "mask": [mask] * num}  # of lists one is taken for each image
