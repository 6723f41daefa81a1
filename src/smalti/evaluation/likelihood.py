"""How likely codes are under models that a prior must beat."""

import torch
from jaxtyping import Int64
from torch import Tensor


def unigram_nats(seen: Int64[Tensor, "a y x"], codes: Int64[Tensor, "b h w"], codebook_size: int) -> float:
    """Nats per token of codes under the frequencies of the seen ones, one count added to every code.

    It knows which codes are common, and nothing of how they lie: ln(codebook_size) where all are.
    """
    counts = torch.bincount(seen.flatten(), minlength=codebook_size).double() + 1
    return -(counts / counts.sum()).log()[codes.flatten()].mean().item()
