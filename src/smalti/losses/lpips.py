"""LPIPS: how different two images look, by VGG16 features and heads fitted to human judgements."""

import importlib.util
import pickle
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from smalti.errors import UserError
from smalti.losses.vgg import STAGES, VGG16, distances, random_convolutions

_VGG_FILE = "vgg16-397923af.pth"  # torchvision's ImageNet weights
_HEADS_FILE = "functional/image/lpips_models/vgg.pth"  # LPIPS v0.1, as it lies inside torchmetrics
_LAYERS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)  # torchvision's numbers of the convolutions
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of RGB in [-1, 1], as in LPIPS v0.1


class LPIPS(nn.Module):
    """The distance LPIPS-VGG v0.1 (arXiv:1801.03924). Frozen, and in eval mode for ever.

    The 2021 code trained with the heads' dropout active, by oversight; there is none here.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, trunk: VGG16, heads: Sequence[Float[Tensor, " _"]]) -> None:
        super().__init__()
        self.trunk = trunk
        self.heads = nn.ParameterList(nn.Parameter(head, requires_grad=False) for head in heads)
        self.register_buffer("shift", torch.tensor(_SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(_SCALE).view(1, 3, 1, 1), persistent=False)
        self.eval()

    @classmethod
    def read(cls, vgg: Path | None = None, heads: Path | None = None) -> "LPIPS":
        """Build it with the weights of two files; None: where `find_weights` finds them."""
        vgg_file, heads_file = find_weights(vgg, heads)
        names = [f"features.{layer}" for layer in _LAYERS]
        trunk = _read(vgg_file, [f"{name}.{part}" for name in names for part in ("weight", "bias")])
        linear = _read(heads_file, [f"lin{stage}.model.1.weight" for stage in range(len(STAGES))])
        return cls(
            VGG16(list(zip(trunk[::2], trunk[1::2], strict=True))), [head.flatten() for head in linear]
        )

    @classmethod
    def untrained(cls, generator: torch.Generator) -> "LPIPS":
        """Build it with weights that mean nothing: for tests without weight files."""
        heads = [torch.rand(stage[-1], generator=generator) / stage[-1] for stage in STAGES]
        return cls(VGG16(random_convolutions(generator)), heads)

    def train(self, mode: bool = True) -> "LPIPS":
        """Stay in eval mode: a distance is a measure, not something that learns."""
        return super().train(False)

    def forward(self, a: Float[Tensor, "b c H W"], b: Float[Tensor, "b c H W"]) -> Float[Tensor, " b"]:
        """Return the distance of each pair of images in [-1, 1], of 1 or 3 channels, from 16 x 16 pixels."""
        return self.terms(a, b).sum(0)

    def terms(self, a: Float[Tensor, "b c H W"], b: Float[Tensor, "b c H W"]) -> Float[Tensor, "5 b"]:
        """Return what each of the five stages adds to the distance.

        The features take the precision of the autocast around the call; the distance is fp32. Where a wants
        no gradient nothing of its pass is kept, so give the image that is copied as a.
        """
        features_a, features_b = (self.trunk((images - self.shift) / self.scale) for images in (a, b))
        return distances(features_a, features_b, list(self.heads))


def find_weights(vgg: Path | None = None, heads: Path | None = None) -> tuple[Path, Path]:
    """Return the files of VGG16 and of the heads.

    Those given, else torch's cache and the file inside torchmetrics.

    Nothing is downloaded. Raises UserError with the name of a missing file and where it was looked for.
    """
    vgg = vgg or Path(torch.hub.get_dir()) / "checkpoints" / _VGG_FILE
    package = importlib.util.find_spec("torchmetrics")  # finds, does not import
    heads = heads or (Path(package.origin).parent / _HEADS_FILE if package and package.origin else None)
    if not vgg.is_file():
        remedy = f"put torchvision's {_VGG_FILE} there, or name the file with perceptual.vgg=PATH"
        raise UserError(f"the weights of VGG16 in {vgg}", "no such file", remedy)
    if not heads or not heads.is_file():
        remedy = "pip install 'smalti[eval]', or name LPIPS v0.1's vgg.pth with perceptual.heads=PATH"
        raise UserError(f"the heads of LPIPS in {heads or 'torchmetrics'}", "no such file", remedy)
    return vgg, heads


def _read(path: Path, names: Sequence[str]) -> list[Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return [state[name].float() for name in names]
    except (pickle.UnpicklingError, EOFError, RuntimeError, KeyError, TypeError) as problem:
        got = " ".join(str(problem).split())[:120] or type(problem).__name__
        raise UserError(f"tensors {names[0]} ... {names[-1]} in {path}", got, "get the file anew") from None
