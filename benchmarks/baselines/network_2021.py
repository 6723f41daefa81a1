"""The autoencoder of 2021 as its code computes it: plain modules, attention as two products.

Names of tensors are those of the 2021 code, which smalti keeps: its state dicts fit. Written from a
description, for measuring against; kept plain on purpose.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smalti.tokenizer import NetworkSettings


def swish(x: Tensor) -> Tensor:
    """x sigmoid(x), in two operations."""
    return x * torch.sigmoid(x)


def norm(width: int, groups: int) -> nn.GroupNorm:
    return nn.GroupNorm(groups, width, eps=1e-6)


class ResidualBlock(nn.Module):
    def __init__(self, width_in: int, width: int, groups: int) -> None:
        super().__init__()
        self.norm1 = norm(width_in, groups)
        self.conv1 = nn.Conv2d(width_in, width, 3, padding=1)
        self.norm2 = norm(width, groups)
        self.dropout = nn.Dropout(0.0)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        if width_in != width:
            self.nin_shortcut = nn.Conv2d(width_in, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        added = self.conv1(swish(self.norm1(x)))
        added = self.conv2(self.dropout(swish(self.norm2(added))))
        if hasattr(self, "nin_shortcut"):
            x = self.nin_shortcut(x)
        return x + added


class AttentionBlock(nn.Module):
    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.norm = norm(width, groups)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(width, width, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        q, k, v = (conv(normed).flatten(2) for conv in (self.q, self.k, self.v))  # b e n
        scores = torch.bmm(q.permute(0, 2, 1), k) * q.shape[1] ** -0.5  # b n n
        weights = scores.softmax(dim=2)
        attended = torch.bmm(v, weights.permute(0, 2, 1)).reshape(x.shape)
        return x + self.proj_out(attended)


class Downsample(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """Residual blocks, attention after each where the level has any, and a change of the grid or none."""

    def __init__(self, network: NetworkSettings, level: int, width_in: int, blocks: int) -> None:
        super().__init__()
        width, groups = network.widths[level], network.groups
        widths = [width_in] + [width] * (blocks - 1)
        self.block = nn.ModuleList(ResidualBlock(old, width, groups) for old in widths)
        attentions = blocks if level in network.attention_levels else 0
        self.attn = nn.ModuleList(AttentionBlock(width, groups) for _ in range(attentions))

    def forward(self, x: Tensor) -> Tensor:
        for number, block in enumerate(self.block):
            x = block(x)
            if len(self.attn):
                x = self.attn[number](x)
        for name in ("downsample", "upsample"):
            if hasattr(self, name):
                x = getattr(self, name)(x)
        return x


class Middle(nn.Module):
    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.block_1 = ResidualBlock(width, width, groups)
        self.attn_1 = AttentionBlock(width, groups)
        self.block_2 = ResidualBlock(width, width, groups)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Encoder(nn.Module):
    def __init__(self, network: NetworkSettings) -> None:
        super().__init__()
        widths, count = network.widths, len(network.widths)
        self.conv_in = nn.Conv2d(network.in_channels, network.width, 3, padding=1)
        befores = [network.width, *widths]
        self.down = nn.ModuleList(
            Level(network, level, befores[level], network.blocks) for level in range(count)
        )
        for level in range(count - 1):
            self.down[level].downsample = Downsample(widths[level])
        self.mid = Middle(widths[-1], network.groups)
        self.norm_out = norm(widths[-1], network.groups)
        self.conv_out = nn.Conv2d(widths[-1], network.latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
        return self.conv_out(swish(self.norm_out(self.mid(x))))


class Decoder(nn.Module):
    def __init__(self, network: NetworkSettings) -> None:
        super().__init__()
        widths, count = network.widths, len(network.widths)
        self.conv_in = nn.Conv2d(network.latent_channels, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1], network.groups)
        befores = [*widths[1:], widths[-1]]
        self.up = nn.ModuleList(
            Level(network, level, befores[level], network.blocks + 1) for level in range(count)
        )
        for level in range(1, count):
            self.up[level].upsample = Upsample(widths[level])
        self.norm_out = norm(widths[0], network.groups)
        self.conv_out = nn.Conv2d(widths[0], network.out_channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.mid(self.conv_in(z))
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(swish(self.norm_out(x)))


class VectorQuantizer(nn.Module):
    """All distances in the expanded form, rows x codes at once; beta on the codebook's term (legacy)."""

    def __init__(self, codes: int, dim: int, beta: float = 0.25) -> None:
        super().__init__()
        self.beta = beta
        self.codebook = nn.Embedding(codes, dim)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Latents for the decoder (b d h w), loss, codes (b h w)."""
        z = z.permute(0, 2, 3, 1).contiguous()
        rows, entries = z.view(-1, z.shape[-1]), self.codebook.weight
        distances = (rows**2).sum(1, keepdim=True) + (entries**2).sum(1) - 2 * rows @ entries.T
        codes = distances.argmin(1)
        q = self.codebook(codes).view(z.shape)
        loss = ((q.detach() - z) ** 2).mean() + self.beta * ((q - z.detach()) ** 2).mean()
        q = z + (q - z).detach()
        return q.permute(0, 3, 1, 2).contiguous(), loss, codes.view(z.shape[:-1])


class VQModel2021(nn.Module):
    """Images in, images and the quantizer's loss out."""

    def __init__(self, network: NetworkSettings, codes: int) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(network), Decoder(network)
        self.quantizer = VectorQuantizer(codes, network.code_dim)
        self.quant_conv = nn.Conv2d(network.latent_channels, network.code_dim, 1)
        self.post_quant_conv = nn.Conv2d(network.code_dim, network.latent_channels, 1)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.quantizer(self.quant_conv(self.encoder(x)))

    def decode(self, q: Tensor) -> Tensor:
        return self.decoder(self.post_quant_conv(q))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction, the quantizer's loss, codes."""
        q, loss, codes = self.encode(x)
        return self.decode(q), loss, codes
