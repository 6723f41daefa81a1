"""Which codes a tokenizer uses, and how likely a prior finds them."""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from smalti.metrics.protocol import Measured, Metric
from smalti.quantizers.usage import perplexity, usage


class Usage(Metric):
    """How many of a codebook's entries occur, and how evenly."""

    name, better = "use of the codebook", "higher"

    def __init__(self, codebook_size: int) -> None:
        self.codebook_size = codebook_size
        self._codes: list[Tensor] = []

    @classmethod
    def of(cls, content: str, codebook_size: int, distances: Mapping[str, nn.Module]) -> list[Metric]:
        """See Metric: where there is a codebook."""
        return [cls(codebook_size)] if codebook_size else []

    def update(self, batch: Measured) -> None:
        """See Metric."""
        assert batch.codes is not None, "use is that of codes"
        self._codes.append(batch.codes.flatten())

    def compute(self) -> dict[str, float]:
        """See Metric: the share of entries that occur, and exp(entropy) of their frequencies."""
        codes, size = torch.cat(self._codes), self.codebook_size
        return {"codebook_usage": usage(codes, size), "codebook_perplexity": perplexity(codes, size)}


class NatsPerToken(Metric):
    """How likely a prior finds codes: the mean over all of them."""

    name, better = "nats per token", "lower"

    def __init__(self) -> None:
        self._total, self._tokens, self._key = 0.0, 0, "nats_per_token"

    def update(self, batch: Measured) -> None:
        """See Metric; what the prior does not know is left out."""
        if batch.nats is not None:
            self._total, self._tokens = self._total + batch.nats.total, self._tokens + batch.nats.tokens
            self._key = "nats_per_token_at_most" if batch.nats.is_bound else self._key

    def compute(self) -> dict[str, float]:
        """See Metric; a bound has a name of its own, and there is none where the prior knows nothing."""
        return {self._key: self._total / self._tokens} if self._tokens else {}


def bits_per_pixel(nats: float, pixels: int) -> float:
    """Return what codes of this likelihood cost, in bits over the pixels of their images.

    nats: of all codes; for a tokenizer alone tokens * ln(codebook_size), for a prior its nats per token times
    tokens. pixels: height times width, summed over the images; the channels of a pixel count once. Unlike
    nats per token it compares across tokenizers.
    """
    return nats / math.log(2) / pixels


def unigram_nats(seen: Int64[Tensor, "a y x"], codes: Int64[Tensor, "b h w"], codebook_size: int) -> float:
    """Return nats per token of codes under the frequencies of the seen ones, one count added to every code.

    It knows which codes are common, and nothing of how they lie: ln(codebook_size) where all are.
    """
    counts = torch.bincount(seen.flatten(), minlength=codebook_size).double() + 1
    return -(counts / counts.sum()).log()[codes.flatten()].mean().item()
