"""Coordinates: one token a cell, how far down the whole picture it lies."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from smalti.conditions.prompt import GridPrompt, SamePrompt
from smalti.conditions.protocol import Codec
from smalti.config import Positive, settings
from smalti.errors import UserError


@settings
class CoordinatesSettings:
    """How finely the way is told."""

    kind: Literal["coordinates"] = "coordinates"
    tokens: Positive = 1024


class Part(NamedTuple):
    """Which part of a whole picture a crop shows, in pixels."""

    top: int
    left: int
    height: int  # of the whole, as the next
    width: int


class CoordinatesCondition:
    """The mean over a cell of each pixel's row-major number, as a share of all (2021 code's CoordStage).

    On a canvas larger than the window the prior so learns where it lays.
    """

    argument: str | None = "coordinates"
    shift = 0

    def __init__(self, settings: CoordinatesSettings, tokenizer: Codec | None = None) -> None:
        assert tokenizer is not None, "coordinates need the factor of the tokenizer of the pictures"
        self.vocabulary, self.factor = settings.tokens, tokenizer.factor

    def length(self, grid: tuple[int, int]) -> int:
        """A token a cell."""
        return grid[0] * grid[1]

    def encode(self, value: Any, *, num: int, grid: tuple[int, int], device: torch.device) -> GridPrompt:
        """Those of the canvas as a whole picture, unless others are given.

        value: None; or a tensor (H W), (1 H W), (b H W) or (b 1 H W) of shares in [0, 1], one for each pixel
        of the canvas; or a sequence of num Parts, of whose size the canvas is. UserError for others.
        """
        sides = grid[0] * self.factor, grid[1] * self.factor
        if value is None:
            shares = _shares(Part(0, 0, *sides), sides)[None]
        elif isinstance(value, Tensor):
            shares = _checked(value, num, sides)
        elif isinstance(value, Sequence) and all(isinstance(part, Part) for part in value):
            if len(value) not in (1, num):
                remedy = "give one for each picture"
                raise UserError(f"one part, or {num} of them", str(len(value)), remedy)
            shares = torch.stack([_shares(part, sides) for part in value])
        else:
            raise UserError("coordinates as a tensor", type(value).__name__, "leave coordinates out")
        tokens = self._tokens(shares.to(device))
        return GridPrompt(tokens=tokens.expand(num, -1, -1))

    def decode(self, tokens: Int64[Tensor, "b h w"]) -> Float[Tensor, "b 1 H W"]:
        """Shares of tokens, one value a cell."""
        return F.interpolate(tokens[:, None] / self.vocabulary, scale_factor=self.factor)

    def null(self, *, num: int, grid: tuple[int, int], device: torch.device) -> SamePrompt:
        """UserError: a cell always lies somewhere."""
        remedy = "leave guidance at 1"
        raise UserError("a model with a condition that can be left out, for guidance", "coordinates", remedy)

    def vary(self, prefix: Int64[Tensor, "b m"], generator: torch.Generator) -> Int64[Tensor, "b m"]:
        """The prefix itself: where a crop lies is not left to chance here."""
        return prefix

    def count(self, value: Any) -> int | None:
        """As many as there are parts, or planes of a tensor."""
        is_one = value is None or (isinstance(value, Tensor) and value.dim() < 3)
        return None if is_one or not hasattr(value, "__len__") else len(value)

    def describe(self, value: Any, *, num: int) -> list[Any]:
        """What was given; of a tensor its shape."""
        if value is None or isinstance(value, Tensor):
            return [value if value is None else f"a tensor {tuple(value.shape)}"] * num
        return list(value)

    def _tokens(self, shares: Float[Tensor, "b H W"]) -> Int64[Tensor, "b h w"]:
        """Half-way ones to the even number. The 2021 code gave a share of 1 a number past the last one."""
        means = F.interpolate(shares[:, None], scale_factor=1 / self.factor, mode="area")[:, 0]
        return (means.clamp(0, 1) * self.vocabulary).round().long().clamp(max=self.vocabulary - 1)


def _shares(part: Part, sides: tuple[int, int]) -> Float[Tensor, "H W"]:
    rows = torch.arange(part.top, part.top + sides[0], dtype=torch.float64)[:, None]
    columns = torch.arange(part.left, part.left + sides[1], dtype=torch.float64)
    return ((rows * part.width + columns) / (part.height * part.width)).float()


def _checked(value: Tensor, num: int, sides: tuple[int, int]) -> Float[Tensor, "b H W"]:
    remedy = "leave coordinates out: they follow from the size"
    shares = value[:, 0] if value.dim() == 4 and value.shape[1] == 1 else value
    shares = shares[None] if shares.dim() == 2 else shares
    if shares.dim() != 3 or tuple(shares.shape[1:]) != sides or len(shares) not in (1, num):
        expected = f"coordinates (H W) or ({num} H W) of {sides[0]} x {sides[1]} pixels"
        raise UserError(expected, f"a tensor {tuple(value.shape)}", remedy)
    if not shares.is_floating_point() or not ((shares >= 0) & (shares <= 1)).all():
        got = f"{value.dtype} from {value.min().item()} to {value.max().item()}"
        raise UserError("coordinates as floats in [0, 1]", got, remedy)
    return shares.float()
