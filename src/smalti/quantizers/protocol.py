"""What every quantizer keeps: latents become codes, codes become latents.

Built as `X(settings, dim=d)`. Axes: b batch, d latent channels, h w grid; m is d times `moments`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int64
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """What becomes of latents."""

    latents: Float[Tensor, "b d h w"]  # what the decoder gets, with a gradient that reaches the encoder
    codes: Int64[Tensor, "b h w"] | None  # row-major, 0 .. codebook_size - 1; None without a codebook
    loss: Float[Tensor, ""]  # what the quantizer adds to the training loss, weighted
    statistics: Mapping[str, Float[Tensor, ""]] = field(default_factory=dict)  # more for the log, detached


def kind_of(settings: Any) -> str:
    """The kind of a member's settings, or of a mapping: vq where a recipe does not say it."""
    return str(
        settings.get("kind", "vq") if isinstance(settings, Mapping) else getattr(settings, "kind", "vq")
    )


class Quantizer(Protocol):
    """A member of the shelf. Computes in fp32 whatever the autocast around it.

    In training mode a member may draw: from torch's default generators, as dropout does. Otherwise equal
    latents give equal codes.
    """

    codebook_size: int  # 0: there is no codebook, and no codes
    moments: int  # channels that it takes for each of d: 1, or 2 for a mean and a log-variance

    def __call__(self, latents: Float[Tensor, "b m h w"], step: int = 0) -> Quantized:
        """Quantize. step: of training, for what changes in its course."""
        ...

    def lookup(self, codes: Int64[Tensor, "b h w"]) -> Float[Tensor, "b d h w"]:
        """Entries of codes: what `decode` gives the decoder."""
        ...

    def start(self, latents: Float[Tensor, "b m h w"], generator: torch.Generator) -> None:
        """Called once before training with the encoder's latents of the first pictures."""
        ...

    def after_step(self, latents: Float[Tensor, "b m h w"], generator: torch.Generator) -> None:
        """Called after each optimizer step with that step's latents: revival of dead codes and the like."""
        ...
