"""Coordinates: one token a cell, how far down the whole image it lies."""

from typing import Any, ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from smalti.conditions.context import GridContext
from smalti.conditions.protocol import ENCODE_FOR, Codec, Condition
from smalti.config import Positive, settings
from smalti.errors import UserError


@settings
class CoordinatesSettings:
    """How finely the way is told."""

    kind: Literal["coordinates"] = "coordinates"
    tokens: Positive = 1024


class Part(NamedTuple):
    """Which part of a whole image a crop shows, in pixels."""

    top: int
    left: int
    height: int  # of the whole, as the next
    width: int


class CoordinatesCondition(Condition):
    """The mean over a cell of each pixel's row-major number, as a share of all (2021 code's CoordStage).

    On a canvas larger than the window the prior so learns where it lays.
    """

    argument: ClassVar[str | None] = "coordinates"

    def __init__(
        self, settings: CoordinatesSettings, tokenizer: Codec | None = None, part: nn.Module | None = None
    ) -> None:
        super().__init__(settings, tokenizer, part)
        assert tokenizer is not None, "coordinates need the factor of the tokenizer of the images"
        self.vocabulary, self.factor = settings.tokens, tokenizer.factor

    def length(self, grid: tuple[int, int]) -> int:
        """Return a token a cell."""
        return grid[0] * grid[1]

    def is_by_cell(self, grid: tuple[int, int]) -> bool:
        """Return true: a token tells of each cell."""
        return True

    def from_user(self, value: Any, *, num: int, grid: tuple[int, int]) -> Float[Tensor, "b H W"]:
        """Return shares in [0, 1], one for each pixel of the canvas; b = 1 for all canvases, or num.

        value: a tensor (H W), (1 H W), (b H W) or (b 1 H W) of them, or None, the canvas as a whole image.
        UserError for others.
        """
        sides = grid[0] * self.factor, grid[1] * self.factor
        if value is None:
            return _shares(Part(0, 0, *sides), sides)[None]
        if not isinstance(value, Tensor):
            raise UserError("coordinates as a tensor", type(value).__name__, "leave coordinates out")
        return _checked(value, num, sides)

    def from_batch(self, batch: Any) -> Float[Tensor, "b H W"]:
        """Return the shares of each crop, of where it lies in its image."""
        rows, columns = batch.codes.shape[1:] if batch.images is None else batch.images.shape[2:]
        cell = self.factor if batch.images is None else 1
        sides = (rows * cell, columns * cell)
        return torch.stack([_shares(part, sides) for part in batch.parts])

    def encode(
        self, value: Float[Tensor, "b H W"], *, num: int, grid: tuple[int, int], device: torch.device
    ) -> GridContext:
        """Return a token a cell, its mean; half-way ones go to the even number.

        The 2021 code gave a share of 1 a number past the last one.
        """
        shares = value.to(device)[:, None]
        means = F.interpolate(shares, scale_factor=1 / self.factor, mode="area")[:, 0]
        tokens = (means.clamp(0, 1) * self.vocabulary).round().long().clamp(max=self.vocabulary - 1)
        return GridContext(tokens=tokens.expand(num, -1, -1))

    def decode(self, tokens: Int64[Tensor, "b h w"]) -> Float[Tensor, "b 1 H W"]:
        """Return the shares of tokens, one value a cell."""
        return F.interpolate(tokens[:, None] / self.vocabulary, scale_factor=self.factor)

    @classmethod
    def needs(cls, settings: Any, data: Any, reader: Any) -> None:
        """See Condition: images, of which a crop lies somewhere."""
        if not {"image", "part"} & reader.gives:
            expected = "where crops lie in their images, for condition.kind=coordinates"
            raise UserError(expected, f"data.kind={data.kind} without it", ENCODE_FOR)

    def count(self, value: Any) -> int | None:
        """Return how many planes a tensor has; None for one."""
        return len(value) if isinstance(value, Tensor) and value.dim() > 2 else None

    def describe(self, value: Any, *, num: int) -> list[Any]:
        """Return the shape of a tensor."""
        return [value if value is None else f"a tensor {tuple(value.shape)}"] * num


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
