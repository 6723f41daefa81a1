"""What a user chooses about a tokenizer."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Tag

from smalti.config import Count, Few, Positive, Share, settings
from smalti.errors import UserError
from smalti.quantizers import QuantizerSettings
from smalti.quantizers.protocol import CommonSettings
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.reading.labels import LabelReading
from smalti.reading.pixels import PixelReading

ImageRange = Literal["-1..1", "0..1"]


class Levels:
    """What the levels of every kind of network tell, coarser by 2 from each to the next."""

    width: int
    multipliers: tuple[int, ...]
    groups: int

    @property
    def widths(self) -> tuple[int, ...]:
        """Return channels of each level."""
        return tuple(self.width * multiplier for multiplier in self.multipliers)

    @property
    def factor(self) -> int:
        """Return pixels a cell side."""
        return 1 << (len(self.multipliers) - 1)

    def check_widths(self) -> None:
        """UserError for no levels, or for a level whose channels do not fall into groups."""
        if not self.multipliers:
            raise UserError("multipliers with one number a level", "none", "multipliers=[1,1,2,2,4]")
        if any(width % self.groups for width in self.widths):
            common = math.gcd(self.groups, *self.widths)
            raise UserError(
                f"widths that are multiples of groups={self.groups}",
                f"{', '.join(map(str, self.widths))} (width={self.width} times multipliers)",
                f"groups={common}, or another width",
            )


@settings
class NetworkSettings(Levels):
    """The networks of 2021. Levels are counted from the image down; each but the last halves the sides."""

    kind: Literal["vqgan"] = "vqgan"
    in_channels: Positive = 3
    out_channels: Positive = 3
    width: Positive = 128  # channels of a level: this times the level's multiplier
    multipliers: tuple[Positive, ...] = (1, 1, 2, 2, 4)  # one a level
    blocks: Few = 2  # residual blocks a level; the decoder has one more
    attention_levels: tuple[Count, ...] = (4,)  # levels, from 0, each of whose blocks attention follows
    # a level's attention blocks: one after each residual block, or all of them after each (dalle-mini's slip)
    attention: Literal["after_each", "all_after_each"] = "after_each"
    mid_attention: bool = True  # attention between the two blocks at the coarsest grid
    latent_channels: Positive = 256  # what the encoder gives and the decoder takes
    code_dim: Positive = 256  # of an entry of the codebook; where the quantizer settles it, that
    dropout: Share = 0.0  # in residual blocks
    resample_with_conv: bool = True  # else means of 2 x 2 down, plain repetition up
    groups: Positive = 32  # of each group norm; every width is a multiple of it

    def __post_init__(self) -> None:
        self.check_widths()
        far = [level for level in self.attention_levels if level >= len(self.multipliers)]
        if far:
            last = len(self.multipliers) - 1
            raise UserError(
                f"attention_levels from 0 to {last}",
                f"{far[0]}",
                f"attention_levels=[{last}], or [] for none",
            )


@settings
class MaskgitSettings(Levels):
    """The networks of MaskGIT's tokenizer (arXiv:2202.04200): no attention, few biases, 2 x 2 means down."""

    kind: Literal["maskgit"] = "maskgit"
    in_channels: Positive = 3
    out_channels: Positive = 3
    width: Positive = 128  # channels of a level: this times the level's multiplier
    multipliers: tuple[Positive, ...] = (1, 1, 2, 2, 4)  # one a level
    blocks: Few = 2  # residual blocks a level, and between encoder or decoder and the coarsest level
    code_dim: Positive = 256  # of an entry of the codebook, and of what encoder and decoder give and take
    dropout: Share = 0.0  # in residual blocks
    groups: Positive = 32  # of each group norm; every width is a multiple of it

    def __post_init__(self) -> None:
        self.check_widths()

    @property
    def latent_channels(self) -> int:
        """Return what the encoder gives and the decoder takes: entries as they are."""
        return self.code_dim


def _kind(network: Any) -> str:
    """Return the kind of settings or a mapping.

    Model folders and recipes from before there was a choice do not say it.
    """
    kind = network.get("kind", "vqgan") if isinstance(network, Mapping) else getattr(network, "kind", "vqgan")
    return str(kind)


AnyNetworkSettings = Annotated[
    Annotated[NetworkSettings, Tag("vqgan")] | Annotated[MaskgitSettings, Tag("maskgit")],
    Discriminator(_kind),
]


def fitted(
    network: NetworkSettings | MaskgitSettings, quantizer: CommonSettings
) -> NetworkSettings | MaskgitSettings:
    """Return the networks with the quantizer's code_dim; UserError where another one is asked for."""
    wanted = quantizer.code_dim or network.code_dim
    if network.code_dim not in (wanted, NetworkSettings.code_dim):  # the default is none that was asked for
        expected, got = (
            f"network.code_dim={wanted}, as quantizer.kind={quantizer.kind} has it",
            network.code_dim,
        )
        raise UserError(expected, str(got), f"leave network.code_dim out, or network.code_dim={wanted}")
    return replace(network, code_dim=wanted)


@settings
class TokenizerSettings:
    """A tokenizer: its networks, its quantizer, and the range of images that its weights know."""

    network: AnyNetworkSettings = NetworkSettings()
    quantizer: QuantizerSettings = VectorQuantizerSettings()
    image_range: ImageRange = "-1..1"  # inside; at the interface images are in [-1, 1]
    # segmentation: a channel a class, 0 or 1, in; the classes' logits out
    content: Literal["image", "segmentation"] = "image"
    pixels: PixelReading | None = None  # of images: how their files are read, where not as ever
    labels: LabelReading | None = None  # of segmentations: how their files are read, where not as they are

    def __post_init__(self) -> None:
        object.__setattr__(self, "network", fitted(self.network, self.quantizer))
        if self.content == "segmentation" and self.image_range != "-1..1":
            expected = "image_range of images only (content=segmentation has none)"
            raise UserError(expected, self.image_range, 'leave image_range at "-1..1"')
