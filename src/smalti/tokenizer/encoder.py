"""The encoder: images to a grid of latents."""

from jaxtyping import Float
from torch import Tensor, nn

from smalti.tokenizer.blocks import (
    Downsample,
    Middle,
    attention_blocks,
    norm,
    residual_blocks,
    run_level,
    silu,
)
from smalti.tokenizer.settings import NetworkSettings


class Encoder(nn.Module):
    """Levels from fine to coarse, then the middle."""

    def __init__(self, network: NetworkSettings, moments: int = 1) -> None:
        """moments: numbers for each latent channel, 2 for a mean and a log-variance."""
        super().__init__()
        widths = network.widths
        self.conv_in = nn.Conv2d(network.in_channels, network.width, 3, padding=1)
        self.down = nn.ModuleList(EncoderLevel(network, level) for level in range(len(widths)))
        self.mid = Middle(network)
        self.norm_out = norm(widths[-1], network.groups)
        self.conv_out = nn.Conv2d(widths[-1], network.latent_channels * moments, 3, padding=1)

    def forward(self, images: Float[Tensor, "b c H W"]) -> Float[Tensor, "b z h w"]:
        """Return latents of images in the range that the weights know; z is latent_channels times moments."""
        x = self.conv_in(images)
        for level in self.down:
            x = level(x)
        return self.conv_out(silu(self.norm_out(self.mid(x))))


class EncoderLevel(nn.Module):
    """Residual blocks, attention after each where wanted, and all but the coarsest level halve the sides."""

    def __init__(self, network: NetworkSettings, level: int) -> None:
        super().__init__()
        width = network.widths[level]
        width_in = network.widths[level - 1] if level else network.width
        is_last = level == len(network.widths) - 1
        self.block = residual_blocks(network, network.blocks, width_in, width)
        self.all_after_each = network.attention == "all_after_each"
        self.attn = attention_blocks(network, network.blocks, level)
        self.downsample = (
            nn.Identity() if is_last else Downsample(width, with_conv=network.resample_with_conv)
        )

    def forward(self, x: Float[Tensor, "b e h w"]) -> Float[Tensor, "b e_out y x"]:
        """Return grid of this level to grid of the next."""
        return self.downsample(run_level(self.block, list(self.attn), x, all_after_each=self.all_after_each))
