"""Canvases of any size under a prior whose cells see only cells near them: each cell is computed once.

Cell (i, j) sees columns j - r .. j + r of the r rows above. So with t(i, j) = (r + 1) i + j all that it sees
has a smaller t, and cells of equal t, a front, go through the prior together. A canvas takes
min(r + 1, w) (h - 1) + w passes over h w cells in all; keys and values of a band of rows are held, those that
fronts are in and the r rows above.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor

from smalti.sampling.canvas import Canvas
from smalti.sampling.diagonals import diagonals, longest
from smalti.sampling.guidance import Scorer

TOGETHER = 64  # known cells of a row that are fed at once: bounds the memory of a pass


class Front(NamedTuple):
    """Cells of one pass, as numbers row by row; those that are to be drawn come first."""

    cells: list[int]
    unknown: int  # how many are to be drawn


def draw(scorer: Scorer, canvas: Canvas, radius: int) -> Int64[Tensor, "b h w"]:
    """Lay the unknown cells of canvases of any size; the prior is a Local one."""
    codes = canvas.codes.clone(memory_format=torch.contiguous_format)
    (height, width), batch = canvas.grid, len(canvas.codes)
    plan = list(fronts(canvas, radius))
    fed = sum(len(front.cells) for front in plan)
    canvas.progress((height * width - fed) * batch)
    if not plan:
        return codes
    band = scorer.new_band(_condition(scorer, canvas), rows=held(canvas.grid, radius), width=width)
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


def fronts(canvas: Canvas, radius: int) -> Iterator[Front]:
    """Passes over the cells up to the last unknown one: known rows at the top, then fronts across the rest.

    What lies below the last unknown cell's row is not fed: nothing that is drawn sees it.
    """
    width = canvas.grid[1]
    drawn = (~canvas.known).any(1).nonzero().flatten().tolist()  # rows with something to draw
    if not drawn:
        return
    first, known = drawn[0], canvas.known.flatten().tolist()
    for row in range(first):
        for column in range(0, width, TOGETHER):
            yield Front([row * width + at for at in range(column, min(column + TOGETHER, width))], 0)
    for line in diagonals(drawn[-1] + 1 - first, width, stride(width, radius)):
        cells = [(first + row) * width + column for row, column in line]
        unknown = [cell for cell in cells if not known[cell]]
        yield Front(unknown + [cell for cell in cells if known[cell]], len(unknown))


def stride(width: int, radius: int) -> int:
    """Columns by which a front is ahead in the row above."""
    return min(radius + 1, width)


def together(grid: tuple[int, int], radius: int) -> int:
    """The most cells of one canvas that are drawn at once: the rows that a front is in."""
    return longest(*grid, stride(grid[1], radius))


def held(grid: tuple[int, int], radius: int) -> int:
    """Rows whose keys and values are held: those that a front is in, and what the highest of them sees."""
    return min(grid[0], radius + together(grid, radius))


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
