"""The 13 convolutions of VGG16, and the distance between two images' features along them.

Axes: b batch, c image channels, H W pixels, e features of a stage, s = 5 stages, h w grid of a stage.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

Convolution = tuple[Tensor, Tensor]  # weight (o i 3 3) and bias (o)

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))  # arXiv:1409.1556, D
# Inside the root: beside it, as in the 2021 code, the gradient of an all-zero column is NaN. Columns of real
# features are longer than 0.1, where it moves a value by less than 1e-8 of itself.
_EPS = 1e-10


class VGG16(nn.Module):
    """Features after the last ReLU of each of the five stages. Frozen, and in eval mode for ever."""

    def __init__(self, convolutions: Sequence[Convolution], *, ceil: bool = False) -> None:
        """Take over the 13 convolutions. ceil: pooling keeps an odd last row and column."""
        super().__init__()
        self.ceil = ceil
        self.convolutions = nn.ModuleList(_frozen(*pair) for pair in convolutions)
        assert len(self.convolutions) == sum(map(len, STAGES)), f"got {len(self.convolutions)} convolutions"
        self.eval()

    def train(self, mode: bool = True) -> "VGG16":
        """Stay in eval mode: a distance is a measure, not something that learns."""
        return super().train(False)

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Return features b e h w, a stage each, of images of at least 16 x 16 as the weights want them."""
        assert min(images.shape[-2:]) >= 16, f"VGG16 halves four times, got {tuple(images.shape[-2:])}"
        convolutions, x = iter(self.convolutions), images
        features: list[Tensor] = []
        for stage in STAGES:
            if features:
                x = F.max_pool2d(x, 2, ceil_mode=self.ceil)
            for _ in stage:
                x = F.relu(next(convolutions)(x))
            features.append(x)
        return features


def distances(
    a: Sequence[Float[Tensor, "b _ _ _"]],
    b: Sequence[Float[Tensor, "b _ _ _"]],
    heads: Sequence[Float[Tensor, " _"]],
) -> Float[Tensor, "s b"]:
    """Return the squared difference of unit-normalised features, weighted by a head (e) a stage.

    In fp32, whatever the precision of the features. Source: arXiv:1801.03924, eq. 1.
    """
    with torch.autocast(a[0].device.type, enabled=False):
        terms = [
            torch.einsum("behw,e->bhw", (_unit(x) - _unit(y)).square(), head).mean((1, 2))
            for x, y, head in zip(a, b, heads, strict=True)
        ]
        return torch.stack(terms)


def random_convolutions(generator: torch.Generator) -> list[Convolution]:
    """Return weights that mean nothing, with variances that ReLU keeps: for tests without weight files."""
    sizes = [size for stage in STAGES for size in stage]
    return [
        (torch.randn(o, i, 3, 3, generator=generator) * math.sqrt(2 / (9 * i)), torch.zeros(o))
        for i, o in zip([3, *sizes], sizes, strict=False)
    ]


def _unit(features: Tensor) -> Tensor:
    x = features.float()
    return x / (x.square().sum(1, keepdim=True) + _EPS).sqrt()


def _frozen(weight: Tensor, bias: Tensor) -> nn.Conv2d:
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1, device="meta")  # draws no numbers
    layer.load_state_dict({"weight": weight, "bias": bias}, assign=True)
    return layer.requires_grad_(False)
