"""The five convolutions of AlexNet, in the form of arXiv:1404.5997 that torchvision has."""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.losses.distance import Convolution, frozen

# channels in and out, kernel, stride, padding
_LAYERS = (
    (3, 64, 11, 4, 2),
    (64, 192, 5, 1, 2),
    (192, 384, 3, 1, 1),
    (384, 256, 3, 1, 1),
    (256, 256, 3, 1, 1),
)
_POOLED = (1, 2)  # layers that see their input at half its size


class AlexNet(nn.Module):
    """Features after each of the five convolutions. Frozen, and in eval mode for ever."""

    widths: ClassVar[tuple[int, ...]] = tuple(layer[1] for layer in _LAYERS)
    least: ClassVar[int] = 31  # pixels a side, of which the second pooling leaves one
    numbers: ClassVar[tuple[int, ...]] = (0, 3, 6, 8, 10)  # torchvision's

    def __init__(self, convolutions: Sequence[Convolution]) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            frozen(*pair, stride=stride, padding=padding)
            for pair, (_, _, _, stride, padding) in zip(convolutions, _LAYERS, strict=True)
        )
        self.eval()

    def train(self, mode: bool = True) -> "AlexNet":
        """Stay in eval mode: a distance is a measure, not something that learns."""
        return super().train(False)

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Return features b e h w, a stage each, of images prepared as the weights want."""
        assert min(images.shape[-2:]) >= self.least, f"AlexNet wants {self.least} pixels a side"
        x, features = images, []
        for number, convolution in enumerate(self.convolutions):
            x = F.max_pool2d(x, 3, 2) if number in _POOLED else x
            x = F.relu(convolution(x))
            features.append(x)
        return features

    @staticmethod
    def random(generator: torch.Generator) -> list[Convolution]:
        """Return weights that mean nothing, with variances that ReLU keeps: for tests without files."""
        return [
            (torch.randn(o, i, k, k, generator=generator) * math.sqrt(2 / (k * k * i)), torch.zeros(o))
            for i, o, k, _, _ in _LAYERS
        ]
