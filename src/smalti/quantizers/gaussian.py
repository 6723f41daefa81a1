"""No codebook: latents are means and log-variances of normal numbers, held near the standard ones."""

from typing import ClassVar, Literal, NoReturn

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from smalti.config import Weight, settings
from smalti.errors import UserError
from smalti.quantizers.protocol import CommonSettings, Quantized, Quantizer

LOG_VARIANCES = (-30.0, 20.0)  # clipped to, as in the 2021 code


@settings
class GaussianSettings(CommonSettings):
    """What keeps the latents near standard normal numbers."""

    has_codes: ClassVar[bool] = False
    kind: Literal["gaussian"] = "gaussian"
    kl: Weight = 1.0e-6  # of the divergence from standard normal numbers, nats a cell, mean over cells


class GaussianQuantizer(Quantizer):
    """The bottleneck of an autoencoder with a KL penalty (arXiv:1312.6114; arXiv:2112.10752, section 3.1).

    In training latents are drawn, in use they are the means.
    """

    codebook_size = 0
    moments = 2

    def __init__(self, settings: GaussianSettings, *, dim: int) -> None:
        super().__init__()
        self.settings, self.dim = settings, dim

    def forward(self, latents: Float[Tensor, "b m h w"], step: int = 0) -> Quantized:
        """Return a draw in training mode, by noise from torch's default generator; otherwise the means.

        In fp32.
        """
        mean, _ = split(latents)
        chosen = self.draw(latents, torch.randn_like(mean)) if self.training else mean
        cells = mean[0, 0].numel()
        nats = self.divergence(latents).mean() / cells
        statistics = {"nats_per_cell": nats.detach()}
        return Quantized(latents=chosen, codes=None, loss=self.settings.kl * nats, statistics=statistics)

    def draw(
        self, moments: Float[Tensor, "b m h w"], noise: Float[Tensor, "b d h w"]
    ) -> Float[Tensor, "b d h w"]:
        """Return mean + standard deviation * noise, which is of standard normal numbers."""
        mean, log_variance = split(moments)
        return mean + (log_variance / 2).exp() * noise

    def divergence(self, moments: Float[Tensor, "b m h w"]) -> Float[Tensor, " b"]:
        """Return each image's KL divergence from standard normal numbers, nats, summed over its latents."""
        mean, log_variance = split(moments)
        return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum((1, 2, 3))

    def lookup(self, codes: Int64[Tensor, "b h w"]) -> NoReturn:
        """Raises UserError: there are no codes."""
        remedy = "use latents, quantize and decode_latents, or another tokenizer"
        raise UserError("a tokenizer with a codebook", "one of kind gaussian, which has no codes", remedy)


def split(moments: Float[Tensor, "b m h w"]) -> tuple[Float[Tensor, "b d h w"], Float[Tensor, "b d h w"]]:
    """Return means, and log-variances clipped to -30 .. 20, which are the later half of the channels.

    In fp32.
    """
    mean, log_variance = moments.float().chunk(2, dim=1)
    return mean, log_variance.clamp(*LOG_VARIANCES)
