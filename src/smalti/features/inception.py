"""Inception as FID takes it: the graph of 2015 that TensorFlow published, for the files of its two ports.

The weights are those of pytorch-fid or of torch-fidelity; resizing and scaling follow the graph, as in
torch-fidelity: 8 bits, bilinear without antialias from the corner, (x - 128) / 128.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from smalti.features.protocol import Space
from smalti.imaging import to_uint8

_SIDE = 299  # pixels


class Step(NamedTuple):
    """A filter of a branch, by its name in the files."""

    name: str
    out: int  # channels
    kernel: int | tuple[int, int] = 1
    stride: int = 1  # 2: without padding, as everything that halves


Branch = Sequence[Step | tuple[Step, Step]]  # one after another; those of a pair side by side


class Inception(Space):
    """InceptionV3 (arXiv:1512.00567), 1,008 classes. Logits are without bias, as Inception Score has them."""

    name, title, width, classes = "inception", "Inception of 2015-12-05", 2048, 1008
    stages = ("Conv2d_4a_3x3", "Mixed_5d", "Mixed_6e", "Mixed_7c")
    resize = "to 8 bits, bilinear without antialias as TensorFlow 1 has it, 299 x 299 pixels"

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Filter(3, Step("", 32, 3, stride=2))
        self.Conv2d_2a_3x3 = Filter(32, Step("", 32, 3), padded=False)
        self.Conv2d_2b_3x3 = Filter(32, Step("", 64, 3))
        self.Conv2d_3b_1x1 = Filter(64, Step("", 80))
        self.Conv2d_4a_3x3 = Filter(80, Step("", 192, 3), padded=False)
        width = 192
        for name, (branches, pool) in _MIXED.items():
            mixed = Mixed(width, branches, pool)
            self.add_module(f"Mixed_{name}", mixed)
            width = mixed.out
        self.fc = nn.Linear(self.width, self.classes)

    def prepare(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 3 y x"]:
        """See Space: as the graph does it, whose range is a little more than [-1, 1)."""
        pixels = to_uint8(images).float()
        return (_enlarged(_enlarged(pixels).mT).mT - 128) / 128

    def forward(self, images: Float[Tensor, "b 3 y x"]) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b k"]]:
        """See Space."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(images)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = F.max_pool2d(x, 3, 2)
        for name in _MIXED:
            x = self.get_submodule(f"Mixed_{name}")(x)
        features = x.mean((2, 3))
        return features, features @ self.fc.weight.T


class Filter(nn.Module):
    """Convolution, normalisation, ReLU."""

    def __init__(self, width: int, step: Step, *, padded: bool = True) -> None:
        super().__init__()
        kernel = step.kernel if isinstance(step.kernel, tuple) else (step.kernel, step.kernel)
        padding = (kernel[0] // 2, kernel[1] // 2) if padded and step.stride == 1 else 0
        self.conv = nn.Conv2d(width, step.out, kernel, step.stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(step.out, eps=1e-3)

    def forward(self, x: Float[Tensor, "b e h w"]) -> Float[Tensor, "b out y x"]:
        """Return features to features."""
        return F.relu(self.bn(self.conv(x)))


class Mixed(nn.Module):
    """Branches side by side over the same features, the last one over pooled ones."""

    def __init__(self, width: int, branches: Sequence[Branch], pool: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.branches, self.pool, self.out = branches, pool, 0
        for branch in branches:
            out = width
            for step in branch:
                steps = (step,) if isinstance(step, Step) else step
                for one in steps:
                    self.add_module(one.name, Filter(out, one))
                out = sum(one.out for one in steps)
            self.out += out

    def forward(self, x: Float[Tensor, "b e h w"]) -> Float[Tensor, "b out y x"]:
        """Return features to features."""
        found = []
        for number, branch in enumerate(self.branches, start=1):
            out = self.pool(x) if number == len(self.branches) else x
            for step in branch:
                steps = (step,) if isinstance(step, Step) else step
                out = torch.cat([self.get_submodule(one.name)(out) for one in steps], dim=1)
            found.append(out)
        return torch.cat(found, dim=1)


def _mean(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def _highest(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, 1, 1)


def _halved(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, 2)


def _a(pool: int) -> list[Branch]:
    return [
        [Step("branch1x1", 64)],
        [Step("branch5x5_1", 48), Step("branch5x5_2", 64, 5)],
        [Step("branch3x3dbl_1", 64), Step("branch3x3dbl_2", 96, 3), Step("branch3x3dbl_3", 96, 3)],
        [Step("branch_pool", pool)],
    ]


def _c(width: int) -> list[Branch]:
    lying, standing = (1, 7), (7, 1)
    kernels: list[int | tuple[int, int]] = [1, standing, lying, standing, lying]
    outs = (width, width, width, width, 192)
    return [
        [Step("branch1x1", 192)],
        [
            Step("branch7x7_1", width),
            Step("branch7x7_2", width, lying),
            Step("branch7x7_3", 192, standing),
        ],
        [
            Step(f"branch7x7dbl_{number}", out, kernel)
            for number, (out, kernel) in enumerate(zip(outs, kernels, strict=True), start=1)
        ],
        [Step("branch_pool", 192)],
    ]


def _e() -> list[Branch]:
    def ends(name: str) -> tuple[Step, Step]:
        return Step(f"{name}a", 384, (1, 3)), Step(f"{name}b", 384, (3, 1))

    return [
        [Step("branch1x1", 320)],
        [Step("branch3x3_1", 384), ends("branch3x3_2")],
        [Step("branch3x3dbl_1", 448), Step("branch3x3dbl_2", 384, 3), ends("branch3x3dbl_3")],
        [Step("branch_pool", 192)],
    ]


_B: list[Branch] = [
    [Step("branch3x3", 384, 3, stride=2)],
    [Step("branch3x3dbl_1", 64), Step("branch3x3dbl_2", 96, 3), Step("branch3x3dbl_3", 96, 3, stride=2)],
    [],
]
_D: list[Branch] = [
    [Step("branch3x3_1", 192), Step("branch3x3_2", 320, 3, stride=2)],
    [
        Step("branch7x7x3_1", 192),
        Step("branch7x7x3_2", 192, (1, 7)),
        Step("branch7x7x3_3", 192, (7, 1)),
        Step("branch7x7x3_4", 192, 3, stride=2),
    ],
    [],
]
# the blocks in their order; the last one pools by the maximum, an oversight of the graph that FID keeps
_MIXED: dict[str, tuple[list[Branch], Callable[[Tensor], Tensor]]] = {
    **{f"5{letter}": (_a(pool), _mean) for letter, pool in zip("bcd", (32, 64, 64), strict=True)},
    "6a": (_B, _halved),
    **{f"6{letter}": (_c(width), _mean) for letter, width in zip("bcde", (128, 160, 160, 192), strict=True)},
    "7a": (_D, _halved),
    "7b": (_e(), _mean),
    "7c": (_e(), _highest),
}


def _enlarged(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h 299"]:
    """Return the last axis at 299 pixels: pixel i lies at i times the ratio, not at its middle."""
    width = x.shape[-1]
    place = torch.arange(_SIDE, device=x.device, dtype=torch.float32) * (width / _SIDE)
    lower = place.floor().long().clamp(max=width - 1)
    upper = (lower + 1).clamp(max=width - 1)
    return torch.lerp(x[..., lower], x[..., upper], place - lower)
