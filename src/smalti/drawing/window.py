"""Canvases larger than the window: the rule of arXiv:2012.09841, section 3.3, one cell after the other.

`wavefront` and `standing` draw the same codes in less time; this is the rule in its plainest form.
"""

from typing import NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor

from smalti.drawing.canvas import Canvas
from smalti.drawing.choice import choose
from smalti.drawing.guidance import Scorer
from smalti.priors.cache import Cache


class Cell(NamedTuple):
    """A cell of a canvas and the window through which the prior sees it."""

    row: int
    column: int
    top: int  # first row of the window
    left: int  # its first column
    place: int  # row-major number of the cell inside the window = codes that it sees


def begin(at: int, size: int, side: int, *, shift: int = 0, stride: int = 1) -> int:
    """Where on an axis of `size` cells the window of a cell begins.

    Half a window before it, moved inside the canvas at the borders (2021 code); shift: 1 as in the 2021
    sampler of scenes, where of an even side it is one cell less. With a stride above 1 the window stands
    still for so many cells: the last multiple of the stride that is half a window or more before the cell.
    """
    return min(max((at - (side - shift) // 2) // stride * stride, 0), size - side)


def locate(
    row: int, column: int, grid: tuple[int, int], window: tuple[int, int], shift: int = 0, stride: int = 1
) -> Cell:
    """A cell with its window; see `begin`."""
    top, left = (
        begin(at, size, side, shift=shift, stride=stride)
        for at, size, side in zip((row, column), grid, window, strict=True)
    )
    return Cell(row, column, top, left, (row - top) * window[1] + column - left)


def draw(scorer: Scorer, canvas: Canvas) -> Int64[Tensor, "b h w"]:
    """Lay the unknown cells row by row; the prior's order must be row-major."""
    codes = canvas.codes.clone()
    rule = canvas.grid, canvas.window, canvas.shift, canvas.stride
    for row in range(canvas.grid[0]):
        for column in range(canvas.grid[1]):
            if not canvas.known[row, column]:
                lay(scorer, canvas, codes, [locate(row, column, *rule)])
            canvas.progress(len(codes))
    return codes


def lay(scorer: Scorer, canvas: Canvas, codes: Tensor, cells: list[Cell], cache: Cache | None = None) -> None:
    """Draw cells that do not see one another, on all canvases in one pass, into codes (b h w).

    cache: the prefixes of their windows, if they are there; no cell is then the first of its window.
    """
    longest = max(cell.place for cell in cells)
    height, width = canvas.window
    windows = [codes[:, cell.top : cell.top + height, cell.left : cell.left + width] for cell in cells]
    seen = torch.cat([window.flatten(1)[:, : longest + 1] for window in windows])
    prefix = None
    if cache is None:
        prefix = scorer.prefix([(cell.top, cell.left) for cell in cells], canvas.window)
    if all(cell.place == longest for cell in cells):
        scores = scorer.next(seen[:, :longest], prefix, cache)
    else:  # shorter ones are filled up with what stands there: no prior looks past the place it scores
        scores = scorer.at(seen, prefix, each(canvas, [cell.place for cell in cells]), cache)
    numbers = each(canvas, [cell.row * canvas.grid[1] + cell.column for cell in cells])
    drawn = choose(scores, canvas.seeds.repeat(len(cells)), numbers, canvas.choice)
    for cell, new in zip(cells, drawn.chunk(len(cells)), strict=True):
        codes[:, cell.row, cell.column] = new


def each(canvas: Canvas, numbers: list[int]) -> Int64[Tensor, " r"]:
    """A number of each cell or window, repeated for all canvases; made on the device: nobody waits for it."""
    return torch.cat([torch.full_like(canvas.seeds, number) for number in numbers])
