"""Conditions encoded: what a prior sees of them, cut to the window that it looks through.

Axes: b canvases, m tokens before the codes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from smalti.conditions.box_tokens import Shown


@dataclass(frozen=True, kw_only=True)
class Padded:
    """Places before the codes, of which each row fills as many as it has use for: the others are not seen.

    What fills them are tokens, or features that the prior projects.
    """

    values: Int64[Tensor, "b m"] | Float[Tensor, "b m f"]
    mask: Bool[Tensor, "b m"]  # whether a place is filled

    def __len__(self) -> int:
        return len(self.mask)

    def __getitem__(self, rows: Int64[Tensor, " r"]) -> "Padded":
        return Padded(values=self.values[rows], mask=self.mask[rows])


# what stands before the codes of a window: a token a place, or in rows of unequal lengths tokens or features
Prefix = Int64[Tensor, "b m"] | Padded


def joined(parts: list[Tensor | Padded]) -> Prefix:
    """Return the rows of prefixes of one condition, each b m, as one of all their rows."""
    if len(parts) == 1:
        return parts[0]
    padded = [part for part in parts if isinstance(part, Padded)]
    if not padded:
        return torch.cat([part for part in parts if isinstance(part, Tensor)])
    assert len(padded) == len(parts), "a condition's prefixes are padded, or none is"
    values, mask = (torch.cat([getattr(part, name) for part in padded]) for name in ("values", "mask"))
    return Padded(values=values, mask=mask)


@runtime_checkable  # for the shape checker of the tests
class Context(Protocol):
    """A condition encoded for b canvases."""

    def window(self, top: int, left: int, height: int, width: int) -> Prefix:
        """Return the prefix for a window of the canvas, all four in cells."""
        ...

    def take(self, rows: Int64[Tensor, " r"]) -> "Context":
        """Return the context of some of the canvases, in this order; one may come several times."""
        ...


@dataclass(frozen=True, kw_only=True)
class SameContext:
    """One prefix a canvas, for every window of it."""

    prefix: Prefix

    def window(self, top: int, left: int, height: int, width: int) -> Prefix:
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


@dataclass(frozen=True)
class PartsContext:
    """What is told of whole canvases, one for all or one for each, built for every window."""

    tokens: Callable[[Any], list[int]]  # of a part, as of a whole
    wholes: Sequence[Shown]
    num: int
    grid: tuple[int, int]
    device: torch.device

    def window(self, top: int, left: int, height: int, width: int) -> Int64[Tensor, "b m"]:
        """Return what is told of the window's part, and where on the canvas it lies."""
        rows, columns = self.grid
        x, y = left / columns, top / rows
        box = (x, y, x + width / columns, y + height / rows)
        tokens = [self.tokens(whole.part(box)) for whole in self.wholes]
        prefix = torch.tensor(tokens, dtype=torch.int64).to(self.device, non_blocking=True)
        return prefix.expand(self.num, -1)

    def take(self, rows: Int64[Tensor, " r"]) -> "PartsContext":
        """See Context."""
        wholes = self.wholes if len(self.wholes) == 1 else [self.wholes[row] for row in rows.tolist()]
        return replace(self, wholes=wholes, num=len(rows))


@dataclass(frozen=True, kw_only=True)
class HiddenContext:
    """Another context that says nothing of some of the canvases, as condition dropout has it."""

    context: Context
    gone: Bool[Tensor, "b 1"]
    token: int  # fills the prefix of those, unless places can be empty

    def window(self, top: int, left: int, height: int, width: int) -> Prefix:
        """Return the prefix, filled with the one token where the condition is hidden, or empty there."""
        prefix = self.context.window(top, left, height, width)
        if isinstance(prefix, Padded):
            return Padded(values=prefix.values, mask=prefix.mask & ~self.gone.to(prefix.mask.device))
        return prefix.masked_fill(self.gone.to(prefix.device), self.token)

    def take(self, rows: Int64[Tensor, " r"]) -> "HiddenContext":
        """See Context."""
        gone = self.gone[rows.to(self.gone.device)]
        return HiddenContext(context=self.context.take(rows), gone=gone, token=self.token)
