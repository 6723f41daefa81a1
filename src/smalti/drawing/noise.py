"""Noise without a stream: a number belongs to (seed, cell, code) and to nothing else."""

from jaxtyping import Float, Int64
from torch import Tensor

# splitmix64 (Steele, Lea, Flood, OOPSLA 2014); its constants as signed integers, as int64 arithmetic wraps
STRIDE = 0x9E3779B97F4A7C15 - 2**64
FIRST = 0xBF58476D1CE4E5B9 - 2**64
SECOND = 0x94D049BB133111EB - 2**64


def gumbel(
    seeds: Int64[Tensor, " b"], cells: Int64[Tensor, " b"], codes: Int64[Tensor, "b k"]
) -> Float[Tensor, "b k"]:
    """Return standard Gumbel numbers, one for each (seed of the row, cell of the row, code).

    argmax(log p + gumbel) over codes is a draw from p. Numbers lie in -3.61 .. 36.74: they are made from
    52 random bits, so that neither end of (0, 1) can be hit.
    """
    rows = _mix(_mix(seeds + STRIDE) + cells * STRIDE)
    bits = _mix(rows[:, None] + codes * STRIDE)
    uniform = (bits >> 12 & 2**52 - 1).double().add_(0.5).mul_(2.0**-52)  # exact: 53 bits hold it
    return uniform.log_().neg_().log_().neg_().float()


def _mix(bits: Tensor) -> Tensor:
    """Return a bijection of 64 bits in which every input bit turns over half of the output bits."""
    for places, factor in ((30, FIRST), (27, SECOND)):
        bits = (bits ^ (bits >> places & 2 ** (64 - places) - 1)) * factor  # torch's >> copies the sign
    return bits ^ (bits >> 31 & 2**33 - 1)
