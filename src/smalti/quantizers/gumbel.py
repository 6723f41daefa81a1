"""Gumbel quantizer: the codes are drawn while it learns, by probabilities that the latents give."""

import math
from collections.abc import Mapping
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Gt
from jaxtyping import Float, Int64
from torch import Tensor, nn

from smalti.config import Count, Positive, Weight, settings
from smalti.errors import UserError
from smalti.quantizers.protocol import CommonSettings, Quantized, Quantizer

Temperature = Annotated[float, Gt(0.0)]


@settings
class TemperatureSettings:
    """Temperature by training step: a linear way from start to high, then half a cosine down to low."""

    start: Temperature = 1.0
    high: Temperature = 1.0
    low: Temperature = 1.0
    warmup: Count = 0  # steps from start to high
    until: Positive = 1  # the step at which low is reached, counted from the first one

    def __post_init__(self) -> None:
        if self.warmup >= self.until:
            got, remedy = f"until={self.until}, warmup={self.warmup}", f"temperature.until={self.warmup + 1}"
            raise UserError("temperature.until after temperature.warmup", got, remedy)

    def at(self, step: int) -> float:
        """Return the temperature of a step."""
        if step < self.warmup:
            return self.start + (self.high - self.start) * step / self.warmup
        share = min((step - self.warmup) / (self.until - self.warmup), 1.0)
        return self.low + 0.5 * (self.high - self.low) * (1 + math.cos(math.pi * share))


@settings
class GumbelSettings(CommonSettings):
    """The codebook, how codes are drawn in training, and what keeps them from becoming a few."""

    kind: Literal["gumbel"] = "gumbel"
    codebook_size: Positive = 1024
    kl: Weight = 5.0e-4  # of the divergence of the codes' probabilities from even ones, nats a cell
    straight_through: bool = True  # the decoder gets one entry; else in training a mixture of all
    temperature: TemperatureSettings = TemperatureSettings()

    def weights(self, code_dim: int) -> Mapping[str, int]:
        """See CommonSettings."""
        return {"codebook_size": self.codebook_size * code_dim}


class GumbelQuantizer(Quantizer):
    """Latents give each entry a score; the softmax of logits is a code's probability (arXiv:1611.01144).

    In training codes are drawn, in use the likeliest is taken. (The 2021 code drew in use too; see `draw`.)
    The loss is kl * the mean over cells of sum p log(p v).
    """

    def __init__(self, settings: GumbelSettings, *, dim: int) -> None:
        super().__init__()
        self.settings, self.codebook_size = settings, settings.codebook_size
        self.proj = nn.Conv2d(dim, self.codebook_size, 1)
        self.codebook = nn.Embedding(self.codebook_size, dim)  # normal numbers, as torch draws them

    def forward(self, latents: Float[Tensor, "b d h w"], step: int = 0) -> Quantized:
        """Quantize, in fp32; in training mode with noise from torch's default generator."""
        return self.choose(latents, step, None)

    def choose(
        self, latents: Float[Tensor, "b d h w"], step: int, among: Int64[Tensor, " u"] | None
    ) -> Quantized:
        """Quantize as `forward`. among: the only entries that can be chosen; None: all."""
        noise = None
        if self.training:
            shape = (len(latents), self.codebook_size if among is None else len(among), *latents.shape[2:])
            tiny = torch.finfo(torch.float32).tiny  # a draw of 0 would be an infinite number
            noise = -latents.new_empty(shape, dtype=torch.float32).exponential_().clamp(min=tiny).log()
        soft = self.training and not self.settings.straight_through
        return self._choose(latents, noise, self.settings.temperature.at(step), among, soft=soft)

    def draw(
        self, latents: Float[Tensor, "b d h w"], noise: Float[Tensor, "b v h w"], temperature: float = 1.0
    ) -> Quantized:
        """Quantize by codes drawn, as in training; the temperature has a part in gradients alone.

        noise: standard Gumbel numbers, -log(-log(u)) of even u. What the 2021 code gave in use.
        """
        return self._choose(latents, noise, temperature, None, soft=False)

    def logits(self, latents: Float[Tensor, "b d h w"]) -> Float[Tensor, "b v h w"]:
        """Return unnormalised log-probabilities of the entries, in fp32."""
        bias = None if self.proj.bias is None else self.proj.bias.float()
        with torch.autocast(latents.device.type, enabled=False):
            return F.conv2d(latents.float(), self.proj.weight.float(), bias)

    def lookup(self, codes: Int64[Tensor, "b h w"]) -> Float[Tensor, "b d h w"]:
        """Return entries of codes, in fp32."""
        return F.embedding(codes, self.codebook.weight.float()).movedim(-1, 1)

    def _choose(
        self,
        latents: Tensor,
        noise: Tensor | None,
        temperature: float,
        among: Tensor | None,
        *,
        soft: bool,
    ) -> Quantized:
        logits, entries = self.logits(latents), self.codebook.weight.float()
        if among is not None:
            logits, entries = logits[:, among], entries[among]
        noisy = logits if noise is None else logits + noise
        codes = noisy.argmax(1)
        shares = (noisy / temperature).softmax(1)  # b v h w
        with torch.autocast(latents.device.type, enabled=False):
            if soft:
                passed = torch.einsum("bvhw,vd->bdhw", shares, entries)
            else:
                # straight-through: m - sg[m] is exactly 0, so that decode(codes) sees what training saw
                mixed = torch.einsum("bvhw,vd->bdhw", shares, entries.detach())
                passed = F.embedding(codes, entries).movedim(-1, 1) + (mixed - mixed.detach())
        return Quantized(
            latents=passed,
            codes=codes if among is None else among[codes],
            loss=self.settings.kl * self._divergence(logits),
            statistics={"temperature": torch.full((), temperature, device=latents.device)},
        )

    def _divergence(self, logits: Tensor) -> Tensor:
        """Return the divergence from even probabilities over all entries, also where few can be chosen.

        Mean over cells, nats.
        """
        p = logits.softmax(1)
        return (p * (p * self.codebook_size + 1e-10).log()).sum(1).mean()
