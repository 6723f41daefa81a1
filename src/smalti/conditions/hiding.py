"""Dropout of conditions: one token more says that nothing is said, which guidance needs."""

from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor

from smalti.conditions.prompt import SamePrompt
from smalti.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Hiding:
    """How often training hides a condition, and the token that then fills the prefix."""

    what: str  # is hidden, in words
    share: float  # of the pictures
    token: int  # the first number that the condition itself does not use

    @property
    def extra(self) -> int:
        """Tokens that this adds to the condition's vocabulary."""
        return int(self.share > 0)

    def null(self, *, num: int, length: int, device: torch.device) -> SamePrompt:
        """The prompt of "nothing is said"; UserError if training never showed it."""
        if not self.share:
            remedy = "leave guidance at 1, or train with condition.dropout=0.1"
            raise UserError(f"a model that was trained without {self.what} at times", "dropout 0", remedy)
        return SamePrompt(prefix=torch.full((num, length), self.token, device=device))

    def hide(self, prefix: Int64[Tensor, "b m"], generator: torch.Generator) -> Int64[Tensor, "b m"]:
        """The prefix, in which a share of the rows says nothing."""
        draws = torch.rand(len(prefix), 1, generator=generator, device=generator.device)
        return prefix.masked_fill((draws < self.share).to(prefix.device), self.token)
