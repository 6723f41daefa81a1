"""What every condition keeps: a user's wish becomes the tokens that stand before the codes.

Built as `X(settings, tokenizer)`. Axes: b batch, m tokens of the prefix.
"""

from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor


@runtime_checkable  # for the shape checker of the tests
class Prompt(Protocol):
    """A condition encoded for b canvases; a prior sees it cut to the window it looks through."""

    def window(self, top: int, left: int, height: int, width: int) -> Int64[Tensor, "b m"]:
        """The prefix for a window of the canvas, all four in cells."""
        ...

    def take(self, rows: Int64[Tensor, " r"]) -> "Prompt":
        """The prompt of some of the canvases, in this order; one may come several times."""
        ...


@runtime_checkable  # for the shape checker of the tests
class Codec(Protocol):
    """What a condition needs of the tokenizer that it is given."""

    @property
    def factor(self) -> int:
        """Pixels a cell side."""
        ...

    @property
    def codebook_size(self) -> int:
        """Codes are 0 .. codebook_size - 1."""
        ...

    @property
    def channels(self) -> int:
        """Of the maps it takes; of a segmentation the number of classes."""
        ...

    @property
    def settings(self) -> Any:
        """Its settings: `content` says whether it takes pictures or segmentations."""
        ...

    def encode(self, images: Float[Tensor, "b c H W"], *, is_checked: bool = False) -> Int64[Tensor, "b h w"]:
        """Codes of maps; is_checked: nobody needs to look at their range."""
        ...

    def decode(self, codes: Int64[Tensor, "b h w"]) -> Float[Tensor, "b c H W"]:
        """Maps of codes."""
        ...


@runtime_checkable  # for the shape checker of the tests
class Condition(Protocol):
    """A member of the shelf."""

    argument: str | None  # the keyword by which a caller gives it (label, map, ...); None: takes nothing
    vocabulary: int  # prefix tokens are 0 .. vocabulary - 1
    shift: int  # windows that move begin (side - shift) // 2 cells before the one that is drawn: 0 or 1

    def length(self, grid: tuple[int, int]) -> int:
        """m, the tokens of a prefix, for a window of grid (h, w) cells; at least 1."""
        ...

    def encode(self, value: Any, *, num: int, grid: tuple[int, int], device: torch.device) -> Prompt:
        """Encode one value for all of num canvases of grid (h, w) cells, or a sequence of one for each.

        Checks its own input: UserError for what the model was not trained with.
        """
        ...

    def null(self, *, num: int, grid: tuple[int, int], device: torch.device) -> Prompt:
        """The prompt of "nothing was said" for windows of grid cells, for guidance.

        UserError if the model was not trained with it.
        """
        ...

    def vary(self, prefix: Int64[Tensor, "b m"], generator: torch.Generator) -> Int64[Tensor, "b m"]:
        """Training: what chance does to a prefix, such as to replace it by the null one at times."""
        ...

    def count(self, value: Any) -> int | None:
        """How many canvases a value is for; None where it is one for all of them."""
        ...

    def describe(self, value: Any, *, num: int) -> list[Any]:
        """A value that `encode` took, for each of num canvases, as plain values that fit into a file."""
        ...
