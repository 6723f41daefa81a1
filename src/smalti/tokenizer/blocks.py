"""The parts that encoder and decoder are made of.

Modules are named as in the 2021 code, so that its state dicts fit key by key. Axes: b batch, e width,
h w grid of the level.
"""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from smalti.tokenizer.settings import NetworkSettings

LARGE = 32 * 32  # cells of a grid from which doubling and convolving in one pays


def norm(width: int, groups: int) -> nn.GroupNorm:
    """Return group norm with the 2021 code's epsilon: with torch's 1e-5 its models give other codes."""
    return nn.GroupNorm(groups, width, eps=1e-6)


def silu(x: Float[Tensor, "b e h w"]) -> Float[Tensor, "b e h w"]:
    """Return x sigmoid(x), in the memory of x where no gradient wants it: x is the caller's alone.

    Large results cost a CPU more by the new memory that they lie in than by their numbers: at 256 pixels and
    128 channels 19 ms in new memory, 6 ms in place.
    """
    return F.silu(x, inplace=not torch.is_grad_enabled())


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside the input, which a 1x1 convolution brings to another width if need be."""

    is_block = True  # see strategy.py

    def __init__(self, width_in: int, width: int, *, groups: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = norm(width_in, groups)
        self.conv1 = nn.Conv2d(width_in, width, 3, padding=1)
        self.norm2 = norm(width, groups)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.nin_shortcut = nn.Identity() if width_in == width else nn.Conv2d(width_in, width, 1)

    def forward(self, x: Float[Tensor, "b e_in h w"]) -> Float[Tensor, "b e h w"]:
        """Return input plus what the convolutions add."""
        added = self.conv1(silu(self.norm1(x)))
        added = self.conv2(self.dropout(silu(self.norm2(added))))
        return added.add_(self.nin_shortcut(x))


class AttentionBlock(nn.Module):
    """One head in which every place of the grid sees every place."""

    is_block = True  # see strategy.py

    def __init__(self, width: int, *, groups: int) -> None:
        super().__init__()
        self.norm = norm(width, groups)
        self.q = nn.Conv2d(width, width, 1)
        self.k = nn.Conv2d(width, width, 1)
        self.v = nn.Conv2d(width, width, 1)
        self.proj_out = nn.Conv2d(width, width, 1)

    def forward(self, x: Float[Tensor, "b e h w"]) -> Float[Tensor, "b e h w"]:
        """Return input plus the attended."""
        normed = self.norm(x)
        q, k, v = (conv(normed).flatten(2).mT[:, None] for conv in (self.q, self.k, self.v))  # b 1 n e
        attended = F.scaled_dot_product_attention(q, k, v)  # b 1 n e; scaled by e ** -0.5
        return x + self.proj_out(attended[:, 0].mT.reshape(x.shape))


class Downsample(nn.Module):
    """Half the sides."""

    def __init__(self, width: int, *, with_conv: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2) if with_conv else None

    def forward(self, x: Float[Tensor, "b e h w"]) -> Float[Tensor, "b e y x"]:
        """Return sides h // 2, w // 2."""
        if self.conv is None:
            return F.avg_pool2d(x, 2)
        return self.conv(F.pad(x, (0, 1, 0, 1)))  # right and bottom only, as in the 2021 code


class Upsample(nn.Module):
    """Twice the sides."""

    def __init__(self, width: int, *, with_conv: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1) if with_conv else None

    def forward(self, x: Float[Tensor, "b e h w"]) -> Float[Tensor, "b e y x"]:
        """Return sides 2 h, 2 w."""
        return doubled(x) if self.conv is None else convolve_doubled(self.conv, x)


class Middle(nn.Module):
    """Two residual blocks, and attention between them, at the coarsest grid."""

    def __init__(self, network: NetworkSettings) -> None:
        super().__init__()
        width, groups = network.widths[-1], network.groups
        self.block_1 = ResidualBlock(width, width, groups=groups, dropout=network.dropout)
        self.attn_1 = AttentionBlock(width, groups=groups) if network.mid_attention else nn.Identity()
        self.block_2 = ResidualBlock(width, width, groups=groups, dropout=network.dropout)

    def forward(self, x: Float[Tensor, "b e h w"]) -> Float[Tensor, "b e h w"]:
        """Return grid in, grid out."""
        return self.block_2(self.attn_1(self.block_1(x)))


def residual_blocks(network: NetworkSettings, num: int, width_in: int, width: int) -> nn.ModuleList:
    """Return the residual blocks of a level; the first changes the width."""
    widths = [width_in] + [width] * (num - 1)
    groups, dropout = network.groups, network.dropout
    return nn.ModuleList(ResidualBlock(old, width, groups=groups, dropout=dropout) for old in widths)


def attention_blocks(network: NetworkSettings, num: int, level: int) -> nn.ModuleList:
    """Return the attention after each residual block of a level: num blocks or, where there is none, none."""
    num = num if level in network.attention_levels else 0
    return nn.ModuleList(AttentionBlock(network.widths[level], groups=network.groups) for _ in range(num))


def run_level(
    blocks: Iterable[nn.Module], attentions: Sequence[nn.Module], x: Tensor, *, all_after_each: bool
) -> Tensor:
    """Run residual blocks in turn, each followed by its attention, or by all of the level's."""
    for number, block in enumerate(blocks):
        x = block(x)
        for attention in attentions if all_after_each else attentions[number : number + 1]:
            x = attention(x)
    return x


def doubled(x: Float[Tensor, "b e h w"]) -> Float[Tensor, "b e y x"]:
    """Return each cell four times."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def convolve_doubled(conv: nn.Conv2d, x: Float[Tensor, "b e h w"]) -> Float[Tensor, "b o y x"]:
    """Return conv(doubled(x)) for a 3x3 convolution with padding 1; in one where that is faster.

    Where a doubled grid shows one cell to several weights their sum can stand: 4 products a value in place of
    9. In fp32 on a CPU that takes half the time from 32 x 32 cells on; on smaller grids, and in bf16 on most,
    torch's transposed convolution loses more than it saves.
    """
    in_fp32 = x.dtype == torch.float32 and not torch.is_autocast_enabled(x.device.type)
    is_cpu = x.device.type == "cpu" and not torch.compiler.is_exporting()  # a graph is for all sizes
    if in_fp32 and is_cpu and x.shape[2] * x.shape[3] >= LARGE:
        return F.conv_transpose2d(x, _doubling(conv.weight), conv.bias, stride=2, padding=1)
    return conv(doubled(x))


def _doubling(weight: Float[Tensor, "o e 3 3"]) -> Float[Tensor, "e o 4 4"]:
    """Return the kernel of the transposed convolution: each weight on the four cells that it can meet."""
    spread = F.pad(weight, (1, 1, 1, 1))  # o e 5 5
    rows = spread[:, :, 1:] + spread[:, :, :-1]
    return (rows[..., 1:] + rows[..., :-1]).flip(2, 3).transpose(0, 1)
