"""Classifier-free guidance, in one convention: u + s (c - u), where s = 1 is off.

It is LlamaGen's; papers that write c + w (c - u) mean s = 1 + w.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from smalti.conditions.context import Context
from smalti.precision import beyond_fp16


class Guided:
    """The condition of b canvases, with guidance the null one too, around what goes into a prior.

    With guidance every row goes through the prior twice, with its own context and with the null one, both in
    one batch: `prefix` and `doubled` give such batches (b2 rows), calling it takes their logits.
    """

    def __init__(
        self, context: Context, *, null: Context | None = None, scale: float = 1.0, limit: int
    ) -> None:
        """null: the context of "nothing was said"; must be there unless scale is 1.

        limit: the codes that exist, 0 .. limit - 1; a prior may score more, for its prefix.
        """
        assert scale == 1 or null is not None, "guidance needs a null context"
        self.scale, self.limit = scale, limit
        self.contexts = [context] if scale == 1 or null is None else [context, null]
        self._in_range: Tensor | None = None  # whether all logits of fp16 were finite; on the device

    def prefix(self, windows: Sequence[tuple[int, int]], size: tuple[int, int]) -> Int64[Tensor, "b2 m"]:
        """Return the prefixes of windows of one size (h, w), by (top, left); canvases change fastest."""
        parts = [context.window(*window, *size) for context in self.contexts for window in windows]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def doubled(self, rows: Tensor) -> Tensor:
        """Return rows (codes, positions) once for each context."""
        return rows if len(self.contexts) == 1 else torch.cat([rows, rows])

    def __call__(
        self, logits: Float[Tensor, "b2 *p v"], scale: float | None = None
    ) -> Float[Tensor, "b *p l"]:
        """Return the guided logits of the codes that exist; scale: of this pass, None: the one asked for."""
        logits = logits[..., : self.limit]
        if logits.dtype == torch.float16:
            finite = logits.isfinite().all()
            self._in_range = finite if self._in_range is None else self._in_range & finite
        if len(self.contexts) == 1:
            return logits
        said, null = logits.float().chunk(2)
        return null + (self.scale if scale is None else scale) * (said - null)

    def check(self) -> None:
        """Raise UserError if logits left the range of fp16; asked at the end, as it waits for the device."""
        if self._in_range is not None and not self._in_range:  # they would be codes like any other
            raise beyond_fp16("prior")
