"""What every quantizer keeps: latents become codes, codes become latents.

Built as `X(settings, dim=d)`. Axes: b batch, d latent channels, h w grid.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float, Int64
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """Latents laid with entries of the codebook."""

    latents: Float[Tensor, "b d h w"]  # entries, with a gradient that reaches the encoder
    codes: Int64[Tensor, "b h w"]  # row-major, 0 .. codebook_size - 1
    loss: Float[Tensor, ""]  # what the quantizer adds to the training loss, weighted


class Quantizer(Protocol):
    """A member of the shelf. Computes in fp32 whatever the autocast around it."""

    codebook_size: int

    def __call__(self, latents: Float[Tensor, "b d h w"]) -> Quantized:
        """Quantize."""
        ...

    def lookup(self, codes: Int64[Tensor, "b h w"]) -> Float[Tensor, "b d h w"]:
        """Entries of codes: what `decode` gives the decoder, equal to the latents of the same codes."""
        ...

    def start(self, latents: Float[Tensor, "b d h w"], generator: torch.Generator) -> None:
        """Called once before training with the encoder's latents of the first pictures."""
        ...

    def after_step(self, latents: Float[Tensor, "b d h w"], generator: torch.Generator) -> None:
        """Called after each optimizer step with that step's latents: revival of dead codes and the like."""
        ...
