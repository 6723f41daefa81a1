"""The decoder: a grid of latents to images."""

from jaxtyping import Float
from torch import Tensor, nn

from smalti.tokenizer.blocks import Middle, Upsample, attention_blocks, norm, residual_blocks, run_level, silu
from smalti.tokenizer.settings import NetworkSettings


class Decoder(nn.Module):
    """The middle, then levels from coarse to fine."""

    def __init__(self, network: NetworkSettings) -> None:
        super().__init__()
        widths = network.widths
        self.conv_in = nn.Conv2d(network.latent_channels, widths[-1], 3, padding=1)
        self.mid = Middle(network)
        self.up = nn.ModuleList(DecoderLevel(network, level) for level in range(len(widths)))
        self.norm_out = norm(widths[0], network.groups)
        self.conv_out = nn.Conv2d(widths[0], network.out_channels, 3, padding=1)

    def forward(self, latents: Float[Tensor, "b z h w"]) -> Float[Tensor, "b c H W"]:
        """Return images in the range that the weights know, not clipped."""
        x = self.mid(self.conv_in(latents))
        for level in reversed(self.up):  # kept by the encoder's numbers, run from coarse to fine
            x = level(x)
        return self.conv_out(silu(self.norm_out(x)))


class DecoderLevel(nn.Module):
    """One block more than the encoder's level has, and all but the finest level double the sides."""

    def __init__(self, network: NetworkSettings, level: int) -> None:
        super().__init__()
        width, blocks = network.widths[level], network.blocks + 1
        width_in = network.widths[min(level + 1, len(network.widths) - 1)]
        self.block = residual_blocks(network, blocks, width_in, width)
        self.all_after_each = network.attention == "all_after_each"
        self.attn = attention_blocks(network, blocks, level)
        self.upsample = Upsample(width, with_conv=network.resample_with_conv) if level else nn.Identity()

    def forward(self, x: Float[Tensor, "b e h w"]) -> Float[Tensor, "b e_out y x"]:
        """Return grid of the coarser level to grid of this one, doubled."""
        return self.upsample(run_level(self.block, list(self.attn), x, all_after_each=self.all_after_each))
