"""Keys and values of cells that see only cells near them: of a band, whatever the canvas."""

from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor

NOWHERE = -(2**40)  # the row of a place that holds no cell: no cell is near it


@dataclass(frozen=True, kw_only=True)
class RollingCache:
    """The last columns of the last rows of b canvases as every layer sees them.

    Row i takes the place of row i - rows, and of a row column j that of column j - columns. Axes: b batch,
    k heads, p = rows * columns positions, e a head's width.
    """

    keys: tuple[Float[Tensor, "b k p e"], ...]  # one a layer
    values: tuple[Float[Tensor, "b k p e"], ...]
    tokens: Int64[Tensor, "b y x"]  # the condition: a token a cell of the canvas, or one for all
    cells: Int64[Tensor, "p 2"]  # row and column of the cell that each place holds
    rows: int
    columns: int

    @classmethod
    def empty(
        cls, tokens: Tensor, *, rows: int, columns: int, layers: int, heads: int, like: Tensor
    ) -> "RollingCache":
        """Return one unfilled, for as many canvases as there are conditions; like: an embedding of codes."""
        shape = (len(tokens), heads, rows * columns, like.shape[1] // heads)
        # zeros: what was never written is hidden by a mask, but a NaN would come through
        return cls(
            keys=tuple(like.new_zeros(shape) for _ in range(layers)),
            values=tuple(like.new_zeros(shape) for _ in range(layers)),
            tokens=tokens,
            cells=tokens.new_full((rows * columns, 2), NOWHERE),
            rows=rows,
            columns=columns,
        )

    def place(self, cells: Int64[Tensor, "c 2"]) -> Int64[Tensor, " c"]:
        """Give cells their positions, in which others lay that nobody sees any more."""
        positions = cells[:, 0] % self.rows * self.columns + cells[:, 1] % self.columns
        self.cells.index_copy_(0, positions, cells)
        return positions

    def write(
        self, layer: int, positions: Int64[Tensor, " c"], keys: Tensor, values: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Put keys and values (b k c e) into positions; give those of the whole band."""
        for band, new in ((self.keys[layer], keys), (self.values[layer], values)):
            band.index_copy_(2, positions, new.to(band.dtype))
        return self.keys[layer], self.values[layer]
