"""The transformer of 2021: learned positions, LayerNorm, GELU; condition and codes in one table."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smalti.conditions.context import Prefix
from smalti.config import Count, Few, Positive, Share, settings
from smalti.drawing.cache import Cache, causal
from smalti.errors import UserError
from smalti.priors.block import start
from smalti.priors.causal import Causal, Fed, attend, embedded, of_last, table_of, visible
from smalti.priors.layers import Dropout, LayerNorm, Linear
from smalti.priors.protocol import Scope


@settings
class GPTSettings:
    """Size and dropouts; the last four only to carry models of the 2021 code."""

    kind: Literal["gpt"] = "gpt"
    layers: Few = 12
    heads: Positive = 8
    width: Positive = 256  # a multiple of heads
    embedding_dropout: Share = 0.0
    residual_dropout: Share = 0.0  # of what attention and MLP add
    attention_dropout: Share = 0.0  # of attention's weights
    unmasked: Count = 0  # the first tokens of the prefix that see each other fully
    vocabulary: Positive | None = None  # rows of the shared table; None: as many as needed
    positions: Positive | None = None  # rows of the position table; None: as many as needed
    shared_table: bool = True  # prefix token 7 and code 7 share a row, and the head logits all rows


class GPT(Causal):
    """p(next code) by a decoder-only transformer (arXiv:2012.09841, section 3.2; the 2021 code's GPT)."""

    takes_padded = True

    def __init__(self, settings: GPTSettings, scope: Scope) -> None:
        super().__init__(scope)
        _check(settings, scope)
        self.settings, width = settings, settings.width
        self.places = scope.prefix_length + len(scope.cells) - 1  # the last code is never fed
        self.codebook_size = scope.codebook_size
        if settings.shared_table:
            needed = max(scope.codebook_size, scope.prefix_vocabulary)
            self.codebook_size = _at_least(needed, settings.vocabulary, "vocabulary")
        self.table = nn.Embedding(self.codebook_size, width)
        is_shared = settings.shared_table and scope.prefix_features is None
        self.prefix_table = None if is_shared else table_of(scope, width)
        self.positions = nn.Parameter(
            torch.zeros(_at_least(self.places, settings.positions, "positions"), width)
        )
        self.dropout = Dropout(settings.embedding_dropout)
        self.blocks = nn.ModuleList(Block(settings, layer) for layer in range(settings.layers))
        self.norm = LayerNorm(width)
        self.head = Linear(width, self.codebook_size, bias=False)
        self.apply(start)

    def new_cache(self, batch: int) -> Cache:
        """See Causal."""
        sizes, table = self.settings, self.positions
        return Cache.empty(batch, self.places, layers=sizes.layers, heads=sizes.heads, like=table)

    def _embed(self, codes: Tensor, prefix: Prefix) -> Fed:
        prefix_table = self.table if self.prefix_table is None else self.prefix_table
        tokens = torch.cat((embedded(prefix_table, prefix), self.table(codes)), 1)
        return self._place(tokens, slice(tokens.shape[1]))

    def _embed_more(self, codes: Tensor, cache: Cache) -> Fed:
        return self._place(self.table(codes), cache.next(codes.shape[1]))

    def _place(self, tokens: Tensor, places: slice | Tensor) -> Fed:
        """Return tokens (b t e) with their positions."""
        positions = self.positions[places]
        assert positions.shape[-2] == tokens.shape[1], f"{len(self.positions)} positions, asked for {places}"
        return Fed(self.dropout(tokens + positions))

    def _run(self, fed: Fed, cache: Cache | None = None, *, last: bool = False) -> Tensor:
        x, count, top = fed.x, fed.x.shape[1], self.settings.layers - 1
        first = cache is None or cache.length == 0  # the prefix is among what is fed
        seen = visible(fed) if cache is None else cache.visible(count)
        if self.settings.unmasked and first and count > 1:
            seen = self._visible(count, x.device, fed.mask)
        for layer, block in enumerate(self.blocks):
            x = block(x, seen, cache, last=last and layer == top)
        if cache is not None:
            cache.advance(count)
        return self.norm(x)

    def _visible(self, count: int, device: torch.device, mask: Tensor | None) -> Tensor:
        among = torch.zeros(count, count, dtype=torch.bool, device=device)
        among[: self.settings.unmasked, : self.settings.unmasked] = True
        if mask is None:
            return among | torch.ones_like(among).tril()
        filled = F.pad(mask, (0, count - mask.shape[1]))[:, None, None]
        return causal(mask, count, count) | among & filled


class Block(nn.Module):
    """Attention, then MLP, each added to its input."""

    is_block = True  # see strategy.py

    def __init__(self, settings: GPTSettings, layer: int) -> None:
        super().__init__()
        width = settings.width
        self.layer, self.heads, self.attention_dropout = layer, settings.heads, settings.attention_dropout
        self.norm1 = LayerNorm(width)
        self.qkv = Linear(width, 3 * width)  # queries, keys, values one after the other
        self.out = Linear(width, width)
        self.norm2 = LayerNorm(width)
        self.up = Linear(width, 4 * width, then_gelu=True)
        self.down = Linear(4 * width, width)
        self.dropout = Dropout(settings.residual_dropout)

    def forward(self, x: Tensor, seen: Tensor | None, cache: Cache | None, *, last: bool) -> Tensor:
        """Return places b t e as this layer sees them, or the last of them alone."""
        heads = self.qkv(self.norm1(x)).view(*x.shape[:2], 3, self.heads, -1)  # b t 3 k e
        queries, keys, values = heads.permute(2, 0, 3, 1, 4).unbind()
        if cache is not None:
            keys, values = cache.write(self.layer, keys, values)
        if last and x.shape[1] > 1:
            x, queries, seen = x[:, -1:], queries[:, :, -1:], of_last(seen)
        dropout = self.attention_dropout if self.training else 0.0
        x = x + self.dropout(self.out(attend(queries, keys, values, visible=seen, dropout=dropout)))
        return x + self.dropout(self.down(self.up(self.norm2(x))))


def _check(settings: GPTSettings, scope: Scope) -> None:
    if settings.width % settings.heads:
        got = f"{settings.width} and {settings.heads}"
        raise UserError("prior.width that is a multiple of prior.heads", got, "change one of the two")
    if settings.unmasked > scope.prefix_length:  # codes would see those they are to predict
        got = f"{settings.unmasked} with a prefix of {scope.prefix_length}"
        raise UserError("prior.unmasked of at most the prefix's length", got, "make it smaller")
    if settings.vocabulary is not None and not settings.shared_table:
        got = f"{settings.vocabulary} with prior.shared_table=false"
        raise UserError("prior.vocabulary for a shared table only", got, "leave one of the two out")


def _at_least(needed: int, given: int | None, name: str) -> int:
    if given is not None and given < needed:
        raise UserError(f"prior.{name} of at least {needed}", str(given), f"leave prior.{name} out")
    return given or needed
