"""Dropout of conditions: one token more says that nothing is said, which guidance needs."""

from dataclasses import dataclass

import torch

from smalti.conditions.context import Context, HiddenContext, SameContext
from smalti.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ConditionDropout:
    """How often training hides a condition, and the token that then fills the prefix."""

    what: str  # is hidden, in words
    share: float  # of the images
    token: int  # the first number that the condition itself does not use

    @property
    def extra(self) -> int:
        """Return how many tokens this adds to the condition's vocabulary."""
        return int(self.share > 0)

    def null(self, *, num: int, length: int, device: torch.device) -> SameContext:
        """Return the context of "nothing is said"; UserError if training never showed it."""
        if not self.share:
            remedy = "leave guidance_scale at 1, or train with condition.dropout=0.1"
            raise UserError(f"a model that was trained without {self.what} at times", "dropout 0", remedy)
        return SameContext(prefix=torch.full((num, length), self.token, device=device))

    def hide(self, context: Context, num: int, rng: torch.Generator) -> HiddenContext:
        """Return the context of num canvases, in which a share of the canvases says nothing."""
        draws = torch.rand(num, 1, generator=rng, device=rng.device)
        return HiddenContext(context=context, gone=draws < self.share, token=self.token)
