"""What every perceptual distance keeps, and the formula that all of them share.

Axes: b batch, c image channels, H W pixels, e features of a stage, s stages, h w grid of a stage.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

Convolution = tuple[Tensor, Tensor]  # weight (o i k k) and bias (o)

# Inside the root: beside it, as in the 2021 code, the gradient of an all-zero column is NaN. Columns of real
# features are longer than 0.1, where it moves a value by less than 1e-8 of itself.
_EPS = 1e-10


class Distance(nn.Module, ABC):
    """How different two images look. Frozen, and in eval mode for ever. Built with weights by `read`."""

    name: ClassVar[str]  # in DISTANCES and in WEIGHTS, and of numbers
    title: ClassVar[str]  # for a person
    least: ClassVar[int]  # pixels that a side must have
    digest: str = ""  # sha256 of the files that were read; "" without

    def train(self, mode: bool = True) -> "Distance":
        """Stay in eval mode: a distance is a measure, not something that learns."""
        return super().train(False)

    @property
    def protocol(self) -> dict[str, str]:
        """Return what its numbers depend on, beside the images: equal or not to be compared."""
        dtype = str(next(self.parameters()).dtype).removeprefix("torch.")
        return {"distance": self.name, "network": self.title, "weights": self.digest, "dtype": dtype}

    @classmethod
    @abstractmethod
    def read(cls) -> "Distance":
        """Return it with the weights that `WEIGHTS` finds; UserError where there are none."""

    @classmethod
    @abstractmethod
    def untrained(cls, generator: torch.Generator) -> "Distance":
        """Return it with weights that mean nothing: for tests without weight files."""

    @abstractmethod
    def forward(self, a: Float[Tensor, "b c H W"], b: Float[Tensor, "b c H W"]) -> Float[Tensor, " b"]:
        """Return the distance of each pair of images in [-1, 1], of 1 or 3 channels, `least` pixels a side.

        The features take the precision of the autocast around the call; the distance is fp32. Where a wants
        no gradient nothing of its pass is kept, so give the image that is copied as a.
        """


def distances(
    a: Sequence[Float[Tensor, "b _ _ _"]],
    b: Sequence[Float[Tensor, "b _ _ _"]],
    heads: Sequence[Float[Tensor, " _"]],
) -> Float[Tensor, "s b"]:
    """Return the squared difference of unit-normalised features, weighted by a head (e), a row a stage.

    The mean over positions, in fp32, whatever the precision of the features. Source: arXiv:1801.03924, eq. 1.
    """
    with torch.autocast(a[0].device.type, enabled=False):
        terms = [
            torch.einsum("behw,e->bhw", (_unit(x) - _unit(y)).square(), head).mean((1, 2))
            for x, y, head in zip(a, b, heads, strict=True)
        ]
        return torch.stack(terms)


def frozen(weight: Tensor, bias: Tensor, stride: int = 1, padding: int = 1) -> nn.Conv2d:
    """Return a convolution with these weights, which does not learn."""
    out, width, kernel, _ = weight.shape
    layer = nn.Conv2d(width, out, kernel, stride, padding, device="meta")  # draws no numbers
    layer.load_state_dict({"weight": weight, "bias": bias}, assign=True)
    return layer.requires_grad_(False)


def _unit(features: Tensor) -> Tensor:
    x = features.float()
    return x / (x.square().sum(1, keepdim=True) + _EPS).sqrt()
