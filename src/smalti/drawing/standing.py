"""Canvases larger than the window, which moves in steps: keys and values are kept while it stands still.

The cells that share a window are its block. A window is filled once, up to the first unknown cell of its
block, which is then laid row by row; what lies between two unknown cells is fed in one pass.

In the rows above, a block sees as far to the right as its window reaches. Where that is no further than the
block itself, as with a stride of half an even window, the blocks of an anti-diagonal do not see one another:
those whose unknown cells have equal places are laid in lockstep. Else the blocks of a band of rows are laid
row by row, along slanted lines: in each row a block waits for those that its window reaches into.
"""

from collections.abc import Iterator
from typing import NamedTuple

from jaxtyping import Int64
from torch import Tensor

from smalti.drawing.canvas import Canvas
from smalti.drawing.diagonals import diagonals, longest
from smalti.drawing.guidance import Scorer
from smalti.drawing.rows import Draw, Steps, draws, lay_row, window_steps
from smalti.priors.cache import Cache

HELD = 8  # windows of one canvas whose caches are held at once, at most: bounds their memory


class Group(NamedTuple):
    """Windows in lockstep: their unknown cells have equal places, so that one cache serves them all."""

    corners: tuple[tuple[int, int], ...]  # top and left of each
    rows: tuple[tuple[Draw, ...], ...]  # what is drawn in each row of their blocks


def draw(scorer: Scorer, canvas: Canvas) -> Int64[Tensor, "b h w"]:
    """Lay the unknown cells, the same codes as `window.draw`; the prior's order must be row-major."""
    codes = canvas.codes.clone()
    canvas.progress(int(canvas.known.sum()) * len(codes))
    caches: dict[Group, Cache] = {}
    for group, row in plan(canvas):
        if group not in caches:
            caches[group] = scorer.new_cache(len(group.corners) * len(codes))
        if group.rows[row]:
            lay_row(scorer, canvas, codes, group.corners, group.rows[row], caches[group])
        if row + 1 == len(group.rows):
            del caches[group]
        canvas.progress(len(group.rows[row]) * len(group.corners) * len(codes))
    return codes


def plan(canvas: Canvas) -> Iterator[tuple[Group, int]]:
    """Groups and rows of their blocks, in an order in which they can be laid; of a group all rows in turn."""
    down, right = window_steps(canvas.grid, canvas.window, canvas.stride, canvas.shift)
    reach = _reach(right, canvas.window[1])
    return _in_turn(canvas, down, right, reach) if reach else _in_lockstep(canvas, down, right)


def together(grid: tuple[int, int], window: tuple[int, int], stride: int, shift: int = 0) -> int:
    """The most windows of one canvas whose caches are held at once."""
    down, right = window_steps(grid, window, stride, shift)
    reach = _reach(right, window[1])
    if not reach:
        return min(HELD, longest(len(down), len(right), 1))
    rows = min(_rows_at_once(reach), max(len(cells) for _, cells in down))
    return min(reach * (rows - 1) + 1, len(right))


def _in_lockstep(canvas: Canvas, down: Steps, right: Steps) -> Iterator[tuple[Group, int]]:
    """Whole blocks along anti-diagonals: a block sees those to its left and above, and no others."""
    known = canvas.known.tolist()
    for line in diagonals(len(down), len(right), 1):
        alike: dict[tuple[tuple[Draw, ...], ...], list[tuple[int, int]]] = {}
        for (top, rows), (left, columns) in ((down[i], right[j]) for i, j in line):
            drawn = draws(known, (top, left), rows, columns, canvas.window[1])
            alike.setdefault(drawn, []).append((top, left))
        for drawn, corners in alike.items():
            for first in range(0, len(corners) if any(drawn) else 0, HELD):
                group = Group(tuple(corners[first : first + HELD]), drawn)
                yield from ((group, row) for row in range(len(drawn)))


def _in_turn(canvas: Canvas, down: Steps, right: Steps, reach: int) -> Iterator[tuple[Group, int]]:
    """Blocks one by one, row by row: each sees, in the rows above, up to `reach` blocks to its right."""
    known, most = canvas.known.tolist(), _rows_at_once(reach)
    for top, band in down:
        for rows in (band[first : first + most] for first in range(0, len(band), most)):
            groups = [
                Group(((top, left),), draws(known, (top, left), rows, columns, canvas.window[1]))
                for left, columns in right
            ]
            for line in diagonals(len(rows), len(groups), reach):
                yield from ((groups[at], row) for row, at in line if any(groups[at].rows))


def _rows_at_once(reach: int) -> int:
    """Rows of a band laid along slanted lines: each row further up is `reach` blocks ahead."""
    return (HELD - 1) // reach + 1


def _reach(right: Steps, side: int) -> int:
    """Blocks to its right that a window reaches into, the most of all windows."""
    ends = [columns[-1] for _, columns in right]
    return max(sum(end < left + side - 1 for end in ends[at:]) for at, (left, _) in enumerate(right))
