"""What every prior keeps: its objective, its likelihood, and how it generates; codes in its own order.

Built as `X(settings, scope)`; a Scope is what the neighbours determine. Axes: b batch, m prefix tokens,
n codes, v codebook size.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from smalti.config import settings
from smalti.drawing.canvas import Canvas
from smalti.drawing.guidance import Guided
from smalti.drawing.loop import Decoder
from smalti.drawing.request import Request
from smalti.errors import UserError
from smalti.priors.corrupt import corrupt


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What a prior's neighbours determine about it: tokenizer, condition, crop size and order."""

    codebook_size: int  # of the tokenizer
    prefix_vocabulary: int  # of the condition
    prefix_length: int  # m, at least 1
    cells: tuple[tuple[int, int], ...]  # (row, column) of place 0 .. n-1 in the order of generating
    order: str = "row"  # its name

    @property
    def grid(self) -> tuple[int, int]:
        """Return height and width of a training crop in cells."""
        height, width = (1 + max(cell[axis] for cell in self.cells) for axis in (0, 1))
        return height, width


@settings
class NoOptions:
    """Nothing beside what every prior takes."""


class Nats(NamedTuple):
    """-ln p of all codes of a batch together."""

    total: float
    tokens: int  # as many codes
    is_bound: bool = False  # total is no less than that, in the mean


class Prior(nn.Module, ABC):
    """A member of the shelf. Sequences are codes of training crops in the order of `Scope.cells`."""

    codebook_size: int  # v, codes that are scored: at least the codebook's
    # settings of what a user may say of drawing beside `Request`, by keyword; Canvas.how is one. Types are
    # Annotated with a help text, for commands
    options: ClassVar[type[Any]] = NoOptions

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        self.scope = scope

    @abstractmethod
    def forward(self, codes: Int64[Tensor, "b n"], prefix: Int64[Tensor, "b m"]) -> Float[Tensor, "b n v"]:
        """Return logits of each code, from what the member sees of the codes for it."""

    @abstractmethod
    def loss(
        self,
        codes: Int64[Tensor, "b n"],
        prefix: Int64[Tensor, "b m"],
        rng: torch.Generator,
        *,
        pkeep: float = 1.0,
    ) -> Float[Tensor, ""]:
        """Return the objective of training, in fp32.

        rng: all that chance decides; on any device. pkeep: of the codes shown, the share that stays what it
        is; any code stands for the others (see `corrupt`). What is to be predicted is clean.
        """

    @abstractmethod
    def nats(self, codes: Int64[Tensor, "b n"], prefix: Int64[Tensor, "b m"]) -> Nats | None:
        """Return how likely codes are; None: the member cannot say."""

    @abstractmethod
    def decoder(self, guided: Guided, canvas: Canvas) -> Decoder:
        """Return what generates canvases that `check` lets pass."""

    @abstractmethod
    def rows(self, canvas: Canvas) -> int:
        """Return how many windows of one canvas are in memory at once, by which batches are made smaller."""

    @abstractmethod
    def check(self, asked: Request, grid: tuple[int, int], factor: int) -> None:
        """Raise UserError for a canvas of so many cells, or an option, with which it cannot generate.

        factor: pixels a cell side, for the words.
        """

    def check_size(self, grid: tuple[int, int], factor: int) -> None:
        """Raise UserError for a canvas smaller than a training crop, for members that draw through one."""
        own = self.scope.grid
        if grid[0] < own[0] or grid[1] < own[1]:
            size, crop = ("{} x {}".format(*(side * factor for side in sides)) for sides in (grid, own))
            expected = f"a size from {crop} pixels up, this model's training crop"
            raise UserError(expected, size, "draw larger and cut the image, or train on smaller crops")

    @property
    def longest_stride(self) -> int:
        """Return the cells by which a window may move at the most; 1 where none moves."""
        return 1


class Forced(Prior):
    """A member whose `forward` gives p itself: of each code given those before it (teacher forcing)."""

    def loss(
        self,
        codes: Int64[Tensor, "b n"],
        prefix: Int64[Tensor, "b m"],
        rng: torch.Generator,
        *,
        pkeep: float = 1.0,
    ) -> Float[Tensor, ""]:
        """Return the mean cross-entropy of the codes in nats (arXiv:2012.09841, eq. 10)."""
        shown = codes
        if pkeep < 1:
            size = self.scope.codebook_size
            shown = corrupt(codes, pkeep=pkeep, codebook_size=size, generator=rng)
        logits = self(shown, prefix).float()
        return F.cross_entropy(logits.flatten(0, 1), codes.flatten())

    def nats(self, codes: Int64[Tensor, "b n"], prefix: Int64[Tensor, "b m"]) -> Nats:
        """Return -ln p of the codes."""
        total = F.cross_entropy(self(codes, prefix).float().mT, codes, reduction="sum")
        return Nats(total.item(), codes.numel())
