"""What every feature space keeps: images to features, and to scores of its classes where it has some."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from smalti.errors import UserError
from smalti.imaging import resize
from smalti.weights.catalogue import WEIGHTS, digest
from smalti.weights.reading import read_tensors

_LAYOUT = torch.channels_last  # and with `_fuse` 0.5 to 0.7 of the time on a CPU


class Space(nn.Module, ABC):
    """A trained network, frozen and in eval mode for ever. Built with weights by `read`.

    Numbers over its features carry its name; FID, KID and Inception Score are those over Inception alone.
    """

    name: ClassVar[str]  # in SPACES and in WEIGHTS, and of numbers
    title: ClassVar[str]  # for a person
    width: ClassVar[int]  # features of an image
    classes: ClassVar[int]  # it gives scores of
    side: ClassVar[int] = 224  # pixels; the shorter side of what the network sees
    stages: ClassVar[tuple[str, ...]]  # modules whose outputs `maps` gives, the finest first
    resize: ClassVar[str] = "bicubic with antialias, shorter side to 224 pixels"

    def __init__(self) -> None:
        super().__init__()
        self.digest = ""  # sha256 of the file that was read; "" without one
        self.eval()

    @classmethod
    def read(cls, path: Path | None = None) -> "Space":
        """Return the network with the weights of a file; None: of that which `WEIGHTS` finds.

        Raises UserError for a file that is missing or holds something else.
        """
        found = WEIGHTS[cls.name].find() if path is None else path
        with torch.device("meta"):  # draws no numbers
            space = cls()
        try:
            space.take(read_tensors(found, of=cls.title))
        except RuntimeError as problem:  # other names, other shapes
            got = " ".join(str(problem).split())[:120]
            raise UserError(f"the tensors of {cls.title} in {found}", got, "get the file anew") from None
        space.digest = digest(found)
        return space

    @classmethod
    def untrained(cls, generator: torch.Generator) -> "Space":
        """Return it with weights that mean nothing: for tests without weight files."""
        with torch.device("meta"):
            space = cls()
        state = {}
        for name, tensor in space.state_dict().items():
            fan = max(tensor[0].numel(), 1) if tensor.ndim > 1 else 1
            draw = torch.randn(tensor.shape, generator=generator) * (2 / fan) ** 0.5
            state[name] = draw if tensor.ndim > 1 else torch.ones(tensor.shape, dtype=tensor.dtype)
        space.take(state)
        return space

    def take(self, state: Mapping[str, Tensor]) -> None:
        """Take over the tensors of a file, in the names that the file has for them."""
        self.load_state_dict(state, assign=True)
        self.eval().requires_grad_(False)
        _fuse(self)

    def train(self, mode: bool = True) -> "Space":
        """Stay in eval mode: a yardstick does not learn."""
        return super().train(False)

    @property
    def protocol(self) -> dict[str, str | int]:
        """Return what numbers over these features depend on beside the images: equal, or not compared."""
        return {
            "space": self.name,
            "network": self.title,
            "weights": self.digest,
            "resize": self.resize,
            "features": self.width,
            "dtype": str(next(self.parameters()).dtype).removeprefix("torch."),
        }

    def features(self, images: Float[Tensor, "b 3 H W"], batch: int = 32) -> Float[Tensor, "b d"]:
        """Return the features of images in [-1, 1] of any size, on the network's device.

        batch: how many squares go through the network at a time; the values differ by rounding alone.
        """
        return self.features_and_logits(images, batch)[0]

    def logits(self, images: Float[Tensor, "b 3 H W"], batch: int = 32) -> Float[Tensor, "b k"]:
        """Return scores of classes before the softmax: ImageNet's 1,000 in the order of sorted synsets."""
        return self.features_and_logits(images, batch)[1]

    @torch.no_grad()
    def features_and_logits(
        self, images: Float[Tensor, "b 3 H W"], batch: int = 32
    ) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b k"]]:
        """Return both in one pass: see `features` and `logits`."""
        device = next(self.parameters()).device
        rows = max(batch * min(images.shape[2:]) // max(images.shape[2:]), 1)  # of oblong ones as much memory
        prepared = (self.prepare(part.to(device)) for part in torch.split(images, rows))
        parts = [self.forward(some.contiguous(memory_format=_LAYOUT)) for some in prepared]
        features, logits = zip(*parts, strict=True)
        return torch.cat(features), torch.cat(logits)

    @torch.no_grad()
    def maps(self, images: Float[Tensor, "b 3 H W"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Return what the stages of the network see where in images, each half as fine as the one before."""
        found: list[Tensor] = []
        hooks = [
            self.get_submodule(name).register_forward_hook(lambda module, given, out: found.append(out))
            for name in self.stages
        ]
        try:
            prepared = self.prepare(images.to(next(self.parameters()).device))
            self.forward(prepared.contiguous(memory_format=_LAYOUT))
        finally:
            for hook in hooks:
                hook.remove()
        return found

    def prepare(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 3 y x"]:
        """Return images at the size that the network sees, in [-1, 1]: their shorter side `side` pixels.

        Small ones are enlarged: at 32 and 64 pixels of their own, features call blurred images real ones, and
        at a longer side of 224 some still do (experiments/feature_size.py).
        """
        shorter = min(images.shape[2:])
        height, width = (round(side * self.side / shorter) for side in images.shape[2:])
        return resize(images, (height, width)).clamp(-1, 1)  # bicubic overshoots

    @abstractmethod
    def forward(self, images: Float[Tensor, "b 3 y x"]) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b k"]]:
        """Return features and logits of images in [-1, 1] as `prepare` gives them."""


def _fuse(network: nn.Module) -> None:
    """Fold each normalisation, which does not learn, into the convolution that is registered before it."""
    for part in list(network.modules()):
        for (name, convolution), (after, norm) in pairwise(list(part.named_children())):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                fused = fuse_conv_bn_eval(convolution, norm).requires_grad_(False)
                fused.weight.data = fused.weight.data.contiguous(memory_format=_LAYOUT)
                setattr(part, name, fused)
                setattr(part, after, nn.Identity())
