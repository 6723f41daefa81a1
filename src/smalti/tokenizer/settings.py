"""What a user chooses about a tokenizer."""

import math
from typing import Literal

from smalti.config import Count, Positive, Share, settings
from smalti.errors import UserError
from smalti.quantizers import QuantizerSettings
from smalti.quantizers.vq import VectorQuantizerSettings


@settings
class NetworkSettings:
    """Encoder and decoder. Levels are counted from the picture down; each but the last halves the sides."""

    in_channels: Positive = 3
    out_channels: Positive = 3
    width: Positive = 128  # channels of a level: this times the level's multiplier
    multipliers: tuple[Positive, ...] = (1, 1, 2, 2, 4)  # one a level
    blocks: Positive = 2  # residual blocks a level; the decoder has one more
    attention_levels: tuple[Count, ...] = (4,)  # levels, from 0, each of whose blocks attention follows
    mid_attention: bool = True  # attention between the two blocks at the coarsest grid
    latent_channels: Positive = 256  # what the encoder gives and the decoder takes
    code_dim: Positive = 256  # of an entry of the codebook
    dropout: Share = 0.0  # in residual blocks
    resample_with_conv: bool = True  # else means of 2 x 2 down, plain repetition up
    groups: Positive = 32  # of each group norm; every width is a multiple of it

    def __post_init__(self) -> None:
        if not self.multipliers:
            raise UserError("multipliers with one number a level", "none", "multipliers=[1,1,2,2,4]")
        far = [level for level in self.attention_levels if level >= len(self.multipliers)]
        if far:
            last = len(self.multipliers) - 1
            raise UserError(
                f"attention_levels from 0 to {last}",
                f"{far[0]}",
                f"attention_levels=[{last}], or [] for none",
            )
        if any(width % self.groups for width in self.widths):
            common = math.gcd(self.groups, *self.widths)
            raise UserError(
                f"widths that are multiples of groups={self.groups}",
                f"{', '.join(map(str, self.widths))} (width={self.width} times multipliers)",
                f"groups={common}, or another width",
            )

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(self.width * multiplier for multiplier in self.multipliers)

    @property
    def factor(self) -> int:
        """Pixels a cell side."""
        return 1 << (len(self.multipliers) - 1)


@settings
class TokenizerSettings:
    """A tokenizer: its networks, its quantizer, and the range of pictures that its weights know."""

    network: NetworkSettings = NetworkSettings()
    quantizer: QuantizerSettings = VectorQuantizerSettings()
    image_range: Literal["-1..1", "0..1"] = "-1..1"  # inside; at the interface pictures are in [-1, 1]
