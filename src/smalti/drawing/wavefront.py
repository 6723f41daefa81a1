"""Canvases of any size under a prior whose cells see only cells near them: each cell is computed once.

Cell (i, j) sees, d rows above for d up to its radius r, less than d * skew columns to its right. So with
t(i, j) = skew i + j all that it sees has a smaller t, and cells of equal t, a front, go through the prior
together. A canvas takes min(skew, w) (h - 1) + w passes over h w cells in all; keys and values of a cache are
held: of the rows that fronts are in and the r rows above, the columns from r behind the front to r * skew
ahead of it.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from smalti.drawing.canvas import Canvas
from smalti.drawing.guidance import Guided
from smalti.drawing.loop import Decoder
from smalti.drawing.rolling import RollingCache


@runtime_checkable  # for the shape checker of the tests
class Local(Protocol):
    """What such a prior offers to be drawn from. Its order is row by row.

    A cell sees, and is fed the codes of, at most `radius` columns to its left, and d rows above, for d up to
    `radius`, at most `radius` columns to the left and less than d * `skew` to the right.
    """

    radius: int
    skew: int

    def new_cache(self, tokens: Int64[Tensor, "b y x"], *, rows: int, columns: int) -> RollingCache:
        """Return an empty cache of the last columns of the last rows of canvases.

        tokens: the condition, one a cell of the canvas or one for all (1 1).
        """
        ...

    def feed(
        self, codes: Int64[Tensor, "b h w"], cells: Int64[Tensor, "c 2"], cache: RollingCache
    ) -> Float[Tensor, "b c v"]:
        """Return logits of cells (row, column); what the next cells see of them goes into the cache.

        All that these see has been fed, or is among these.
        """
        ...


class Front(NamedTuple):
    """Cells of one pass, as numbers row by row; those that are to be drawn come first."""

    cells: list[int]
    unknown: int  # how many are to be drawn


class Wavefront(Decoder):
    """Front after front; known cells are fed among the others."""

    def __init__(self, prior: Local, guided: Guided, canvas: Canvas) -> None:
        self.prior, self.guided, self.canvas = prior, guided, canvas
        found, device = list(fronts(canvas, prior.skew)), canvas.codes.device
        sizes = [len(front.cells) for front in found]
        cells = torch.tensor([cell for front in found for cell in front.cells], device=device)
        self.fronts = zip(torch.split(cells, sizes), (front.unknown for front in found), strict=True)
        self.cache: RollingCache | None = None
        self.cells: Tensor | None = None  # of this pass; as many of them are drawn as are unknown
        self.unknown = 0

    def next(self) -> Int64[Tensor, "b p"] | None:
        """See Decoder; no position where a front is known."""
        self.cells, self.unknown = next(self.fronts, (None, 0))
        return None if self.cells is None else self.cells[: self.unknown].expand(len(self.canvas.codes), -1)

    def predict(
        self, tokens: Int64[Tensor, "b n"], positions: Int64[Tensor, "b p"]
    ) -> Float[Tensor, "b p v"]:
        """See Decoder."""
        assert self.cells is not None, "next comes first"
        height, width = self.canvas.grid
        if self.cache is None:
            rows, columns = held((height, width), self.prior)
            self.cache = self.prior.new_cache(self._condition(), rows=rows, columns=columns)
        cells = torch.stack((self.cells // width, self.cells % width), 1)
        codes = self.guided.repeated(tokens.view(-1, height, width))
        return self.guided(self.prior.feed(codes, cells, self.cache), self.cells[None])[:, : self.unknown]

    def _condition(self) -> Int64[Tensor, "r y x"]:
        """Return the condition of the whole canvas: one token, or those of its cells, window by window."""
        (height, width), (rows, columns) = self.canvas.grid, self.canvas.window
        first = self.guided.prefix([(0, 0)], self.canvas.window)
        assert isinstance(first, Tensor), "priors whose cells see only cells near them take tokens"
        if first.shape[1] == 1:
            return first[:, :, None]
        tokens = first.new_empty(len(first), height, width)
        for top in {min(top, height - rows) for top in range(0, height, rows)}:
            for left in {min(left, width - columns) for left in range(0, width, columns)}:
                part = self.guided.prefix([(top, left)], self.canvas.window)
                assert isinstance(part, Tensor), "as of the first window"
                tokens[:, top : top + rows, left : left + columns] = part.view(-1, rows, columns)
        return tokens


def fronts(canvas: Canvas, skew: int) -> Iterator[Front]:
    """Yield passes over the cells up to the last row with an unknown one, known cells among them.

    What lies below is not fed: nothing that is drawn sees it.
    """
    width = canvas.grid[1]
    drawn = (~canvas.known).any(1).nonzero().flatten().tolist()  # rows with something to draw
    if not drawn:
        return
    known, skew = canvas.known.flatten().tolist(), min(skew, width)
    for time in range(skew * drawn[-1] + width):
        columns = ((row, time - skew * row) for row in range(drawn[-1] + 1))
        cells = [row * width + column for row, column in columns if 0 <= column < width]
        unknown = [cell for cell in cells if not known[cell]]
        yield Front(unknown + [cell for cell in cells if known[cell]], len(unknown))


def held(grid: tuple[int, int], prior: Local) -> tuple[int, int]:
    """Return rows and columns whose keys and values are held: those of fronts, and what these see."""
    (height, width), radius, skew = grid, prior.radius, min(prior.skew, grid[1])
    in_front = min(height, -(-width // skew))  # the most cells of a front
    return min(height, radius + in_front), min(width, radius * skew + radius + 1)
