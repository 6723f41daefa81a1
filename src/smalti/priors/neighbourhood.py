"""A prior for canvases of any size: a cell attends to cells near it, so each is computed once."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from smalti.conditions.context import Prefix
from smalti.config import Few, Positive, Share, settings
from smalti.drawing.canvas import Canvas
from smalti.drawing.guidance import Guided
from smalti.drawing.loop import Decoder
from smalti.drawing.request import Request
from smalti.drawing.rolling import RollingCache
from smalti.drawing.wavefront import Wavefront, held
from smalti.errors import UserError
from smalti.priors.block import GatedBlock, check_width, start, two_thirds
from smalti.priors.causal import attend
from smalti.priors.layers import Dropout, Linear, RMSNorm
from smalti.priors.protocol import Forced, Scope
from smalti.priors.rotary import turns_of

RADIUS = 7  # of a prior that says none: 15 x 8 cells, what the 2021 window shows of a large canvas
SPEEDS = 100.0  # rotary base: no two cells that see one another lie further apart than a few dozen cells
BEFORE = ((0, -1), (-1, -1), (-1, 0), (-1, 1))  # cells whose codes a cell is fed: rows, columns from itself
AROUND = tuple((row, column) for row in (-1, 0, 1) for column in (-1, 0, 1))  # of whose map it is told
Mix = Callable[[int, Tensor, Tensor, Tensor], Tensor]  # layer, queries, keys, values (b k t e) -> b t ke
Write = Callable[..., tuple[Tensor, Tensor]]  # layer, keys, values -> those of all cells that are held


@settings
class NeighbourhoodSettings:
    """Size, reach and dropouts."""

    kind: Literal["neighbourhood"] = "neighbourhood"
    layers: Few = 12
    heads: Positive = 8
    width: Positive = 512  # a multiple of 4 * heads
    radius: Positive | None = None  # cells seen each way, below half a crop; None: 7, or as many as it allows
    skew: Positive | None = None  # columns that a row runs behind the one above, from 2; None: radius + 1
    token_dropout: Share = 0.0  # of what a cell is fed
    residual_dropout: Share = 0.0  # of what attention adds
    ffn_dropout: Share = 0.0  # of what the feed-forward network adds


class Neighbourhood(Forced):
    """p(next code) by a transformer over the cells near a cell, generated row by row.

    In every layer cell (i, j) attends to itself, to columns j - radius .. j - 1 of its row and, d rows above
    for d up to radius, to columns j - radius .. j + min(radius, d * skew - 1), as far as the canvas has them;
    positions are rotary, so that it sees distances alone. It is fed the codes to its left and above it, not
    the one drawn last, which on a large canvas lies at the other end. So a cell's keys and values never
    change once its neighbours are known, and the cells of a front (`drawing.wavefront`) do not wait for one
    another. With skew = radius + 1 a cell sees all cells within the radius; with 2 a canvas takes the fewest
    passes, at the price of the few cells near the right end of the rows just above.

    Of a condition of one token every cell is told; one of a token a cell is told where it lies, with the
    tokens around it.
    """

    takes_grids = True

    def __init__(self, settings: NeighbourhoodSettings, scope: Scope) -> None:
        super().__init__(scope)
        self.radius = _radius(settings.radius, min(map(_grid, (scope, *scope.others)), key=min))
        self.skew = settings.skew or self.radius + 1
        _check(settings, scope, self.radius)
        self.settings, self.codebook_size = settings, scope.codebook_size
        width = settings.width
        self.table = nn.Embedding(scope.codebook_size + 1, width)  # the last: beyond the border
        self.join = Linear(len(BEFORE) * width, width, bias=False)
        self.has_cell_context = scope.prefix_length > 1
        self.prefix_table = nn.Embedding(scope.prefix_vocabulary + self.has_cell_context, width)
        self.prefix_join = Linear(len(AROUND) * width, width, bias=False) if self.has_cell_context else None
        self.dropout = Dropout(settings.token_dropout)
        self.blocks = nn.ModuleList(Block(settings, layer) for layer in range(settings.layers))
        self.norm = RMSNorm(width, eps=1e-5)
        self.head = Linear(width, scope.codebook_size, bias=False)
        self.apply(start)
        nn.init.zeros_(self.head.weight)  # the first loss is log v

    def forward(self, codes: Int64[Tensor, "b n"], prefix: Prefix) -> Float[Tensor, "b n v"]:
        """Teacher forcing on training crops: row i logits code i given the prefix and the codes before it."""
        return self.score(self._on_grid(codes), self._tokens(prefix))

    def score(self, codes: Int64[Tensor, "b h w"], tokens: Int64[Tensor, "b y x"]) -> Float[Tensor, "b n v"]:
        """Teacher forcing on canvases of any size, n = h w; memory grows with n * n.

        tokens: the condition, one a cell (y x = h w) or one for all (1 1).
        """
        cells = _cells(codes.shape[1], codes.shape[2], codes.device)
        mix = partial(_mix, visible=self._visible(cells, cells))
        return self.head(self._run(self._embed(codes, tokens, cells), cells, mix))

    def new_cache(self, tokens: Int64[Tensor, "b y x"], *, rows: int, columns: int) -> RollingCache:
        """Return an empty cache of so many cells of canvases, with their condition as in `score`."""
        return RollingCache.empty(
            tokens,
            rows=rows,
            columns=columns,
            layers=self.settings.layers,
            heads=self.settings.heads,
            like=self.table.weight,
        )

    def feed(
        self, codes: Int64[Tensor, "b h w"], cells: Int64[Tensor, "c 2"], cache: RollingCache
    ) -> Float[Tensor, "b c v"]:
        """Return logits of cells (row, column), and put their keys and values into the cache, in one pass.

        Of codes only those left of and above these cells are read. All cells that these see are in the cache,
        or among these.
        """
        write = partial(cache.write, positions=cache.place(cells))
        mix = partial(_mix, visible=self._visible(cells, cache.cells), write=write)
        return self.head(self._run(self._embed(codes, cache.tokens, cells), cells, mix))

    def decoder(self, guided: Guided, canvas: Canvas) -> Decoder:
        """See Prior."""
        return Wavefront(self, guided, canvas)

    def rows(self, canvas: Canvas) -> int:
        """See Prior: by the cells whose keys and values are held."""
        rows, columns = held(canvas.grid, self)
        return -(-rows * columns // (canvas.window[0] * canvas.window[1]))

    def check(self, asked: Request, grid: tuple[int, int], factor: int) -> None:
        """See Prior."""
        if asked.stride > 1:
            why = "a prior of kind neighbourhood has no window that moves"
            raise UserError(f"a stride of at most 1: {why}", str(asked.stride), "set stride=1")
        if asked.speculative > 1:
            expected = "speculative=1, as this prior lays many cells at once anyway"
            raise UserError(expected, str(asked.speculative), "leave speculative out")

    def _tokens(self, prefix: Prefix) -> Int64[Tensor, "b y x"]:
        assert isinstance(prefix, Tensor), "other conditions are refused"
        return self._on_grid(prefix) if self.has_cell_context else prefix[:, :, None]

    def _on_grid(self, sequence: Int64[Tensor, "b n"]) -> Int64[Tensor, "b h w"]:
        return sequence.reshape(len(sequence), *self.scope.grid)

    def _visible(self, asking: Tensor, seen: Tensor) -> Tensor:
        """Return whether a cell (rows) sees another (columns)."""
        down, right = (asking[:, None] - seen).unbind(-1)
        near = (down >= 0) & (down <= self.radius) & (right.abs() <= self.radius)
        return near & ((self.skew * down + right > 0) | (down == 0) & (right == 0))

    def _embed(self, codes: Tensor, tokens: Tensor, cells: Tensor) -> Tensor:
        """Return what cells are fed (b c e): the codes before them and the condition."""
        beyond = len(self.table.weight) - 1
        x = self.join(self.table(_look(codes, cells, BEFORE, beyond)).flatten(2))
        if self.prefix_join is None:
            told = self.prefix_table(tokens[:, 0])  # b 1 e
        else:
            beyond = len(self.prefix_table.weight) - 1
            told = self.prefix_join(self.prefix_table(_look(tokens, cells, AROUND, beyond)).flatten(2))
        return self.dropout(x + told).to(self.table.weight.dtype)  # fp32 under autocast, as all that is added

    def _run(self, x: Tensor, cells: Tensor, mix: Mix) -> Tensor:
        """Return all blocks and the last norm; mix is attention to the cells that each of these sees."""
        turn = turns_of(cells, width=self.settings.width // self.settings.heads, base=SPEEDS)
        for block in self.blocks:
            x = block(x, turn, mix)
        return self.norm(x)


class Block(GatedBlock):
    """Attention, then a feed-forward network, each added to its input."""

    def __init__(self, settings: NeighbourhoodSettings, layer: int) -> None:
        super().__init__(settings, layer, hidden=two_thirds(settings.width))
        self.gains = nn.Parameter(torch.ones(2, 1, settings.width // settings.heads))  # of queries and keys

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], mix: Mix) -> Tensor:
        """Return cells b c e in and out."""
        queries, keys, values = self.queries_keys_values(self.norm1(x), turn, self.gains)
        x = x + self.residual_dropout(self.out(mix(self.layer, queries, keys, values)))
        return x + self.feed_forward(self.norm2(x))


def _mix(
    layer: int, queries: Tensor, keys: Tensor, values: Tensor, *, visible: Tensor, write: Write | None = None
) -> Tensor:
    """Attend under a mask, to the cells of this pass or to all that are held once these are written."""
    if write is not None:
        keys, values = write(layer, keys=keys, values=values)
    return attend(queries, keys, values, visible=visible)


def _look(grid: Tensor, cells: Tensor, offsets: tuple[tuple[int, int], ...], beyond: int) -> Tensor:
    """Return what stands (b c o) on grids b h w at these steps from cells.

    `beyond` where the grid has ended.
    """
    found = []
    for down, right in offsets:
        rows, columns = cells[:, 0] + down, cells[:, 1] + right
        inside = (rows >= 0) & (rows < grid.shape[1]) & (columns >= 0) & (columns < grid.shape[2])
        found.append(grid[:, rows.where(inside, 0), columns.where(inside, 0)].where(inside, beyond))
    return torch.stack(found, -1)


def _cells(height: int, width: int, device: torch.device) -> Int64[Tensor, "n 2"]:
    """Return row and column of every cell, row by row."""
    return torch.cartesian_prod(torch.arange(height, device=device), torch.arange(width, device=device))


def _grid(scope: Scope) -> tuple[int, int]:
    """Return height and width of the training crop; UserError for cells that do not lie row by row."""
    height, width = scope.grid
    if scope.cells != tuple((row, column) for row in range(height) for column in range(width)):
        raise UserError("order=row for a prior of kind neighbourhood", "another order", "set order=row")
    return height, width


def _radius(given: int | None, grid: tuple[int, int]) -> int:
    """Check that it is below half the crop, so that training meets whole neighbourhoods; UserError."""
    most = (min(grid) - 1) // 2
    crop = f"{grid[0]} x {grid[1]} cells"
    if most < 1:
        raise UserError("a training crop of 3 x 3 cells or more", crop, "train on larger crops")
    if given is not None and given > most:
        expected = f"prior.radius of at most {most}, below half the training crop of {crop}"
        raise UserError(expected, str(given), f"set prior.radius={most}, or train on larger crops")
    return given or min(RADIUS, most)


def _check(settings: NeighbourhoodSettings, scope: Scope, radius: int) -> None:
    check_width(settings)
    if settings.skew is not None and not 2 <= settings.skew <= radius + 1:
        expected = f"prior.skew of 2 to {radius + 1}, one more than the radius"
        remedy = f"set prior.skew={radius + 1} to see all within the radius, or 2 for the fewest passes"
        raise UserError(expected, str(settings.skew), remedy)
    if scope.prefix_length > 1 and not scope.prefix_is_by_cell:
        expected = "a condition of one token, or of one a cell, for a prior of kind neighbourhood"
        got = f"one of {scope.prefix_length} tokens for {len(scope.cells)} cells"
        raise UserError(expected, got, "set prior.kind=modern, or use another condition")
