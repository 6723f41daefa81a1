"""Conditions encoded: what a prior sees of them, cut to the window that it looks through.

Axes: b canvases, m tokens before the codes.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Int64
from torch import Tensor


@runtime_checkable  # for the shape checker of the tests
class Context(Protocol):
    """A condition encoded for b canvases."""

    def window(self, top: int, left: int, height: int, width: int) -> Int64[Tensor, "b m"]:
        """Return the prefix for a window of the canvas, all four in cells."""
        ...

    def take(self, rows: Int64[Tensor, " r"]) -> "Context":
        """Return the context of some of the canvases, in this order; one may come several times."""
        ...


@dataclass(frozen=True, kw_only=True)
class SameContext:
    """One prefix a canvas, for every window of it."""

    prefix: Int64[Tensor, "b m"]

    def window(self, top: int, left: int, height: int, width: int) -> Int64[Tensor, "b m"]:
        """Return the prefix, whatever the window."""
        return self.prefix

    def take(self, rows: Int64[Tensor, " r"]) -> "SameContext":
        """See Context."""
        return SameContext(prefix=self.prefix[rows])


@dataclass(frozen=True, kw_only=True)
class GridContext:
    """One token a cell of the canvas: a window's prefix is its cut, row by row (arXiv:2012.09841, 3.3)."""

    tokens: Int64[Tensor, "b h w"]

    def window(self, top: int, left: int, height: int, width: int) -> Int64[Tensor, "b m"]:
        """Return the tokens of the window's cells."""
        return self.tokens[:, top : top + height, left : left + width].flatten(1)

    def take(self, rows: Int64[Tensor, " r"]) -> "GridContext":
        """See Context."""
        return GridContext(tokens=self.tokens[rows])


@dataclass(frozen=True, kw_only=True)
class HiddenContext:
    """Another context that says nothing of some of the canvases, as condition dropout has it."""

    context: Context
    gone: Bool[Tensor, "b 1"]
    token: int  # fills the prefix of those

    def window(self, top: int, left: int, height: int, width: int) -> Int64[Tensor, "b m"]:
        """Return the prefix, filled with the one token where the condition is hidden."""
        prefix = self.context.window(top, left, height, width)
        return prefix.masked_fill(self.gone.to(prefix.device), self.token)

    def take(self, rows: Int64[Tensor, " r"]) -> "HiddenContext":
        """See Context."""
        gone = self.gone[rows.to(self.gone.device)]
        return HiddenContext(context=self.context.take(rows), gone=gone, token=self.token)
