"""The transformer of LlamaGen (arXiv:2406.06525), as its public code runs: to carry its weights."""

from typing import Annotated, Literal

import torch
from annotated_types import Gt
from torch import Tensor, nn

from smalti.config import Few, Positive, Share, settings
from smalti.drawing.cache import Cache
from smalti.priors.block import GatedBlock, check_width, start
from smalti.priors.causal import Causal, Fed, attend
from smalti.priors.layers import Dropout, Linear, RMSNorm
from smalti.priors.protocol import Scope
from smalti.priors.rotary import rotate, turns_where_held


@settings
class LlamaGenSettings:
    """Size, by default of the B model, and dropouts, which were all 0.1 in its training."""

    kind: Literal["llamagen"] = "llamagen"
    layers: Few = 12
    heads: Positive = 12
    width: Positive = 768  # a multiple of 4 * heads
    token_dropout: Share = 0.0  # of the embedded prefix and codes
    residual_dropout: Share = 0.0  # of what attention adds
    ffn_dropout: Share = 0.0  # of what the feed-forward network adds
    rope_base: Annotated[float, Gt(0.0)] = 10000.0  # of the speeds of the rotary positions


class LlamaGen(Causal):
    """p(next code) by a decoder-only transformer that differs from `Modern` in what its weights expect.

    Queries stand at the cell whose code their place holds, not at the one asked for; queries and keys of the
    prefix are zero, so that the prefix is seen by its values alone and with a score of 0; the feed-forward
    network's width is a multiple of 256; nothing is added to the prefix, and queries and keys keep their
    lengths.
    """

    cosines: Tensor  # t 2 1 e
    sines: Tensor

    def __init__(self, settings: LlamaGenSettings, scope: Scope) -> None:
        super().__init__(scope)
        check_width(settings)
        self.settings, self.codebook_size = settings, scope.codebook_size
        width = settings.width
        self.prefix_table = nn.Embedding(scope.prefix_vocabulary, width)
        self.table = nn.Embedding(scope.codebook_size, width)
        self.dropout = Dropout(settings.token_dropout)
        self.blocks = nn.ModuleList(Block(settings, layer) for layer in range(settings.layers))
        self.norm = RMSNorm(width, eps=1e-5)
        self.head = Linear(width, scope.codebook_size, bias=False)
        cosines, sines = turns_where_held(
            scope.cells,
            prefix_length=scope.prefix_length,
            width=width // settings.heads,
            base=settings.rope_base,
        )
        self.register_buffer("cosines", cosines, persistent=False)
        self.register_buffer("sines", sines, persistent=False)
        self.apply(start)
        nn.init.zeros_(self.head.weight)  # the first loss is log v

    def new_cache(self, batch: int) -> Cache:
        """See Causal."""
        sizes, table = self.settings, self.table.weight
        positions = len(self.cosines)
        return Cache.empty(batch, positions, layers=sizes.layers, heads=sizes.heads, like=table)

    def _embed(self, codes: Tensor, prefix: Tensor) -> Fed:
        return Fed(self.dropout(torch.cat((self.prefix_table(prefix), self.table(codes)), 1)))

    def _embed_more(self, codes: Tensor, cache: Cache) -> Fed:
        return Fed(self.dropout(self.table(codes)))

    def _run(self, fed: Fed, cache: Cache | None = None, *, last: bool = False) -> Tensor:
        x, count, top = fed.x, fed.x.shape[1], self.settings.layers - 1
        positions, visible = (
            (slice(count), None) if cache is None else (cache.next(count), cache.visible(count))
        )
        turn = self.cosines[positions], self.sines[positions]
        assert turn[0].shape[-4] == count, f"{len(self.cosines)} positions, asked for {positions}"
        for layer, block in enumerate(self.blocks):
            x = block(x, turn, visible, cache, last=last and layer == top)
        if cache is not None:
            cache.advance(count)
        return self.norm(x)


class Block(GatedBlock):
    """Attention, then a feed-forward network, each added to its input."""

    def __init__(self, settings: LlamaGenSettings, layer: int) -> None:
        super().__init__(settings, layer, hidden=hidden_width(settings.width))

    def forward(
        self,
        x: Tensor,
        turn: tuple[Tensor, Tensor],
        visible: Tensor | None,
        cache: Cache | None,
        *,
        last: bool,
    ) -> Tensor:
        """Return positions b t e as this layer sees them, or the last of them alone."""
        heads = self.qkv(self.norm1(x)).view(*x.shape[:2], 3, self.heads, -1)  # b t 3 k e
        queries, keys = rotate(heads[:, :, :2], *turn).to(heads.dtype).transpose(1, 3).unbind(2)
        values = heads[:, :, 2].transpose(1, 2)
        if cache is not None:
            keys, values = cache.write(self.layer, keys, values)
        if last and x.shape[1] > 1:
            x, queries, visible = x[:, -1:], queries[:, :, -1:], None
        x = x + self.residual_dropout(self.out(attend(queries, keys, values, visible=visible)))
        return x + self.feed_forward(self.norm2(x))


def hidden_width(width: int) -> int:
    """Return the width of the feed-forward network: 2/3 of 4 * width, rounded up to a multiple of 256."""
    return 256 * -(-(8 * width // 3) // 256)
