"""The networks of MaskGIT's tokenizer, as its PyTorch ports have them (arXiv:2202.04200).

Modules are named as in those ports, so that their state dicts fit key by key. Axes as in blocks.py.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from smalti.tokenizer.blocks import convolve_doubled, norm, silu
from smalti.tokenizer.settings import MaskgitSettings


class MaskgitEncoder(nn.Module):
    """Levels from fine to coarse, then the middle."""

    def __init__(self, network: MaskgitSettings, moments: int = 1) -> None:
        """moments: numbers for each latent channel, 2 for a mean and a log-variance."""
        super().__init__()
        widths = network.widths
        self.conv_in = nn.Conv2d(network.in_channels, network.width, 3, padding=1, bias=False)
        self.down = nn.ModuleList(
            EncoderLevel(network, old, width, is_last=level == len(widths))
            for level, (old, width) in enumerate(zip((network.width, *widths), widths, strict=False), 1)
        )
        self.mid = residual_blocks(network, widths[-1], widths[-1])
        self.norm_out = norm(widths[-1], network.groups)
        self.conv_out = nn.Conv2d(widths[-1], network.code_dim * moments, 1)

    def forward(self, images: Float[Tensor, "b c H W"]) -> Float[Tensor, "b d h w"]:
        """Return latents of images in the range that the weights know."""
        x = self.conv_in(images)
        for part in (*self.down, *self.mid):
            x = part(x)
        return self.conv_out(silu(self.norm_out(x)))


class MaskgitDecoder(nn.Module):
    """The middle, then levels from coarse to fine."""

    def __init__(self, network: MaskgitSettings) -> None:
        super().__init__()
        widths = network.widths
        self.conv_in = nn.Conv2d(network.code_dim, widths[-1], 3, padding=1)
        self.mid = residual_blocks(network, widths[-1], widths[-1])
        self.up = nn.ModuleList(
            DecoderLevel(network, old, width, is_first=level == 0)
            for level, (old, width) in enumerate(zip((*widths[1:], widths[-1]), widths, strict=True))
        )
        self.norm_out = norm(widths[0], network.groups)
        self.conv_out = nn.Conv2d(widths[0], network.out_channels, 3, padding=1)

    def forward(self, latents: Float[Tensor, "b d h w"]) -> Float[Tensor, "b c H W"]:
        """Return images in the range that the weights know, not clipped."""
        x = self.conv_in(latents)
        for part in (*self.mid, *reversed(self.up)):  # kept by the encoder's numbers, run from coarse to fine
            x = part(x)
        return self.conv_out(silu(self.norm_out(x)))


class EncoderLevel(nn.Module):
    """Residual blocks; all but the coarsest level halve the sides."""

    def __init__(self, network: MaskgitSettings, width_in: int, width: int, *, is_last: bool) -> None:
        super().__init__()
        self.block = residual_blocks(network, width_in, width)
        self.is_last = is_last

    def forward(self, x: Float[Tensor, "b e h w"]) -> Float[Tensor, "b e_out y x"]:
        """Return grid of this level to grid of the next."""
        for block in self.block:
            x = block(x)
        return x if self.is_last else F.avg_pool2d(x, 2)


class DecoderLevel(nn.Module):
    """As many residual blocks as in the encoder's level; all but the finest level double the sides."""

    def __init__(self, network: MaskgitSettings, width_in: int, width: int, *, is_first: bool) -> None:
        super().__init__()
        self.block = residual_blocks(network, width_in, width)
        self.upsample_conv = None if is_first else nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Float[Tensor, "b e h w"]) -> Float[Tensor, "b e_out y x"]:
        """Return grid of the coarser level to grid of this one, doubled."""
        for block in self.block:
            x = block(x)
        if self.upsample_conv is None:
            return x
        return convolve_doubled(self.upsample_conv, x)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions without biases, beside the input where the width stays.

    Where it changes, a 1x1 convolution of what the two give is added in place of the input, which is lost:
    a slip of the original that its weights have learned to live with.
    """

    is_block = True  # see strategy.py

    def __init__(self, network: MaskgitSettings, width_in: int, width: int) -> None:
        super().__init__()
        self.norm1 = norm(width_in, network.groups)
        self.conv1 = nn.Conv2d(width_in, width, 3, padding=1, bias=False)
        self.norm2 = norm(width, network.groups)
        self.dropout = nn.Dropout(network.dropout)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.nin_shortcut = None if width_in == width else nn.Conv2d(width, width, 1, bias=False)

    def forward(self, x: Float[Tensor, "b e_in h w"]) -> Float[Tensor, "b e h w"]:
        """Return grid in, grid out."""
        added = self.conv1(silu(self.norm1(x)))
        added = self.conv2(self.dropout(silu(self.norm2(added))))
        return added + (x if self.nin_shortcut is None else self.nin_shortcut(added))


def residual_blocks(network: MaskgitSettings, width_in: int, width: int) -> nn.ModuleList:
    """Return the residual blocks of a level; the first changes the width."""
    widths = [width_in] + [width] * (network.blocks - 1)
    return nn.ModuleList(ResidualBlock(network, old, width) for old in widths)
