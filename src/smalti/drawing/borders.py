"""Cells at the borders of a canvas, where windows stand still: each with a cache, kept from row to row.

Half a window from a border or nearer, cells beside or below one another share a window. Those of a row are
laid one after the other at the time of the first of them, as all that they see is there; what the window's
next row sees besides is fed to the cache in one pass.
"""

from jaxtyping import Int64
from torch import Tensor

from smalti.drawing.canvas import Canvas
from smalti.drawing.guidance import Scorer
from smalti.drawing.rows import draws, lay_row, window_steps
from smalti.drawing.window import Cell
from smalti.priors.cache import Cache


class Borders:
    """Lays cells of canvases (into codes, b h w) whose window is other cells' window too."""

    def __init__(self, scorer: Scorer, canvas: Canvas, codes: Int64[Tensor, "b h w"]) -> None:
        self.scorer, self.canvas, self.codes = scorer, canvas, codes
        self.known = canvas.known.tolist()
        self.rows, self.columns = (  # those that share a window, of each row and column
            {at: cells for _, cells in along for at in cells}
            for along in window_steps(canvas.grid, canvas.window, canvas.stride, canvas.shift)
        )
        self.room = scorer.room(len(codes))  # caches that may be kept; windows beyond them go without
        self.caches: dict[tuple[int, int], Cache] = {}  # by top and left of their windows

    def lay(self, cell: Cell) -> bool:
        """Whether a cell is laid here: now, or as it was with the first of its row that shares its window.

        Cells come in an order in which they can be laid.
        """
        rows, columns = self.rows[cell.row], self.columns[cell.column]
        if len(rows) == len(columns) == 1:
            return False
        corner, at = (cell.top, cell.left), rows.index(cell.row)
        block = draws(self.known, corner, rows, columns, self.canvas.window[1])
        if block[at][0].place != cell.place:
            return True
        cache = self._kept(corner) if len(rows) > 1 else None
        if cache is None and len(columns) == 1:
            return False
        cache = cache or self.scorer.new_cache(len(self.codes))
        lay_row(self.scorer, self.canvas, self.codes, [corner], block[at], cache)
        if not any(block[at + 1 :]):
            self.caches.pop(corner, None)
        return True

    def _kept(self, corner: tuple[int, int]) -> Cache | None:
        """The window's cache, which is filled as far as the window is laid; None where there is no room."""
        if corner not in self.caches and len(self.caches) < self.room:
            self.caches[corner] = self.scorer.new_cache(len(self.codes))
        return self.caches.get(corner)
