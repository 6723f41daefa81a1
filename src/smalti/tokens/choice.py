"""Which code is drawn: temperature, filters, and the draw itself."""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from smalti.config import settings
from smalti.errors import UserError
from smalti.tokens import noise


@settings
class Choice:
    """How a code is chosen from its logits. Each filter works on what the one before it left.

    Raises UserError for a value out of its range. Greedy choice is top_k=1.
    """

    temperature: float = 1.0  # logits are divided by it first
    top_k: int | None = None  # keep the k best codes
    top_p: float | None = None  # keep the smallest set of best codes that holds this share of what is left
    min_p: float | None = None  # keep codes with at least this share of the best one's probability

    def __post_init__(self) -> None:
        checks = (
            (0 < self.temperature < math.inf, "temperature", "a number above 0", "1.0"),
            (self.top_k is None or self.top_k >= 1, "top_k", "a number from 1", "1, the best code"),
            (self.top_p is None or 0 < self.top_p <= 1, "top_p", "a share in (0, 1]", "0.9"),
            (self.min_p is None or 0 <= self.min_p <= 1, "min_p", "a share in [0, 1]", "0.05"),
        )
        for fits, name, expected, example in checks:
            if not fits:
                got = str(getattr(self, name))
                raise UserError(f"{expected} for {name}", got, f"for example {name}={example}")


def choose(logits: Float[Tensor, "b v"], keys: Int64[Tensor, " b"], how: Choice) -> Int64[Tensor, " b"]:
    """Draw one code a row: argmax of log p + Gumbel noise is a draw from p. Never waits for the device.

    logits: log p up to a constant. keys: `noise.keys` of the image's seed and the cell's row-major number on
    the canvas. The noise belongs to (seed, cell, code), so an image depends neither on its neighbours in the
    batch nor on the order in which cells are drawn.
    """
    kept, codes = keep(logits, how)
    if kept.shape[1] == 1:
        return codes[:, 0]
    best = (kept + noise.gumbel(keys, codes)).argmax(-1, keepdim=True)
    return codes.gather(-1, best)[:, 0]


def keep(logits: Float[Tensor, "b v"], how: Choice) -> tuple[Float[Tensor, "b k"], Int64[Tensor, "b k"]]:
    """Return the codes that may be drawn, and their logits over the temperature in fp32.

    These are -inf where a code may not be drawn after all. Temperature, top-k, top-p, min-p, in this order as
    in the 2021 code. Unlike there, exactly k codes survive top-k: of those that tie with the k-th some are
    dropped, and top_k=1 is argmax (the lowest code).
    """
    logits = logits.float() / how.temperature
    logits, codes = _best(logits, how)
    if how.top_p is not None and how.top_p < 1:  # 1 keeps all, whatever a sum of shares rounds to
        shares = logits.softmax(-1)
        before = shares.cumsum(-1) - shares  # the share of better codes: 0 for the best, which always stays
        logits = logits.masked_fill(before >= how.top_p, -math.inf)
    if how.min_p:
        least = logits.amax(-1, keepdim=True) + math.log(how.min_p)
        logits = logits.masked_fill(logits < least, -math.inf)
    return logits, codes


def _best(logits: Tensor, how: Choice) -> tuple[Tensor, Tensor]:
    """Return logits with their codes.

    The k best, from the best on; all in order if no filter needs the ranks.
    """
    if how.top_k == 1:
        best, codes = logits.max(-1, keepdim=True)
    elif how.top_k is not None and how.top_k < logits.shape[1]:
        best, codes = logits.topk(how.top_k)
    elif how.top_p is not None:
        best, codes = logits.sort(dim=-1, descending=True, stable=True)
    else:
        best, codes = logits, torch.arange(logits.shape[1], device=logits.device).expand(logits.shape)
    return best, codes
