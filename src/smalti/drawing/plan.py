"""Where windows stand, and what is generated through each at one go: the plan of a canvas.

The rule is that of arXiv:2012.09841, section 3.3. A *block* is the unknown cells that are seen through one
window. A block, or where blocks see one another each of its rows, is a *run*: it is generated at one go, from
one cache, as soon as all that it sees is there. Windows whose runs have the same times and positions go in
lockstep. A crop is one window; windows at a border stand still because they are clamped, and those of a
stride because they are told to.
"""

from collections import defaultdict
from functools import lru_cache
from typing import NamedTuple

import torch

from smalti.drawing.canvas import Canvas

Corner = tuple[int, int]  # top and left of a window
HELD = 8  # windows in lockstep at most: bounds their memory


class Run(NamedTuple):
    """Cells that one window generates at one go."""

    time: int  # the wave at which all that they see is there
    row: int  # from the window's top
    positions: tuple[int, ...]  # inside the window, in the prior's order


class Step(NamedTuple):
    """A run of windows in lockstep."""

    corners: tuple[Corner, ...]
    run: Run
    fed: int  # positions that the windows' cache holds; 0: none is there yet
    is_last: bool  # of these windows


def begin(at: int, size: int, side: int, *, shift: int = 0, stride: int = 1) -> int:
    """Return where on an axis of `size` cells the window of a cell begins.

    Half a window before it, moved inside the canvas at the borders (2021 code); shift: 1 as in the 2021
    sampler of scenes, where of an even side it is one cell less. With a stride above 1 the window stands
    still for so many cells: the last multiple of the stride that is half a window or more before the cell.
    """
    return min(max((at - (side - shift) // 2) // stride * stride, 0), size - side)


def plan(canvas: Canvas) -> tuple[Step, ...]:
    """Return all runs, each after what it sees.

    The last few are remembered: batches of one drawing, and drawings of training crops, have equal ones.
    """
    known, order = canvas.known.numpy().tobytes(), tuple(canvas.order.tolist())
    return _plan(_Layout(known, canvas.grid, canvas.window, order, canvas.shift, canvas.stride))


class _Layout(NamedTuple):
    """All that a plan hangs on; see Canvas."""

    known: bytes
    grid: tuple[int, int]
    window: tuple[int, int]
    order: tuple[int, ...]
    shift: int
    stride: int


@lru_cache(maxsize=8)
def _plan(canvas: _Layout) -> tuple[Step, ...]:
    sides = zip(canvas.grid, canvas.window, strict=True)
    assert all(size >= side for size, side in sides), f"{canvas.grid} is smaller than {canvas.window}"
    in_rows = canvas.order == tuple(range(len(canvas.order)))
    assert in_rows or canvas.grid == canvas.window, "a moving window needs codes in row-major order"
    runs = _timed(canvas, by_rows=False) or _timed(canvas, by_rows=True)
    assert runs is not None, "rows see what lies above and to their left"
    alike: dict[tuple[Run, ...], list[Corner]] = defaultdict(list)
    for corner, found in runs.items():
        alike[tuple(found)].append(corner)
    steps = []
    for of_window, corners in alike.items():
        for start in range(0, len(corners), HELD):
            together, fed = tuple(corners[start : start + HELD]), 0
            for run in of_window:
                steps.append(Step(together, run, fed, run is of_window[-1]))
                fed = run.positions[-1]
    return tuple(sorted(steps, key=lambda step: step.run.time))


def together(canvas: Canvas) -> int:
    """Return the most windows of one canvas that go through the prior at once."""
    return max((len(step.corners) for step in plan(canvas)), default=1)


def _timed(canvas: _Layout, *, by_rows: bool) -> dict[Corner, list[Run]] | None:
    """Return the runs of each window; None where two of them would wait for one another."""
    rows, columns = canvas.window
    tops, lefts = (
        [begin(at, size, side, shift=canvas.shift, stride=canvas.stride) for at in range(size)]
        for size, side in zip(canvas.grid, canvas.window, strict=True)
    )
    order = torch.tensor(canvas.order)
    known = torch.frombuffer(bytearray(canvas.known), dtype=torch.bool).view(canvas.grid)
    place_of = order.argsort().view(rows, columns).tolist()
    cells: dict[tuple[int, ...], list[tuple[int, int, int]]] = defaultdict(list)
    for row, column in (~known).nonzero().tolist():
        top, left = tops[row], lefts[column]
        run = (top, left, row) if by_rows else (top, left)
        cells[run].append((place_of[row - top][column - left], row, column))
    times = torch.where(known, 0, -1)
    runs: dict[Corner, list[Run]] = defaultdict(list)
    for (top, left, *_), found in cells.items():
        found.sort()
        positions, downs, rights = (torch.tensor(each) for each in zip(*found, strict=True))
        times[downs, rights] = 0  # its own cells are generated one after the other
        seen = times[top : top + rows, left : left + columns].flatten()[order[: found[-1][0]]]
        if (seen < 0).any():
            return None
        time = 1 + int(seen.max()) if len(seen) else 1
        times[downs, rights] = time
        runs[top, left].append(Run(time, found[0][1] - top, tuple(positions.tolist())))
    return runs
