"""MobileNetV2 with torchvision's ImageNet weights: a trained feature space that installs with a package."""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn

from smalti.features.protocol import Space

# expansion, channels, blocks, stride of the first block (arXiv:1801.04381, table 2)
_STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of RGB in [0, 1], as the weights learned


class MobileNetV2(Space):
    """An ImageNet classifier of 3.5 M parameters (arXiv:1801.04381), for torchvision's file of weights."""

    name, title, width, classes = "mobilenet_v2", "MobileNetV2", 1280, 1000
    stages = ("layers.3", "layers.6", "layers.13", "layers.17")

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_filter(3, 32, kernel=3, stride=2)]
        width = 32
        for expansion, out, count, first in _STAGES:
            for stride in (first, *[1] * (count - 1)):
                layers.append(Block(width, expansion, stride, out))
                width = out
        self.layers = nn.Sequential(*layers, _filter(width, self.width))
        self.classifier = nn.ModuleDict({"1": nn.Linear(self.width, self.classes)})  # 0 is dropout

    def take(self, state: Mapping[str, Tensor]) -> None:
        """See Space: torchvision calls the layers features, which here is what they give."""
        super().take({name.replace("features.", "layers."): tensor for name, tensor in state.items()})

    def forward(self, images: Float[Tensor, "b 3 y x"]) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b k"]]:
        """See Space."""
        mean, std = (images.new_tensor(values).view(3, 1, 1) for values in (_MEAN, _STD))
        features = self.layers(((images + 1) / 2 - mean) / std).mean((2, 3))
        return features, self.classifier["1"](features)


class Block(nn.Module):
    """Expand, filter each channel by itself, project; plus the input where the shapes agree."""

    def __init__(self, width: int, expansion: int, stride: int, out: int) -> None:
        super().__init__()
        hidden = width * expansion
        self.adds = stride == 1 and width == out
        expand = [_filter(width, hidden)] if expansion > 1 else []
        filters = _filter(hidden, hidden, kernel=3, stride=stride, groups=hidden)
        self.conv = nn.Sequential(
            *expand, filters, nn.Conv2d(hidden, out, 1, bias=False), nn.BatchNorm2d(out)
        )

    def forward(self, x: Float[Tensor, "b e h w"]) -> Float[Tensor, "b out y x"]:
        """Return features to features."""
        return x + self.conv(x) if self.adds else self.conv(x)


def _filter(width: int, out: int, *, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(width, out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out), nn.ReLU6())
