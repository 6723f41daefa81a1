"""What members share whose tokens stand in one sequence, the prefix first: how it is scored and generated."""

from abc import abstractmethod
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from smalti.conditions.context import Padded, Prefix
from smalti.drawing.cache import Cache, causal
from smalti.drawing.canvas import Canvas
from smalti.drawing.guidance import Guided
from smalti.drawing.loop import Decoder
from smalti.drawing.plan import together
from smalti.drawing.request import Request
from smalti.drawing.speculative import Speculative
from smalti.drawing.windows import Windows
from smalti.errors import UserError
from smalti.priors.layers import Linear
from smalti.priors.protocol import Forced, Scope


class Fed(NamedTuple):
    """What goes into a pass."""

    x: Float[Tensor, "b t e"]  # what goes into the first layer
    shift: Float[Tensor, "b d"] | None = None  # the condition as a vector, where a prior takes it so
    mask: Bool[Tensor, "b m"] | None = None  # which positions of the prefix are filled; None: all


class Causal(Forced):
    """Scores codes by a transformer that each member embeds for and runs in its own way.

    `forward`, `prefill` and `extend` give the same logits up to rounding. Who sets a cache's length back
    takes the last codes out of it again.
    """

    head: nn.Linear  # b t e -> b t v

    @abstractmethod
    def new_cache(self, batch: int) -> Cache:
        """Return an empty key/value cache for a prefix and the codes of one window."""

    @abstractmethod
    def _embed(self, codes: Int64[Tensor, "b n"], prefix: Prefix) -> Fed:
        """Return the prefix's m positions, then those of the codes."""

    @abstractmethod
    def _embed_more(self, codes: Int64[Tensor, "b n"], cache: Cache) -> Fed:
        """Return the positions of codes that come after what the cache holds."""

    @abstractmethod
    def _run(self, fed: Fed, cache: Cache | None = None, *, last: bool = False) -> Tensor:
        """Run all blocks and the last norm; return all positions, or the last of each row alone (b 1 e)."""

    def forward(self, codes: Int64[Tensor, "b n"], prefix: Prefix) -> Float[Tensor, "b n v"]:
        """Return the logits of each code given the prefix and the codes before it (teacher forcing)."""
        x = self._run(self._fed(codes[:, :-1], prefix))
        return self.head(x[:, -codes.shape[1] :])

    def prefill(
        self, codes: Int64[Tensor, "b n"], prefix: Prefix, cache: Cache | None = None
    ) -> Float[Tensor, "b v"]:
        """Return the logits of the code after the given ones (n may be 0); fills an empty cache if given."""
        assert cache is None or cache.length == 0, "the cache is filled: it holds a prefix"
        fed = self._fed(codes, prefix)
        if cache is not None:
            cache.shift, cache.mask = fed.shift, fed.mask
        return self.head(self._run(fed, cache, last=True)[:, 0])

    def extend(
        self, codes: Int64[Tensor, "b n"], cache: Cache, *, last: bool = False
    ) -> Float[Tensor, "b q v"]:
        """Feed n more codes a row to a filled cache; row i has the logits of the code after codes[i].

        last: those of the last one alone (b 1 v).
        """
        assert cache.length, "a cache that holds a prefix"
        assert codes.shape[1], "a code or more after what the cache holds"
        return self.head(self._run(self._embed_more(codes, cache), cache, last=last))

    def _fed(self, codes: Int64[Tensor, "b n"], prefix: Prefix) -> Fed:
        """Return what goes in at the start of a sequence."""
        fed = self._embed(codes, prefix)
        return fed._replace(mask=prefix.mask) if isinstance(prefix, Padded) else fed

    def decoder(self, guided: Guided, canvas: Canvas) -> Decoder:
        """See Prior."""
        return (Windows if canvas.speculative == 1 else Speculative)(self, guided, canvas)

    def rows(self, canvas: Canvas) -> int:
        """See Prior; not counted are caches that wait for the next run of their window."""
        return together(canvas)

    def check(self, asked: Request, grid: tuple[int, int], factor: int) -> None:
        """See Prior."""
        self.check_size(grid, factor)
        crop, most = self.scope.grid, self.longest_stride
        window, got = ("{} x {}".format(*(side * factor for side in sides)) for sides in (crop, grid))
        if self.scope.order != "row" and grid != crop:
            expected = f"{window} pixels: the order {self.scope.order} has no moving window"
            raise UserError(expected, got, "leave the size out, or use a model with order=row")
        if asked.stride > most:
            why = "half of this model's window of {} x {} cells".format(*crop)
            raise UserError(f"a stride of at most {most}: {why}", str(asked.stride), f"set stride={most}")

    @property
    def longest_stride(self) -> int:
        """Return half the smaller side of the training crop, in cells."""
        return max(1, min(self.scope.grid) // 2)


def table_of(scope: Scope, width: int) -> nn.Module:
    """Return what embeds a prefix: a table of its tokens, or a projection of its features."""
    if scope.prefix_features is None:
        return nn.Embedding(scope.prefix_vocabulary, width)
    return Linear(scope.prefix_features, width)


def embedded(table: Any, prefix: Prefix) -> Float[Tensor, "b m e"]:
    """Return a prefix as a table, or a projection, has it: zeros in positions that are not filled."""
    if isinstance(prefix, Tensor):
        return table(prefix)
    values = prefix.values
    values = values.to(table.weight.dtype) if values.is_floating_point() else values
    return table(values).masked_fill(~prefix.mask[..., None], 0.0)


def visible(fed: Fed) -> Bool[Tensor, "b 1 t t"] | None:
    """Return what positions that are fed without a cache see; None: all before, in every row."""
    count = fed.x.shape[1]
    return None if fed.mask is None else causal(fed.mask, count, count)


def of_last(visible: Tensor | None) -> Tensor | None:
    """Return what the last place sees; None: all, as wherever rows do not differ."""
    return None if visible is None or visible.dim() == 2 else visible[:, :, -1:]


def attend(
    queries: Float[Tensor, "b k q e"],
    keys: Float[Tensor, "b k t e"],
    values: Float[Tensor, "b k t f"],
    *,
    visible: Bool[Tensor, "*rows q t"] | None = None,
    dropout: float = 0.0,
) -> Float[Tensor, "b q kf"]:
    """Return scaled dot-product attention; the heads' results stand side by side.

    The last q of t positions ask, and each sees itself and those before; visible: which place (row) sees
    which (column), where that is otherwise. Keys and values may be held in another type than queries are.
    """
    asking, held = queries.shape[2], keys.shape[2]
    if visible is None and 1 < asking < held:  # is_causal would count from the first place that is held
        visible = torch.ones(asking, held, dtype=torch.bool, device=keys.device).tril(held - asking)
    mixed = F.scaled_dot_product_attention(
        queries.to(keys.dtype),
        keys,
        values,
        attn_mask=visible,
        dropout_p=dropout,
        is_causal=visible is None and asking > 1,  # one alone sees everything
    )
    return mixed.transpose(1, 2).flatten(2).to(queries.dtype)
