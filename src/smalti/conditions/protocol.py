"""What every condition keeps: a user's wish becomes the tokens that stand before the codes.

Built as `X(settings)` (later ones are given a tokenizer too). Axes: b batch, m tokens of the prefix.
"""

from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Int64
from torch import Tensor


@runtime_checkable  # for the shape checker of the tests
class Prompt(Protocol):
    """A condition encoded for b canvases; a prior sees it cut to the window it looks through."""

    def window(self, top: int, left: int, height: int, width: int) -> Int64[Tensor, "b m"]:
        """The prefix for a window of the canvas, all four in cells."""
        ...


@runtime_checkable  # for the shape checker of the tests
class Condition(Protocol):
    """A member of the shelf."""

    argument: str | None  # the keyword by which a caller gives it (label, map, ...); None: takes nothing
    vocabulary: int  # prefix tokens are 0 .. vocabulary - 1
    length: int  # m, tokens of a prefix

    def encode(self, value: Any, *, num: int, grid: tuple[int, int], device: torch.device) -> Prompt:
        """Encode one value for all of num canvases of grid (h, w) cells, or a sequence of one for each.

        Checks its own input: UserError for what the model was not trained with.
        """
        ...

    def null(self, *, num: int, grid: tuple[int, int], device: torch.device) -> Prompt:
        """The prompt of "nothing was said", for guidance; UserError if the model was not trained with it."""
        ...

    def drop(self, prefix: Int64[Tensor, "b m"], generator: torch.Generator) -> Int64[Tensor, "b m"]:
        """Training: replace the condition of some pictures by the null one, as often as the settings say."""
        ...
