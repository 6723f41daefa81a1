"""EfficientNet-Lite0: a trained feature space that installs with a package."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from smalti.features.protocol import Space

# kernel, stride, channels out of each block; the first does not expand, the others by 6
_BLOCKS = (
    (3, 1, 16), (3, 2, 24), (3, 1, 24), (5, 2, 40), (5, 1, 40), (3, 2, 80), (3, 1, 80), (3, 1, 80),
    (5, 1, 112), (5, 1, 112), (5, 1, 112), (5, 2, 192), (5, 1, 192), (5, 1, 192), (5, 1, 192), (3, 1, 320),
)  # fmt: skip


class Lite0(Space):
    """An ImageNet classifier of 4.7 M parameters (arXiv:1905.11946, without squeeze-and-excite)."""

    name, title, width, classes = "lite0", "EfficientNet-Lite0", 1280, 1000
    stages = ("_blocks.2", "_blocks.4", "_blocks.10", "_blocks.15")

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

    def forward(self, images: Float[Tensor, "b 3 y x"]) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b k"]]:
        """See Space."""
        x = ((images + 1) / 2 - 0.498) / 0.502
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        features = F.relu6(self._bn1(self._conv_head(x))).mean((2, 3))
        return features, self._fc(features)


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


def _norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=1e-3)
