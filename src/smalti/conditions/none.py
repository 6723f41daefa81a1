"""No condition: the prior starts from a constant token."""

from typing import Any, Literal

import torch
from torch import nn

from smalti.conditions.context import SameContext
from smalti.conditions.protocol import Codec, Condition
from smalti.config import Count, settings
from smalti.errors import UserError


@settings
class NoConditionSettings:
    """The start token."""

    kind: Literal["none"] = "none"
    token: Count = 0  # the 2021 code's sos_token; counts where prefix and codes share one table


class NoCondition(Condition):
    """Takes nothing, says nothing."""

    def __init__(
        self, settings: NoConditionSettings, tokenizer: Codec | None = None, part: nn.Module | None = None
    ) -> None:
        super().__init__(settings, tokenizer, part)
        self.vocabulary = settings.token + 1

    def length(self, grid: tuple[int, int]) -> int:
        """Return one token."""
        return 1

    def from_user(self, value: Any, *, num: int, grid: tuple[int, int]) -> None:
        """Return nothing; UserError if a value is given."""
        if value is not None:
            remedy = "leave the value out, or use a model that was trained with a condition"
            raise UserError("no condition: the model was trained without one", repr(value), remedy)

    def from_batch(self, batch: Any) -> None:
        """Return nothing."""

    def encode(self, value: None, *, num: int, grid: tuple[int, int], device: torch.device) -> SameContext:
        """Return the start token for each canvas."""
        return SameContext(prefix=torch.full((num, 1), self.settings.token, device=device))
