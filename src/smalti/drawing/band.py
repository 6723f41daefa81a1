"""Canvases of any size under a prior whose cells see only cells near them: each cell is computed once.

Cell (i, j) sees, d rows above for d up to its radius r, less than d * lag columns to its right. So with
t(i, j) = lag i + j all that it sees has a smaller t, and cells of equal t, a front, go through the prior
together. A canvas takes min(lag, w) (h - 1) + w passes over h w cells in all; keys and values of a band are
held: of the rows that fronts are in and the r rows above, the columns from r behind the front to r * lag
ahead of it.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor

from smalti.drawing.canvas import Canvas
from smalti.drawing.diagonals import diagonals, longest
from smalti.drawing.guidance import Scorer
from smalti.priors.protocol import Local


class Front(NamedTuple):
    """Cells of one pass, as numbers row by row; those that are to be drawn come first."""

    cells: list[int]
    unknown: int  # how many are to be drawn


def draw(scorer: Scorer, canvas: Canvas, prior: Local) -> Int64[Tensor, "b h w"]:
    """Lay the unknown cells of canvases of any size; prior: the scorer's."""
    codes = canvas.codes.clone(memory_format=torch.contiguous_format)
    (height, width), batch = canvas.grid, len(canvas.codes)
    plan = list(fronts(canvas, prior.lag))
    fed = sum(len(front.cells) for front in plan)
    canvas.progress((height * width - fed) * batch)
    if not plan:
        return codes
    rows, columns = held(canvas.grid, prior)
    band = scorer.new_band(_condition(scorer, canvas), rows=rows, columns=columns)
    numbers = torch.tensor([cell for front in plan for cell in front.cells], device=codes.device)
    ends = [0]
    for front in plan:
        ends.append(ends[-1] + len(front.cells))
    for front, (begin, end) in zip(plan, pairwise(ends), strict=True):
        cells = numbers[begin:end]
        places = torch.stack((cells // width, cells % width), 1)
        scores = scorer.feed(codes, places, band)[:, : front.unknown]
        if front.unknown:
            drawn = cells[: front.unknown]
            codes.view(batch, -1)[:, drawn] = canvas.draw(scores, drawn)
        canvas.progress(len(front.cells) * batch)
    return codes


def fronts(canvas: Canvas, lag: int) -> Iterator[Front]:
    """Passes over the cells up to the last row with an unknown one, known cells among them.

    What lies below is not fed: nothing that is drawn sees it.
    """
    width = canvas.grid[1]
    drawn = (~canvas.known).any(1).nonzero().flatten().tolist()  # rows with something to draw
    if not drawn:
        return
    known = canvas.known.flatten().tolist()
    for line in diagonals(drawn[-1] + 1, width, min(lag, width)):
        cells = [row * width + column for row, column in line]
        unknown = [cell for cell in cells if not known[cell]]
        yield Front(unknown + [cell for cell in cells if known[cell]], len(unknown))


def together(grid: tuple[int, int], window: tuple[int, int], prior: Local) -> int:
    """The memory of one canvas, in caches of a window: cells whose keys and values are held."""
    rows, columns = held(grid, prior)
    return -(-rows * columns // (window[0] * window[1]))


def held(grid: tuple[int, int], prior: Local) -> tuple[int, int]:
    """Rows and columns whose keys and values are held: those of fronts, and what these see."""
    (height, width), radius, lag = grid, prior.radius, min(prior.lag, grid[1])
    return min(height, radius + longest(height, width, lag)), min(width, radius * lag + radius + 1)


def _condition(scorer: Scorer, canvas: Canvas) -> Int64[Tensor, "b2 y x"]:
    """The condition of the whole canvas: one token, or those of its cells, window by window."""
    (height, width), (rows, columns) = canvas.grid, canvas.window
    first = scorer.prefix([(0, 0)], canvas.window)
    if first.shape[1] == 1:
        return first[:, :, None]
    tokens = first.new_empty(len(first), height, width)
    for top in {min(top, height - rows) for top in range(0, height, rows)}:
        for left in {min(left, width - columns) for left in range(0, width, columns)}:
            part = scorer.prefix([(top, left)], canvas.window)
            tokens[:, top : top + rows, left : left + columns] = part.view(-1, rows, columns)
    return tokens
