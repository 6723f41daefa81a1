"""No condition: the prior starts from a constant token."""

from typing import Any, Literal

import torch
from jaxtyping import Int64
from torch import Tensor

from smalti.conditions.prompt import SamePrompt
from smalti.conditions.protocol import Codec
from smalti.config import Count, settings
from smalti.errors import UserError


@settings
class NoConditionSettings:
    """The start token."""

    kind: Literal["none"] = "none"
    token: Count = 0  # the 2021 code's sos_token; counts where prefix and codes share one table


class NoCondition:
    """Takes nothing, says nothing."""

    argument: str | None = None
    shift = 0

    def __init__(self, settings: NoConditionSettings, tokenizer: Codec | None = None) -> None:
        self.token = settings.token
        self.vocabulary = settings.token + 1

    def length(self, grid: tuple[int, int]) -> int:
        """One token."""
        return 1

    def encode(self, value: Any, *, num: int, grid: tuple[int, int], device: torch.device) -> SamePrompt:
        """The start token for each canvas; UserError if a value is given."""
        if value is not None:
            remedy = "leave the value out, or use a model that was trained with a condition"
            raise UserError("no condition: the model was trained without one", repr(value), remedy)
        return SamePrompt(prefix=torch.full((num, 1), self.token, device=device))

    def null(self, *, num: int, grid: tuple[int, int], device: torch.device) -> SamePrompt:
        """UserError: guidance needs a condition to move towards."""
        remedy = "leave guidance at 1, or use a model that was trained with a condition"
        raise UserError("a model with a condition, for guidance", "one without", remedy)

    def vary(self, prefix: Int64[Tensor, "b m"], generator: torch.Generator) -> Int64[Tensor, "b m"]:
        """The prefix itself: there is nothing to vary."""
        return prefix

    def count(self, value: Any) -> None:
        """None: nothing is said of any canvas."""

    def describe(self, value: Any, *, num: int) -> list[Any]:
        """Nothing."""
        return [None] * num
