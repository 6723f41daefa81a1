"""Nearest-entry vector quantizer: a learned codebook, Euclidean or cosine."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from smalti.config import Positive, Share, Weight, settings
from smalti.quantizers.clusters import draw, kmeans, nearest
from smalti.quantizers.protocol import CommonSettings, Quantized, Quantizer


@settings
class VectorQuantizerSettings(CommonSettings):
    """The codebook and the two terms that teach it; for the 2021 weights see `legacy`."""

    kind: Literal["vq"] = "vq"
    codebook_size: Positive = 1024
    commitment: Weight = 0.25  # of mean (sg[q] - z)^2, which draws latents to their entries
    codebook: Weight = 1.0  # of mean (q - sg[z])^2, which draws entries to their latents
    cosine: bool = False  # latents and entries scaled to length 1: for code_dim 8 or so, many entries
    kmeans_start: bool = False  # entries start as centres of the first latents, not at random
    revive_below: Share = 0.0  # an entry used less than this share of even use gets a new place; 0: never
    usage_decay: Share = 0.99  # of the running mean of use, a step; it forgets in 1 / (1 - usage_decay) steps

    @classmethod
    def legacy(cls, *, codebook_size: int) -> "VectorQuantizerSettings":
        """Return the settings of every model of the 2021 code, which weighs the terms the other way round."""
        return cls(codebook_size=codebook_size, commitment=1.0, codebook=0.25)

    def weights(self, code_dim: int) -> Mapping[str, int]:
        """See CommonSettings."""
        return {"codebook_size": self.codebook_size * code_dim}

    def begun(self) -> "VectorQuantizerSettings":
        """See CommonSettings."""
        return replace(self, kmeans_start=False)


class VectorQuantizer(Quantizer):
    """Each latent becomes the entry at the smallest distance (arXiv:2012.09841, eq. 2).

    The loss is commitment * mean (sg[q] - z)^2 + codebook * mean (q - sg[z])^2 (eq. 4). With cosine,
    latents and entries are scaled to length 1 before all of it (arXiv:2110.04627, section 3.2).
    """

    usage: Tensor  # v; a latent's share counted so that 1.0 is even use; there only if codes are revived

    def __init__(self, settings: VectorQuantizerSettings, *, dim: int) -> None:
        super().__init__()
        self.settings, self.codebook_size = settings, settings.codebook_size
        self.codebook = nn.Embedding(self.codebook_size, dim)
        nn.init.uniform_(self.codebook.weight, -1 / self.codebook_size, 1 / self.codebook_size)
        if settings.revive_below:  # in the state dict: a resumed run must revive what the whole one would
            self.register_buffer("usage", torch.ones(self.codebook_size))

    def forward(self, latents: Float[Tensor, "b d h w"], step: int = 0) -> Quantized:
        """Quantize, in fp32; latents of the result are entries exactly, their gradient goes to latents."""
        z = self._scaled(latents.float().movedim(1, -1))  # b h w d
        entries = self._entries()
        codes = nearest(z.flatten(0, 2), entries).view(z.shape[:-1])
        q = F.embedding(codes, entries)  # b h w d
        commitment = (q.detach() - z).square().mean()
        codebook = (q - z.detach()).square().mean()
        loss = self.settings.commitment * commitment + self.settings.codebook * codebook
        # straight-through; z - sg[z] is exactly 0, so that decode(codes) sees what training saw
        passed = q.detach() + (z - z.detach())
        return Quantized(latents=passed.movedim(-1, 1), codes=codes, loss=loss)

    def lookup(self, codes: Int64[Tensor, "b h w"]) -> Float[Tensor, "b d h w"]:
        """Return entries of codes, in fp32."""
        return F.embedding(codes, self._entries()).movedim(-1, 1)

    @torch.no_grad()
    def start(self, latents: Float[Tensor, "b d h w"], generator: torch.Generator) -> None:
        """Put the entries at k-means centres of these latents, if the settings say so."""
        if self.settings.kmeans_start:
            self.codebook.weight.copy_(kmeans(self._rows(latents), self.codebook_size, generator))

    @torch.no_grad()
    def after_step(self, latents: Float[Tensor, "b d h w"], generator: torch.Generator) -> None:
        """Count use, and put each entry that is hardly used at a latent of this step, if the settings say so.

        A revived entry counts as evenly used, which gives it time to be found.
        """
        if not self.settings.revive_below:
            return
        rows = self._rows(latents)
        codes = nearest(rows, self._entries())
        even = len(rows) / self.codebook_size
        counts = torch.bincount(codes, minlength=self.codebook_size)
        self.usage.lerp_(counts / even, 1 - self.settings.usage_decay)
        dead = (self.usage < self.settings.revive_below).nonzero()[:, 0]
        self.codebook.weight[dead] = draw(rows, len(dead), generator).to(self.codebook.weight)
        self.usage[dead] = 1.0

    def _entries(self) -> Tensor:
        return self._scaled(self.codebook.weight.float())  # v d

    def _rows(self, latents: Tensor) -> Tensor:
        return self._scaled(latents.float().movedim(1, -1).flatten(0, 2))  # n d

    def _scaled(self, vectors: Tensor) -> Tensor:
        return F.normalize(vectors, dim=-1) if self.settings.cosine else vectors
