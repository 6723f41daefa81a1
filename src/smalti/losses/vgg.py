"""The 13 convolutions of VGG16.

Axes: b batch, H W pixels, e features of a stage, h w grid of a stage.
"""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.losses.distance import Convolution, frozen

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))  # arXiv:1409.1556, D


class VGG16(nn.Module):
    """Features after the last ReLU of each of the five stages. Frozen, and in eval mode for ever."""

    widths: ClassVar[tuple[int, ...]] = tuple(stage[-1] for stage in STAGES)
    least: ClassVar[int] = 16  # pixels a side: it halves four times
    numbers: ClassVar[tuple[int, ...]] = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)  # torchvision's

    def __init__(self, convolutions: Sequence[Convolution], *, ceil: bool = False) -> None:
        """Take over the 13 convolutions. ceil: pooling keeps an odd last row and column."""
        super().__init__()
        self.ceil = ceil
        self.convolutions = nn.ModuleList(frozen(*pair) for pair in convolutions)
        assert len(self.convolutions) == sum(map(len, STAGES)), f"got {len(self.convolutions)} convolutions"
        self.eval()

    def train(self, mode: bool = True) -> "VGG16":
        """Stay in eval mode: a distance is a measure, not something that learns."""
        return super().train(False)

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Return features b e h w, a stage each, of images prepared as the weights want."""
        assert min(images.shape[-2:]) >= self.least, (
            f"VGG16 halves four times, got {tuple(images.shape[-2:])}"
        )
        convolutions, x = iter(self.convolutions), images
        features: list[Tensor] = []
        for stage in STAGES:
            if features:
                x = F.max_pool2d(x, 2, ceil_mode=self.ceil)
            for _ in stage:
                x = F.relu(next(convolutions)(x))
            features.append(x)
        return features

    @staticmethod
    def random(generator: torch.Generator) -> list[Convolution]:
        """Return weights that mean nothing, with variances that ReLU keeps: for tests without files."""
        sizes = [size for stage in STAGES for size in stage]
        return [
            (torch.randn(o, i, 3, 3, generator=generator) * math.sqrt(2 / (9 * i)), torch.zeros(o))
            for i, o in zip([3, *sizes], sizes, strict=False)
        ]
