"""A quantizer of which some entries only count: codes are positions in a list of used ones."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from smalti.config import Count, Positive, settings
from smalti.errors import UserError
from smalti.quantizers.ema import EmaQuantizer, EmaSettings
from smalti.quantizers.gumbel import GumbelQuantizer, GumbelSettings
from smalti.quantizers.protocol import CommonSettings, Quantized, Quantizer
from smalti.quantizers.vq import VectorQuantizer, VectorQuantizerSettings
from smalti.schema import Shelf

INNER: dict[str, tuple[type[Any], type[Any]]] = {  # those that published models renumber
    "vq": (VectorQuantizerSettings, VectorQuantizer),
    "gumbel": (GumbelSettings, GumbelQuantizer),
    "ema": (EmaSettings, EmaQuantizer),
}
InnerSettings = Annotated[VectorQuantizerSettings | GumbelSettings | EmaSettings, Shelf(INNER, default="vq")]


@settings
class RemappedSettings(CommonSettings):
    """The quantizer inside, how many of its entries are used, and what the others become."""

    kind: Literal["remapped"] = "remapped"
    inner: InnerSettings = VectorQuantizerSettings()
    used: Positive = 1024  # entries
    # of an entry that is not used. random: a used one, by a hash of entry and cell; extra: one position more,
    # which stands for all of them and decodes as the first used entry; a number: that position
    unknown: Literal["random", "extra"] | Count = "random"

    def __post_init__(self) -> None:
        if self.used > self.inner.codebook_size:
            size = self.inner.codebook_size
            raise UserError(
                f"quantizer.used up to {size} (inner.codebook_size)", str(self.used), f"used={size}"
            )
        if isinstance(self.unknown, int) and self.unknown >= self.used:
            expected = f"quantizer.unknown below {self.used} (used), random or extra"
            raise UserError(expected, str(self.unknown), "quantizer.unknown=random")

    def weights(self, code_dim: int) -> Mapping[str, int]:
        """See CommonSettings."""
        return {f"inner.{key}": count for key, count in self.inner.weights(code_dim).items()}

    def begun(self) -> "RemappedSettings":
        """See CommonSettings."""
        return replace(self, inner=self.inner.begun())


class RemappedQuantizer(Quantizer):
    """Renumbers the codes of the quantizer inside, whose latents and loss stay what they are.

    A Gumbel quantizer chooses among the used entries alone; the others find the nearest of all entries.
    """

    inner: Quantizer
    used: Tensor  # u, the inner codes by position; whoever knows which they are fills it

    def __init__(self, settings: RemappedSettings, *, dim: int) -> None:
        super().__init__()
        self.settings = settings
        self.codebook_size = settings.used + (settings.unknown == "extra")
        self.inner = INNER[settings.inner.kind][1](settings.inner, dim=dim)
        self.register_buffer("used", torch.arange(settings.used))

    def forward(self, latents: Float[Tensor, "b d h w"], step: int = 0) -> Quantized:
        """Quantize; codes are positions among the used entries."""
        found = self.inner.choose(latents, step, self.used)
        assert found.codes is not None, "every member inside has a codebook"
        return Quantized(
            latents=found.latents,
            codes=self.positions(found.codes),
            loss=found.loss,
            statistics=found.statistics,
        )

    def positions(self, codes: Int64[Tensor, "b h w"]) -> Int64[Tensor, "b h w"]:
        """Return inner codes to positions; the first one where an entry is listed twice."""
        size = self.settings.inner.codebook_size
        table = self.used.new_full((size,), len(self.used))
        order = torch.arange(len(self.used), device=self.used.device)
        table = table.scatter_reduce(0, self.used, order, "amin")
        found = table[codes]
        return torch.where(found < len(self.used), found, self._unknown(codes))

    def entries(self, positions: Int64[Tensor, "b h w"]) -> Int64[Tensor, "b h w"]:
        """Return positions to inner codes."""
        return self.used[positions.where(positions < len(self.used), 0)]

    def lookup(self, codes: Int64[Tensor, "b h w"]) -> Float[Tensor, "b d h w"]:
        """Return entries of positions, in fp32."""
        return self.inner.lookup(self.entries(codes))

    def start(self, latents: Float[Tensor, "b d h w"], generator: torch.Generator) -> None:
        """Do as the quantizer inside."""
        self.inner.start(latents, generator)

    def after_step(self, latents: Float[Tensor, "b d h w"], generator: torch.Generator) -> None:
        """Do as the quantizer inside."""
        self.inner.after_step(latents, generator)

    def _unknown(self, codes: Tensor) -> Tensor:
        """Return positions for entries that are not used, one for each cell."""
        unknown = self.settings.unknown
        if isinstance(unknown, int):
            return torch.full_like(codes, unknown)
        if unknown == "extra":
            return torch.full_like(codes, len(self.used))
        _, height, width = codes.shape
        cells = torch.arange(height * width, device=codes.device).view(height, width)
        return _scatter(codes, cells) % len(self.used)


def _scatter(codes: Tensor, cells: Tensor) -> Tensor:
    """Return a number 0 .. 2^31 - 1 for each code and its cell.

    The 32-bit finaliser of MurmurHash3, in int64.
    """
    mask = 2**32 - 1
    bits = (codes * 0x9E3779B1 + cells * 0x85EBCA77) & mask
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        bits = ((bits ^ (bits >> shift)) * factor) & mask  # wraps below 2^64, whose lowest 32 bits are right
    return (bits ^ (bits >> 16)) >> 1
