"""Finite scalar quantizer: each channel is rounded to one of a few levels; no codebook is learned."""

from math import prod
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Le, MinLen
from jaxtyping import Float, Int64
from pydantic import BeforeValidator
from torch import Tensor

from smalti.config import settings
from smalti.errors import UserError
from smalti.quantizers.protocol import CommonSettings, Quantized, Quantizer

PUBLISHED = {  # codebook size of a VQGAN -> levels that take its place (arXiv:2309.15505, table 1)
    256: (8, 6, 5),  # 240 codes
    1024: (8, 5, 5, 5),  # 1,000
    4096: (7, 5, 5, 5, 5),  # 4,375
    16384: (8, 8, 8, 6, 5),  # 15,360
    65536: (8, 8, 8, 5, 5, 5),  # 64,000
}
MOST = 2**24  # codes: how often each is used is counted


def _listed(given: Any) -> Any:
    """Return the published levels for a number, a list as it is; UserError for anything else."""
    if isinstance(given, list | tuple):
        return given
    if not isinstance(given, int) or given not in PUBLISHED:
        expected = f"quantizer.levels as a list, or one of {', '.join(map(str, PUBLISHED))}"
        raise UserError(expected, str(given), "quantizer.levels='[8, 5, 5, 5]'")
    return PUBLISHED[given]


Levels = Annotated[tuple[Annotated[int, Ge(2), Le(MOST)], ...], MinLen(1), BeforeValidator(_listed)]


@settings
class FsqSettings(CommonSettings):
    """The levels of each channel: code_dim is how many there are, their product the number of codes."""

    kind: Literal["fsq"] = "fsq"
    # a number a channel, 5 or more being best; or 256, 1024, 4096, 16384 or 65536 for the paper's list
    levels: Levels = PUBLISHED[1024]

    def __post_init__(self) -> None:
        if prod(self.levels) > MOST:
            got = f"{prod(self.levels):,}, the product of {list(self.levels)}"
            raise UserError(f"quantizer.levels for at most {MOST:,} codes", got, "quantizer.levels=65536")

    @property
    def code_dim(self) -> int:
        """See CommonSettings: a channel for each level."""
        return len(self.levels)

    def told(self) -> str:
        """See CommonSettings."""
        return f"fsq of levels {' '.join(map(str, self.levels))}"


class FsqQuantizer(Quantizer):
    """Channel i is squeezed into an interval of levels[i] whole numbers, and rounded (arXiv:2309.15505).

    With h = (L - 1) (1 + 1/1000) / 2 and o = 1/2 for an even L, else 0: b = h tanh(z + atanh(o / h)) - o,
    which is 0 for z = 0. Entries are round(b) / floor(L / 2), from -1 to 1 (for an even L to 1 - 2 / L).
    A code is the number whose digits are round(b) + floor(L / 2), that of channel 0 the lowest.
    So vector-quantize-pytorch and Cosmos have it. The paper's listing has tan and 1 - 1/1000, which gives
    one latent in a hundred a neighbouring code, and each code the same entry. Of 2 levels theirs parts at
    z = -3.8, ours at 0.
    """

    digits: Tensor  # d, levels of each channel
    basis: Tensor  # d, what a digit of each counts

    def __init__(self, settings: FsqSettings, *, dim: int) -> None:
        super().__init__()
        assert dim == settings.code_dim, "a channel for each level"
        self.settings, self.codebook_size = settings, prod(settings.levels)
        levels = settings.levels
        basis = [prod(levels[:channel]) for channel in range(dim)]
        self.register_buffer("digits", torch.tensor(levels), persistent=False)
        self.register_buffer("basis", torch.tensor(basis), persistent=False)

    def forward(self, latents: Float[Tensor, "b d h w"], step: int = 0) -> Quantized:
        """Quantize, in fp32; latents of the result are entries exactly, with the gradient of b."""
        z = latents.float().movedim(1, -1)  # b h w d
        half = (self.digits - 1) * 1.001 / 2
        offset = torch.where(self.digits % 2 == 0, 0.5, 0.0)
        shift = torch.where(self.digits == 2, 0.0, (offset / half).atanh())
        bounded = half * (z + shift).tanh() - offset
        whole, middle = bounded.detach().round(), self.digits // 2
        codes = ((whole.long() + middle) * self.basis).sum(-1)
        # straight-through; b - sg[b] is exactly 0, so that decode(codes) sees what training saw
        passed = (whole + (bounded - bounded.detach())) / middle
        return Quantized(latents=passed.movedim(-1, 1), codes=codes, loss=z.new_zeros(()))

    def lookup(self, codes: Int64[Tensor, "b h w"]) -> Float[Tensor, "b d h w"]:
        """Return entries of codes, in fp32."""
        middle = self.digits // 2
        whole = codes[..., None] // self.basis % self.digits - middle
        return (whole.float() / middle).movedim(-1, 1)
