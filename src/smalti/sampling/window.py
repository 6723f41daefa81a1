"""Canvases larger than the window: the rule of arXiv:2012.09841, section 3.3, one cell after the other.

`wavefront` and `standing` draw the same codes in less time; this is the rule in its plainest form.
"""

from collections.abc import Sequence
from functools import partial
from itertools import groupby, pairwise
from typing import NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor

from smalti.priors.cache import Cache
from smalti.sampling.canvas import Canvas
from smalti.sampling.choice import choose
from smalti.sampling.guidance import Scorer

Steps = list[tuple[int, list[int]]]  # along an axis: where a window begins, cells that are drawn through it


class Cell(NamedTuple):
    """A cell of a canvas and the window through which the prior sees it."""

    row: int
    column: int
    top: int  # first row of the window
    left: int  # its first column
    place: int  # row-major number of the cell inside the window = codes that it sees


class Draw(NamedTuple):
    """An unknown cell, by its place inside the window; codes from place `fed` on are fed before."""

    fed: int
    place: int


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


def steps(size: int, side: int, *, shift: int = 0, stride: int = 1) -> Steps:
    """Where windows stand along an axis, and the cells that are drawn through each; see `begin`."""
    found = groupby(range(size), partial(begin, size=size, side=side, shift=shift, stride=stride))
    return [(start, list(cells)) for start, cells in found]


def draws(
    known: list[list[bool]], corner: tuple[int, int], rows: list[int], columns: list[int], width: int
) -> tuple[tuple[Draw, ...], ...]:
    """The unknown cells of these rows and columns, row by row, through one window, which is so wide."""
    drawn, fed = [], 0
    for row in rows:
        first = (row - corner[0]) * width - corner[1]
        ends = [fed, *(first + column for column in columns if not known[row][column])]
        drawn.append(tuple(Draw(*pair) for pair in pairwise(ends)))
        fed = ends[-1]
    return tuple(drawn)


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


def lay(scorer: Scorer, canvas: Canvas, codes: Tensor, cells: list[Cell]) -> None:
    """Draw cells that do not see one another, on all canvases in one pass, into codes (b h w)."""
    longest = max(cell.place for cell in cells)
    height, width = canvas.window
    windows = [codes[:, cell.top : cell.top + height, cell.left : cell.left + width] for cell in cells]
    seen = torch.cat([window.flatten(1)[:, : longest + 1] for window in windows])
    prefix = scorer.prefix([(cell.top, cell.left) for cell in cells], canvas.window)
    if all(cell.place == longest for cell in cells):
        scores = scorer.next(seen[:, :longest], prefix)
    else:  # shorter ones are filled up with what stands there: no prior looks past the place it scores
        scores = scorer.at(seen, prefix, each(canvas, [cell.place for cell in cells]))
    numbers = each(canvas, [cell.row * canvas.grid[1] + cell.column for cell in cells])
    drawn = choose(scores, canvas.seeds.repeat(len(cells)), numbers, canvas.choice)
    for cell, new in zip(cells, drawn.chunk(len(cells)), strict=True):
        codes[:, cell.row, cell.column] = new


def lay_row(
    scorer: Scorer,
    canvas: Canvas,
    codes: Tensor,
    corners: Sequence[tuple[int, int]],
    cells: Sequence[Draw],
    cache: Cache,
) -> None:
    """Draw cells of one row through windows that stand still, in lockstep, on all canvases, into codes."""
    height, width = canvas.window
    windows = [codes[:, top : top + height, left : left + width] for top, left in corners]
    seen = torch.cat([window.flatten(1) for window in windows])  # r n, a copy; canvases change fastest
    seeds = canvas.seeds.repeat(len(windows))
    numbers = each(canvas, [top * canvas.grid[1] + left for top, left in corners])
    down = cells[0].place // width  # inside the window
    for fed, place in cells:
        if cache.length == 0:
            scores = scorer.next(seen[:, :place], scorer.prefix(corners, canvas.window), cache)
        elif place - fed == 1:
            scores = scorer.step(seen[:, fed], cache)
        else:
            scores = scorer.extend(seen[:, fed:place], cache)[:, -1]
        of_canvas = numbers + (down * canvas.grid[1] + place % width)
        seen[:, place] = choose(scores, seeds, of_canvas, canvas.choice)
    for window, new in zip(windows, seen.view(-1, *codes.shape[:1], height, width), strict=True):
        window[:, down] = new[:, down]


def each(canvas: Canvas, numbers: list[int]) -> Int64[Tensor, " r"]:
    """A number of each cell or window, repeated for all canvases; made on the device: nobody waits for it."""
    return torch.cat([torch.full_like(canvas.seeds, number) for number in numbers])
