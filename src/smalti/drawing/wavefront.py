"""Canvases larger than the window, in few steps: each lays all cells that do not see one another.

Cell (i, j) sees columns left .. left + w0 - 1 of the rows above, and left <= j. So with
t(i, j) = w0 i + j all that it sees has a smaller t, and cells of equal t can be laid together. A canvas takes
w0 (h - 1) + w steps in place of h w. For square windows of side 2 or more no schedule that waits for what it
reads takes fewer.

At the borders a window stands still for half its side. On a CPU, where a pass over four windows takes four
times as long as one over one, its cells are then laid one after the other with a cache (`borders`). An
accelerator has fewer steps without; there prefixes of many tokens are fed ahead (`prefixes`).
"""

from collections.abc import Iterator

from jaxtyping import Bool, Int64
from torch import Tensor

from smalti.drawing.borders import Borders
from smalti.drawing.canvas import Canvas
from smalti.drawing.diagonals import diagonals, longest
from smalti.drawing.guidance import Scorer
from smalti.drawing.prefixes import ahead
from smalti.drawing.window import Cell, lay, locate


def draw(scorer: Scorer, canvas: Canvas) -> Int64[Tensor, "b h w"]:
    """Lay the unknown cells, the same codes as `window.draw`; the prior's order must be row-major."""
    codes = canvas.codes.clone()
    canvas.progress(int(canvas.known.sum()) * len(codes))
    steps = list(passes(canvas.known, canvas.window, canvas.shift, canvas.stride))
    way = _with_borders if codes.device.type == "cpu" else _with_prefixes
    for cells in way(scorer, canvas, codes, steps):
        canvas.progress(len(cells) * len(codes))
    return codes


def _with_borders(
    scorer: Scorer, canvas: Canvas, codes: Tensor, steps: list[list[Cell]]
) -> Iterator[list[Cell]]:
    """Lay each step's cells, those at the borders with a cache; give what is laid."""
    borders = Borders(scorer, canvas, codes)
    for cells in steps:
        alone = [cell for cell in cells if not borders.lay(cell)]
        if alone:
            lay(scorer, canvas, codes, alone)
        yield cells


def _with_prefixes(
    scorer: Scorer, canvas: Canvas, codes: Tensor, steps: list[list[Cell]]
) -> Iterator[list[Cell]]:
    """Lay each step's cells in one pass, prefixes of many tokens fed before; give what is laid."""
    for cells, cache in ahead(scorer, codes, steps, canvas.window):
        lay(scorer, canvas, codes, cells, cache)
        yield cells


def passes(
    known: Bool[Tensor, "h w"], window: tuple[int, int], shift: int = 0, stride: int = 1
) -> Iterator[list[Cell]]:
    """The unknown cells in an order in which they can be laid; those of one list do not see one another."""
    height, width = known.shape
    for line in diagonals(height, width, window[1]):
        unknown = [place for place in line if not known[place]]
        if unknown:
            yield [locate(*place, (height, width), window, shift, stride) for place in unknown]


def together(grid: tuple[int, int], window: tuple[int, int]) -> int:
    """The most cells of one canvas that go through the prior at once."""
    return longest(*grid, window[1])
