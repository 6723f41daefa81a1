"""A prompt that is the same wherever on the canvas the prior looks."""

from dataclasses import dataclass

from jaxtyping import Int64
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class SamePrompt:
    """One prefix a canvas, for every window of it."""

    prefix: Int64[Tensor, "b m"]

    def window(self, top: int, left: int, height: int, width: int) -> Int64[Tensor, "b m"]:
        """The prefix, whatever the window."""
        return self.prefix
