"""What every quantizer keeps: latents become codes, codes become latents.

Built as `X(settings, dim=d)`. Axes: b batch, d latent channels, h w grid; m is d times `moments`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from smalti.tokens.layout import Layout


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """What becomes of latents."""

    latents: Float[Tensor, "b d h w"]  # what the decoder gets, with a gradient that reaches the encoder
    codes: Int64[Tensor, "b h w"] | None  # row-major, 0 .. codebook_size - 1; None without a codebook
    loss: Float[Tensor, ""]  # what the quantizer adds to the training loss, weighted
    statistics: Mapping[str, Float[Tensor, ""]] = field(default_factory=dict)  # more for the log, detached


Self = TypeVar("Self", bound="CommonSettings")  # the checker of the tests knows no typing.Self


class CommonSettings:
    """What is asked of any member's settings; a member says what is otherwise with it."""

    kind: str
    has_codes: ClassVar[bool] = True

    @property
    def code_dim(self) -> int | None:
        """Return the numbers of an entry where the settings settle them; None where the networks do."""
        return None

    def weights(self, code_dim: int) -> Mapping[str, int]:
        """Return how many weights there are at the least because of a setting, by its key."""
        return {}

    def told(self) -> str:
        """Return a few words for people: what it is."""
        return self.kind

    def begun(self: Self) -> Self:
        """Return the settings for a training that goes on with a codebook that is there."""
        return self


class Quantizer(nn.Module, ABC):
    """A member of the shelf. Computes in fp32 whatever the autocast around it.

    In training mode a member may draw: from torch's default generators, as dropout does. Otherwise equal
    latents give equal codes.
    """

    is_kept_whole = True  # see strategy.py

    codebook_size: int  # codes are 0 .. codebook_size - 1; 0 without codes (CommonSettings.has_codes)
    moments: ClassVar[int] = 1  # channels taken for each of d: 2 for a mean and a log-variance
    __call__: Callable[..., Quantized]  # nn.Module's, typed as `forward`

    @abstractmethod
    def forward(self, latents: Float[Tensor, "b m h w"], step: int = 0) -> Quantized:
        """Quantize. step: of training, for what changes in its course."""

    @abstractmethod
    def lookup(self, codes: Int64[Tensor, "b h w"]) -> Float[Tensor, "b d h w"]:
        """Return the entries of codes, in fp32: what `decode` gives the decoder."""

    def layout(self, grid: tuple[int, int]) -> Layout:
        """Return which tokens stand for an image of grid (h, w) cells; of most members one code a cell."""
        return Layout(grids=(grid,), vocabulary=self.codebook_size or None)

    def choose(self, latents: Float[Tensor, "b d h w"], step: int, among: Int64[Tensor, " u"]) -> Quantized:
        """Quantize by these entries alone, where a member can; one that cannot takes all."""
        return self(latents, step)

    def start(self, latents: Float[Tensor, "b m h w"], generator: torch.Generator) -> None:
        """Begin before training with the encoder's latents of the first images; most have nothing to do.

        With several processes each is given the same latents (gathered from all) and a generator of the
        same seed; so too for `after_step`.
        """

    def after_step(self, latents: Float[Tensor, "b m h w"], generator: torch.Generator) -> None:
        """Look after the codebook after each optimizer step, by that step's latents: revival and the like."""
