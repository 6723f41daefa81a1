"""What every prior keeps: its objective, its likelihood, and how it generates; codes in its own order.

Built as `X(settings, scope)`; a Scope is what the neighbours determine. Axes: b batch, m prefix tokens,
n codes, v codebook size.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from smalti.conditions.context import Prefix
from smalti.config import settings
from smalti.drawing.canvas import Canvas
from smalti.drawing.guidance import Guided
from smalti.drawing.loop import Decoder
from smalti.drawing.request import Request
from smalti.errors import UserError
from smalti.heads.categorical import Categorical
from smalti.heads.protocol import Head
from smalti.priors.corrupt import corrupt
from smalti.sizes import worded
from smalti.tokens.layout import Layout


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What a prior's neighbours determine about it: tokenizer, condition, crop size and order."""

    layout: Layout  # of the tokenizer's tokens of a crop
    prefix_vocabulary: int  # of the condition
    prefix_length: int  # m, at least 1
    prefix_features: int | None = None  # numbers of each place of a prefix; None: tokens
    prefix_is_padded: bool = False  # rows fill unequally many positions
    prefix_is_by_cell: bool = False  # place i tells of cell i of the window, row by row
    cells: tuple[tuple[int, int], ...]  # (row, column) of place 0 .. n-1 in the order of generating
    order: str = "row"  # its name
    others: tuple["Scope", ...] = ()  # of a prior for crops of several sizes: those of its other grids

    @property
    def grid(self) -> tuple[int, int]:
        """Return height and width of a training crop in cells; UserError as `codebook_size`."""
        assert self.codebook_size, "a code a cell"
        return self.layout.grids[0]

    @property
    def codebook_size(self) -> int:
        """Return how many codes there are; UserError unless there is one code a cell, of a single grid."""
        layout = self.layout
        if len(layout.grids) > 1 or layout.depth > 1 or layout.vocabulary is None:
            remedy = "use another tokenizer, or a prior for such tokens"
            raise UserError("a tokenizer of one code a cell for this prior", layout.told(), remedy)
        return layout.vocabulary


def _of(name: str, number: int) -> str:
    """Return what a buffer is called that belongs to a grid by number; of the first it is the plain name."""
    return f"{name}_{number}" if number else name


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
    # Annotated with a help text for commands, which the member's line on the shelf offers them to
    options: ClassVar[type[Any]] = NoOptions
    distribution: Head = Categorical()  # what a prediction says of a token: its loss, its likelihood, a draw
    takes_padded: ClassVar[bool] = False  # whether prefixes of features, or of unequal lengths
    takes_grids: ClassVar[bool] = False  # whether crops of several sizes

    def __init__(self, scope: Scope) -> None:
        """UserError for a condition, or several sizes, that the member does not take."""
        super().__init__()
        if scope.others and not self.takes_grids:
            got = f"crops of {worded([one.grid for one in (scope, *scope.others)])} cells"
            remedy = "set prior.kind=modern or neighbourhood, or one size"
            raise UserError("one size, for a prior that knows the cells of one grid", got, remedy)
        if not self.takes_padded and (scope.prefix_is_padded or scope.prefix_features is not None):
            got = "one of features, or of unequal lengths"
            remedy = "set prior.kind=modern, or use another condition"
            raise UserError("a condition of equally many tokens for this prior", got, remedy)
        self.scope, self.number = scope, 0  # the latter of its grid among all

    def hold(self, tables: Callable[[Scope], Mapping[str, Tensor]]) -> None:
        """Keep as buffers what hangs on a grid, by name, of all grids; see `at`."""
        for number, scope in enumerate((self.scope, *self.scope.others)):
            for name, table in tables(scope).items():
                self.register_buffer(_of(name, number), table, persistent=False)

    def at(self, grid: tuple[int, int]) -> "Prior":
        """Return this prior for crops of one of its grids: itself, or a twin that shares all weights."""
        if grid == self.scope.grid:
            return self
        number, scope = next((n, one) for n, one in enumerate(self.scope.others, 1) if one.grid == grid)
        twin = copy(self)
        own = {name: self._buffers.get(_of(name, number), table) for name, table in self._buffers.items()}
        twin._buffers, twin.scope, twin.number = own, scope, number
        return twin

    @abstractmethod
    def forward(self, codes: Int64[Tensor, "b n"], prefix: Prefix) -> Float[Tensor, "b n v"]:
        """Return logits of each code, from what the member sees of the codes for it."""

    @abstractmethod
    def loss(
        self,
        codes: Int64[Tensor, "b n"],
        prefix: Prefix,
        rng: torch.Generator,
        *,
        pkeep: float = 1.0,
    ) -> Float[Tensor, ""]:
        """Return the objective of training, in fp32.

        rng: all that chance decides; on any device. pkeep: of the codes shown, the share that stays what it
        is; any code stands for the others (see `corrupt`). What is to be predicted is clean.
        """

    @abstractmethod
    def nats(self, codes: Int64[Tensor, "b n"], prefix: Prefix) -> Nats | None:
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
            if self.scope.others:
                crops = [one.grid for one in (self.scope, *self.scope.others)]
                told = " or ".join("{} x {}".format(*(side * factor for side in sides)) for sides in crops)
                expected = f"a size from {told} pixels up, this model's training crops"
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
        prefix: Prefix,
        rng: torch.Generator,
        *,
        pkeep: float = 1.0,
    ) -> Float[Tensor, ""]:
        """Return the mean cross-entropy of the codes in nats (arXiv:2012.09841, eq. 10)."""
        shown = codes
        if pkeep < 1:
            size = self.scope.codebook_size
            shown = corrupt(codes, pkeep=pkeep, codebook_size=size, generator=rng)
        return self.distribution.loss(self(shown, prefix), codes)

    def nats(self, codes: Int64[Tensor, "b n"], prefix: Prefix) -> Nats:
        """Return -ln p of the codes."""
        return Nats(self.distribution.nats(self(codes, prefix), codes).item(), codes.numel())
