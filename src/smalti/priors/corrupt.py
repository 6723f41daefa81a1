"""Noise on the codes that a prior is taught with, so that it learns to go on from its own mistakes."""

import torch
from jaxtyping import Int64
from torch import Tensor


def corrupt(
    codes: Int64[Tensor, "b n"], *, pkeep: float, codebook_size: int, generator: torch.Generator
) -> Int64[Tensor, "b n"]:
    """Keep each code with probability pkeep, else put any of the codebook's codes in its place.

    For the prior's input only: what it is to predict stays clean. The 2021 code's draws, in its order.
    """
    share = torch.full(codes.shape, pkeep, device=generator.device)
    kept = torch.bernoulli(share, generator=generator).bool()
    others = torch.randint(codebook_size, codes.shape, generator=generator, device=generator.device)
    return torch.where(kept.to(codes.device), codes, others.to(codes.device))
