"""Classifier-free guidance and mixtures, in one convention: u + sum_j w_j (c_j - u).

u are the logits where nothing is said, c_j those of context j, w_j its weight. With one context w is the
scale s, and s = 1 is off. It is LlamaGen's; papers that write c + w (c - u) mean s = 1 + w. Which contexts
and weights a wish comes to is the business of `told`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from smalti.conditions.context import Context, Prefix, joined
from smalti.precision import beyond_fp16

# of a context's logits in their sum: a number, or one for each cell of the canvas, row by row
Weight = float | Tensor


class Weighted(NamedTuple):
    """A context, and how much of its logits is in those of which codes are drawn."""

    context: Context
    weight: Weight = 1.0
    plain: Weight = 1.0  # without guidance, from which priors of few passes raise it


class Guided:
    """What b canvases are told, in one or several contexts, around what goes into a prior.

    Every row goes through the prior once with each context, all in one batch: `prefix` and `repeated` give
    such batches (cb rows: contexts, of each all rows), calling it takes their logits.
    """

    def __init__(self, told: Sequence[Weighted], *, null: Context | None = None, limit: int) -> None:
        """null: the context of "nothing was said"; None: weights sum to 1 without it.

        limit: the codes that exist, 0 .. limit - 1; a prior may score more, for its prefix.
        """
        self.told, self.is_guided, self.limit = told, null is not None, limit
        self.contexts = [one.context for one in told] + ([] if null is None else [null])
        self._in_range: Tensor | None = None  # whether all logits of fp16 were finite; on the device

    def prefix(self, windows: Sequence[tuple[int, int]], size: tuple[int, int]) -> Prefix:
        """Return the prefixes of windows of one size (h, w), by (top, left); canvases change fastest."""
        return joined([context.window(*window, *size) for context in self.contexts for window in windows])

    def repeated(self, rows: Tensor) -> Tensor:
        """Return rows (codes, positions) once for each context."""
        return rows if len(self.contexts) == 1 else torch.cat([rows] * len(self.contexts))

    def __call__(
        self, logits: Float[Tensor, "cb p v"], cells: Int64[Tensor, "#b p"], share: float | None = None
    ) -> Float[Tensor, "b p l"]:
        """Return the logits, as guidance and mixture have it, of the codes that exist.

        cells: of which these are the logits, by their numbers on the canvas. share: of what guidance adds,
        in this pass; None: all of it.
        """
        logits = logits[..., : self.limit]
        if logits.dtype == torch.float16:
            finite = logits.isfinite().all()
            self._in_range = finite if self._in_range is None else self._in_range & finite
        if len(self.contexts) == 1:
            return logits
        parts = logits.float().chunk(len(self.contexts))
        weights = [_at(_risen(one, share), cells) for one in self.told]
        if not self.is_guided:
            return torch.stack([weight * part for weight, part in zip(weights, parts, strict=True)]).sum(0)
        total = null = parts[-1]
        for weight, said in zip(weights, parts[:-1], strict=True):
            total = total + weight * (said - null)
        return total

    def check(self) -> None:
        """Raise UserError if logits left the range of fp16; asked at the end, as it waits for the device."""
        if self._in_range is not None and not self._in_range:  # they would be codes like any other
            raise beyond_fp16("prior")


def _risen(one: Weighted, share: float | None) -> Weight:
    return one.weight if share is None else one.plain + (one.weight - one.plain) * share


def _at(weight: Weight, cells: Int64[Tensor, "#b p"]) -> Weight:
    return weight[cells][..., None] if isinstance(weight, Tensor) else weight
