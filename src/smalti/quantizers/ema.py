"""Nearest-entry quantizer whose entries are running means of the latents nearest to them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Gt
from jaxtyping import Float, Int64
from torch import Tensor, nn

from smalti.config import Positive, Share, Weight, settings
from smalti.quantizers.clusters import draw, kmeans, nearest
from smalti.quantizers.protocol import CommonSettings, Quantized, Quantizer


@settings
class EmaSettings(CommonSettings):
    """The codebook and how its entries follow the latents; no gradient reaches them."""

    kind: Literal["ema"] = "ema"
    codebook_size: Positive = 1024
    commitment: Weight = 0.25  # of mean (sg[q] - z)^2, which draws latents to their entries
    decay: Share = 0.99  # of the running sums, a step
    epsilon: Annotated[float, Gt(0.0)] = (
        1.0e-5  # latents added to each entry's count, so that none is divided by 0
    )
    first_count: Weight = 1.0  # latents each entry stands for at first; 2021: 0, where idle ones fly off
    kmeans_start: bool = False  # entries start as centres of the first latents, not at random
    revive_below: Share = 0.0  # an entry used less than this share of even use gets a new place; 0: never

    def weights(self, code_dim: int) -> Mapping[str, int]:
        """See CommonSettings."""
        return {"codebook_size": self.codebook_size * code_dim}

    def begun(self) -> "EmaSettings":
        """See CommonSettings."""
        return replace(self, kmeans_start=False)


class EmaQuantizer(Quantizer):
    """Each latent becomes the entry at the smallest distance (arXiv:1711.00937, appendix A.1).

    The loss is commitment * mean (sg[q] - z)^2. After a step, with n latents nearest to an entry and their
    sum s: N <- decay N + (1 - decay) n, m <- decay m + (1 - decay) s, entry = m / N, N smoothed by epsilon.
    """

    cluster_size: Tensor  # v, N
    sums: Tensor  # v d, m

    def __init__(self, settings: EmaSettings, *, dim: int) -> None:
        super().__init__()
        self.settings, self.codebook_size = settings, settings.codebook_size
        self.codebook = nn.Embedding(self.codebook_size, dim)  # normal numbers, as torch draws them
        self.codebook.weight.requires_grad_(False)
        self.register_buffer("cluster_size", torch.full((self.codebook_size,), settings.first_count))
        self.register_buffer("sums", self.codebook.weight.detach().clone())

    def forward(self, latents: Float[Tensor, "b d h w"], step: int = 0) -> Quantized:
        """Quantize, in fp32; latents of the result are entries exactly, their gradient goes to latents."""
        z = latents.float().movedim(1, -1)  # b h w d
        entries = self.codebook.weight.float()
        codes = nearest(z.flatten(0, 2), entries).view(z.shape[:-1])
        q = F.embedding(codes, entries)  # b h w d
        loss = self.settings.commitment * (q - z).square().mean()
        return Quantized(latents=(q + (z - z.detach())).movedim(-1, 1), codes=codes, loss=loss)

    def lookup(self, codes: Int64[Tensor, "b h w"]) -> Float[Tensor, "b d h w"]:
        """Return entries of codes, in fp32."""
        return F.embedding(codes, self.codebook.weight.float()).movedim(-1, 1)

    @torch.no_grad()
    def start(self, latents: Float[Tensor, "b d h w"], generator: torch.Generator) -> None:
        """Put the entries at k-means centres of these latents, if the settings say so."""
        if self.settings.kmeans_start:
            centres = kmeans(_rows(latents), self.codebook_size, generator)
            self.codebook.weight.copy_(centres)
            self.cluster_size.fill_(1.0)
            self.sums.copy_(centres)

    @torch.no_grad()
    def after_step(self, latents: Float[Tensor, "b d h w"], generator: torch.Generator) -> None:
        """Move the entries to this step's latents; put idle ones at latents, if the settings say so.

        A revived entry counts as evenly used, which gives it time to be found.
        """
        rows, how = _rows(latents), self.settings
        codes = nearest(rows, self.codebook.weight.float())
        counts = torch.bincount(codes, minlength=self.codebook_size)
        self.cluster_size.lerp_(counts.to(self.cluster_size), 1 - how.decay)
        self.sums.lerp_(torch.zeros_like(self.sums).index_add_(0, codes, rows.to(self.sums)), 1 - how.decay)
        even = self.cluster_size.mean()
        if how.revive_below:
            dead = (self.cluster_size < how.revive_below * even).nonzero()[:, 0]
            self.cluster_size[dead] = even
            self.sums[dead] = draw(rows, len(dead), generator).to(self.sums) * even
        total = self.cluster_size.sum()
        smoothed = (self.cluster_size + how.epsilon) / (total + self.codebook_size * how.epsilon) * total
        self.codebook.weight.copy_(self.sums / smoothed[:, None])


def _rows(latents: Tensor) -> Tensor:
    return latents.float().movedim(1, -1).flatten(0, 2)  # n d
