"""Prompts that several conditions share: one for all windows, and a grid of tokens that windows cut."""

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

    def take(self, rows: Int64[Tensor, " r"]) -> "SamePrompt":
        """See Prompt."""
        return SamePrompt(prefix=self.prefix[rows])


@dataclass(frozen=True, kw_only=True)
class GridPrompt:
    """One token a cell of the canvas: a window's prefix is its cut, row by row (arXiv:2012.09841, 3.3)."""

    tokens: Int64[Tensor, "b h w"]

    def window(self, top: int, left: int, height: int, width: int) -> Int64[Tensor, "b m"]:
        """The tokens of the window's cells."""
        return self.tokens[:, top : top + height, left : left + width].flatten(1)

    def take(self, rows: Int64[Tensor, " r"]) -> "GridPrompt":
        """See Prompt."""
        return GridPrompt(tokens=self.tokens[rows])
