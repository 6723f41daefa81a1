"""A transformer of today: RMSNorm, SwiGLU, normalised queries and keys, rotary positions on the grid."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Gt
from torch import Tensor, nn

from smalti.conditions.context import Prefix
from smalti.config import Few, Positive, Share, settings
from smalti.drawing.cache import Cache
from smalti.errors import UserError
from smalti.priors.block import GatedBlock, check_width, start, two_thirds
from smalti.priors.causal import Causal, Fed, attend, embedded, of_last, table_of, visible
from smalti.priors.layers import Dropout, Linear, RMSNorm
from smalti.priors.protocol import Scope
from smalti.priors.rotary import turns

Tuning = tuple[Tensor, ...] | None  # b 1 e each: shift, scale, gate of attention, then of the network


@settings
class ModernSettings:
    """Size, dropouts, and how the condition comes in."""

    kind: Literal["modern"] = "modern"
    layers: Few = 12
    heads: Positive = 8
    width: Positive = 512  # a multiple of 4 * heads
    token_dropout: Share = 0.0  # of the embedded prefix and codes
    residual_dropout: Share = 0.0  # of what attention adds
    ffn_dropout: Share = 0.0  # of what the feed-forward network adds
    conditioning: Literal["prefix", "shift"] = "prefix"  # shift: one token tunes every layer (adaLN-zero)
    rope_base: Annotated[float, Gt(0.0)] = 10000.0  # of the speeds of the rotary positions
    qk_norm: bool = True  # queries and keys of one length in every head: bounds attention's logits


class Modern(Causal):
    """p(next code) by a decoder-only transformer, built much as in arXiv:2406.06525.

    It lays cells in any order: a query stands at the cell that is asked for, a key at the cell whose code
    it holds, so attention sees how far the two lie apart.
    """

    takes_padded = takes_grids = True
    cosines: Tensor  # t 2 1 e
    sines: Tensor
    prefix_cells: Tensor  # m: which of the prefix' positions are those of the grid, row by row

    def __init__(self, settings: ModernSettings, scope: Scope) -> None:
        super().__init__(scope)
        _check(settings, scope)
        self.settings, self.codebook_size = settings, scope.codebook_size
        width, layers = settings.width, settings.layers
        self.prefix_table = table_of(scope, width)
        self.table = nn.Embedding(scope.codebook_size, width)
        scopes = (scope, *scope.others)
        self.has_cell_context = len(scopes) > 1 and all(one.prefix_is_by_cell for one in scopes)
        count, columns = _around(scopes) if self.has_cell_context else (scope.prefix_length, 0)
        # added to the prefix's tokens; with "shift" it is itself the one token that stands before the codes.
        # Where crops of several sizes have a prefix of a token a cell, one for each cell that one of them has
        self.prefix_positions = nn.Parameter(torch.empty(count, width))
        self.dropout = Dropout(settings.token_dropout)
        self.blocks = nn.ModuleList(Block(settings, layer) for layer in range(layers))
        self.norm = RMSNorm(width, eps=1e-5)
        self.head = Linear(width, scope.codebook_size, bias=False)
        self.shift = None
        if settings.conditioning == "shift":  # six vectors a layer, two for the last norm
            self.shift = nn.Linear(width, (6 * layers + 2) * width)
        # of several sizes: added to the prefix, which so tells in the first row too where rows will end
        self.grids = nn.Parameter(torch.empty(len(scopes), width)) if scope.others else None
        self.hold(partial(_tables, settings, columns))
        self._start()

    def new_cache(self, batch: int) -> Cache:
        """See Causal."""
        sizes, table = self.settings, self.table.weight
        positions = len(self.cosines)
        return Cache.empty(batch, positions, layers=sizes.layers, heads=sizes.heads, like=table)

    def _embed(self, codes: Tensor, prefix: Prefix) -> Fed:
        positions: Tensor = self.prefix_positions
        shift = None
        if self.grids is not None:
            positions = positions[self.prefix_cells] if self.has_cell_context else positions
            positions = positions + self.grids[self.number]
        first = positions.expand(codes.shape[0], -1, -1)  # b m e; not len, which exports take for a constant
        if self.shift is None:
            first = first + embedded(self.prefix_table, prefix)
        else:
            shift = self.shift(F.silu(embedded(self.prefix_table, prefix)[:, 0]))
        return Fed(self.dropout(torch.cat((first, self.table(codes)), 1)), shift)

    def _embed_more(self, codes: Tensor, cache: Cache) -> Fed:
        return Fed(self.dropout(self.table(codes)), cache.shift)

    def _run(self, fed: Fed, cache: Cache | None = None, *, last: bool = False) -> Tensor:
        x, count, top = fed.x, fed.x.shape[1], self.settings.layers - 1
        positions = slice(count) if cache is None else cache.next(count)
        seen = visible(fed) if cache is None else cache.visible(count)
        turn = self.cosines[positions], self.sines[positions]
        assert turn[0].shape[-4] == count, f"{len(self.cosines)} positions, asked for {positions}"
        tunings = self._tunings(fed.shift)
        for layer, block in enumerate(self.blocks):
            x = block(x, turn, tunings[layer], seen, cache, last=last and layer == top)
        if cache is not None:
            cache.advance(count)
        return _tune(self.norm(x), tunings[-1])

    def _tunings(self, shift: Tensor | None) -> list[Tuning]:
        """Return what tunes each layer, and at the end the last norm."""
        layers = self.settings.layers
        if shift is None:
            return [None] * (layers + 1)
        vectors = shift.view(shift.shape[0], -1, 1, self.settings.width).unbind(1)  # b 1 e each
        return [vectors[6 * layer : 6 * layer + 6] for layer in range(layers + 1)]

    def _start(self) -> None:
        self.apply(start)
        nn.init.normal_(self.prefix_positions, std=0.02)
        if self.grids is not None:
            nn.init.normal_(self.grids, std=0.02)
        nn.init.zeros_(self.head.weight)  # the first loss is log v
        if self.shift is not None:  # every layer begins as the identity
            nn.init.zeros_(self.shift.weight)


class Block(GatedBlock):
    """Attention, then a feed-forward network, each added to its input."""

    def __init__(self, settings: ModernSettings, layer: int) -> None:
        super().__init__(settings, layer, hidden=two_thirds(settings.width))
        head = settings.width // settings.heads
        self.gains = nn.Parameter(torch.ones(2, 1, head)) if settings.qk_norm else None

    def forward(
        self,
        x: Tensor,
        turn: tuple[Tensor, Tensor],
        tuning: Tuning,
        seen: Tensor | None,
        cache: Cache | None,
        *,
        last: bool,
    ) -> Tensor:
        """Return positions b t e as this layer sees them, or the last of them alone."""
        tuned = _tune(self.norm1(x), tuning and tuning[:2])
        queries, keys, values = self.queries_keys_values(tuned, turn, self.gains)
        if cache is not None:
            keys, values = cache.write(self.layer, keys, values)
        if last and x.shape[1] > 1:
            x, queries, seen = x[:, -1:], queries[:, :, -1:], of_last(seen)
        mixed = self.residual_dropout(self.out(attend(queries, keys, values, visible=seen)))
        x = x + (mixed if tuning is None else tuning[2] * mixed)
        added = self.feed_forward(_tune(self.norm2(x), tuning and tuning[3:5]))
        return x + (added if tuning is None else tuning[5] * added)


def _tune(x: Tensor, tuning: Tuning) -> Tensor:
    """Shift and scale by the condition (arXiv:2212.09748, section 3.2, adaLN)."""
    return x if tuning is None else x * (1 + tuning[1]) + tuning[0]


def _tables(settings: ModernSettings, columns: int, scope: Scope) -> dict[str, Tensor]:
    """Return what hangs on a grid. columns: of the grid that holds all, see `prefix_cells`; 0: without."""
    cosines, sines = turns(
        scope.cells,
        prefix_length=scope.prefix_length,
        width=settings.width // settings.heads,
        base=settings.rope_base,
    )
    found = {"cosines": cosines, "sines": sines}
    rows, across = (torch.arange(side) for side in scope.grid)
    return found | ({"prefix_cells": (rows[:, None] * columns + across).flatten()} if columns else {})


def _around(scopes: Sequence[Scope]) -> tuple[int, int]:
    """Return cells and columns of the smallest grid that holds those of all scopes."""
    rows, columns = (max(one.grid[axis] for one in scopes) for axis in (0, 1))
    return rows * columns, columns


def _check(settings: ModernSettings, scope: Scope) -> None:
    check_width(settings)
    scopes = (scope, *scope.others)
    lengths = sorted({one.prefix_length for one in scopes})
    if len(lengths) > 1 and not all(one.prefix_is_by_cell for one in scopes):
        expected = "a condition of as many tokens at every size, or of one a cell, for crops of several sizes"
        raise UserError(
            expected, f"{' and '.join(map(str, lengths))} tokens", "give one size, or another condition"
        )
    if settings.conditioning == "shift" and scope.prefix_length > 1:
        got = f"a condition of {scope.prefix_length} tokens"
        raise UserError("a condition of one token, to shift by it", got, "set prior.conditioning=prefix")
