"""Noise without a stream: a number belongs to (seed, cell, code) and to nothing else."""

from jaxtyping import Float, Int64
from torch import Tensor

# splitmix64 (Steele, Lea, Flood, OOPSLA 2014); its constants as signed integers, as int64 arithmetic wraps
STRIDE = 0x9E3779B97F4A7C15 - 2**64
FIRST = 0xBF58476D1CE4E5B9 - 2**64
SECOND = 0x94D049BB133111EB - 2**64


def keys(seeds: Int64[Tensor, "*s"], cells: Int64[Tensor, "*c"]) -> Int64[Tensor, "*k"]:
    """Return what the noise of each (seed, cell) begins with; shapes are broadcast."""
    return _mix(_mix(seeds + STRIDE) + cells * STRIDE)


def gumbel(keys: Int64[Tensor, " b"], codes: Int64[Tensor, "b k"]) -> Float[Tensor, "b k"]:
    """Return standard Gumbel numbers, one for each (seed and cell by the row's key, code), on their device.

    argmax(log p + gumbel) over codes is a draw from p. Numbers lie in -3.61 .. 36.74: they are made from
    52 random bits, so that neither end of (0, 1) can be hit.
    """
    bits = _mix((codes * STRIDE).add_(keys[:, None])).bitwise_right_shift_(12).bitwise_and_(2**52 - 1)
    uniform = bits.double().add_(0.5).mul_(2.0**-52)  # exact: 53 bits hold it
    return uniform.log_().neg_().log_().neg_().float()


def _mix(bits: Tensor) -> Tensor:
    """Return a bijection of 64 bits in which every input bit turns over half of the output bits."""
    for places, factor in ((30, FIRST), (27, SECOND)):
        high = (bits >> places).bitwise_and_(2 ** (64 - places) - 1)  # torch's >> copies the sign
        bits = high.bitwise_xor_(bits).mul_(factor)
    return (bits >> 31).bitwise_and_(2**33 - 1).bitwise_xor_(bits)
