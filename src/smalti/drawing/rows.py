"""A row of cells that share a window, which stands still for them: drawn one after the other with a cache."""

from collections.abc import Sequence
from functools import partial
from itertools import groupby, pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from smalti.drawing.canvas import Canvas
from smalti.drawing.choice import choose
from smalti.drawing.guidance import Scorer
from smalti.drawing.window import begin, each
from smalti.priors.cache import Cache

Steps = list[tuple[int, list[int]]]  # along an axis: where a window begins, cells that are drawn through it


class Draw(NamedTuple):
    """An unknown cell, by its place inside the window; codes from place `fed` on are fed before."""

    fed: int
    place: int


def window_steps(
    grid: tuple[int, int], window: tuple[int, int], stride: int, shift: int
) -> tuple[Steps, Steps]:
    """Where windows stand, and the cells drawn through each: along the rows, and along the columns."""
    down, right = (
        _along(size, side, shift=shift, stride=stride) for size, side in zip(grid, window, strict=True)
    )
    return down, right


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


def lay_row(
    scorer: Scorer,
    canvas: Canvas,
    codes: Tensor,
    corners: Sequence[tuple[int, int]],
    cells: Sequence[Draw],
    cache: Cache,
) -> None:
    """Draw cells of a row through windows that stand still, in lockstep, on all canvases, into codes (b h w).

    corners: top and left of each window, in all of which these cells, one or more, have the same places. The
    cache is empty, or filled up to the first cell's `fed`.
    """
    height, width = canvas.window
    windows = [codes[:, top : top + height, left : left + width] for top, left in corners]
    seen = torch.cat([window.flatten(1) for window in windows])  # r n, a copy; canvases change fastest
    seeds = canvas.seeds.repeat(len(windows))
    numbers = each(canvas, [top * canvas.grid[1] + left for top, left in corners])
    down = cells[0].place // width  # inside the window
    for fed, place in cells:
        if cache.length == 0:
            scores = scorer.next(seen[:, :place], scorer.prefix(corners, canvas.window), cache)
        else:
            scores = scorer.next(seen[:, fed:place], None, cache)
        of_canvas = numbers + (down * canvas.grid[1] + place % width)
        seen[:, place] = choose(scores, seeds, of_canvas, canvas.choice)
    for window, new in zip(windows, seen.view(-1, *codes.shape[:1], height, width), strict=True):
        window[:, down] = new[:, down]


def _along(size: int, side: int, *, shift: int, stride: int) -> Steps:
    """Of one axis; see `begin`."""
    found = groupby(range(size), partial(begin, size=size, side=side, shift=shift, stride=stride))
    return [(start, list(cells)) for start, cells in found]
