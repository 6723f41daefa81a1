"""Which perceptual distance a training uses: what was asked for, or the best that is on this disk."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

import smalti.losses.hed as hed
import smalti.losses.lpips as lpips
from smalti.config import Positive, Weight, settings
from smalti.errors import UserError
from smalti.losses.hed import HED
from smalti.losses.lpips import LPIPS
from smalti.losses.protocol import Logits, LossTerm

Kind = Literal["auto", "lpips", "hed", "none"]


@settings
class PerceptualSettings:
    """The perceptual part of a tokenizer's loss."""

    kind: Kind = "auto"  # auto: LPIPS, else HED, else none
    weight: Weight = 1.0  # times the distance, beside a mean absolute pixel error; 0: none
    images: Positive | None = None  # of a batch that the distance looks at, the first ones; None: all
    vgg: Path | None = None  # torchvision's VGG16; None: in torch's cache
    heads: Path | None = None  # LPIPS v0.1's vgg.pth; None: inside torchmetrics

    def __post_init__(self) -> None:
        if (self.vgg or self.heads) and self.kind not in {"auto", "lpips"}:
            got, remedy = f"them with perceptual.kind={self.kind}", "perceptual.kind=lpips"
            raise UserError("perceptual.vgg and perceptual.heads with LPIPS", got, remedy)


class Perceptual(LossTerm):
    """The mean distance of a batch's first images to their reconstructions, by features of a network."""

    def __init__(self, distance: nn.Module, weight: float = 1.0, images: int | None = None) -> None:
        """distance: (real, fake) -> "b". images: how many of a batch it looks at; None: all."""
        super().__init__()
        self.distance = distance
        self._weight, self._few = weight, slice(images)  # it costs more than a small network

    @classmethod
    def build(cls, settings: PerceptualSettings, content: str) -> list[LossTerm]:
        """Return the term with the distance of `find`; none where that finds none. Reads weights."""
        _, distance = find(settings)
        return [] if distance is None else [cls(distance, settings.weight, settings.images)]

    def weight(self, step: int) -> float:
        """See LossTerm."""
        return self._weight

    def forward(
        self, real: Float[Tensor, "b c H W"], fake: Float[Tensor, "b c H W"], logits: Logits | None, step: int
    ) -> tuple[Float[Tensor, ""], Mapping[str, Float[Tensor, ""]]]:
        """See LossTerm."""
        value = self.distance(real[self._few], fake[self._few]).mean()
        return value, {"perceptual": value}

    def distances(self) -> Mapping[str, nn.Module]:
        """See LossTerm."""
        return {"perceptual": self.distance}


def find(settings: PerceptualSettings) -> tuple[Kind, nn.Module | None]:
    """Return the distance to train with, `(a, b) -> "b"`, and its name for logs: lpips, hed or none.

    Raises UserError where weights that were asked for are missing; "auto" without any weights warns.
    """
    kind = choose(settings)
    if kind == "lpips":
        return kind, LPIPS.read(settings.vgg, settings.heads)
    return kind, HED.read() if kind == "hed" else None


def choose(settings: PerceptualSettings) -> Kind:
    """Return the name that `find` gives, with its errors for files that are missing; no weights are read."""
    if settings.weight == 0:
        return "none"
    if settings.kind == "lpips" or settings.vgg or settings.heads:  # wanted: missing ones are an error
        lpips.find_weights(settings.vgg, settings.heads)
        return "lpips"
    if settings.kind == "hed":
        hed.find_weights()
    if settings.kind != "auto":
        return settings.kind
    missing = []
    candidates: tuple[tuple[Kind, Callable[[], object]], ...] = (
        ("lpips", lpips.find_weights),
        ("hed", hed.find_weights),
    )
    for kind, find_weights in candidates:
        try:
            find_weights()
        except UserError as problem:
            missing.append(str(problem))
        else:
            return kind
    text = "training without a perceptual loss: images will be blurred. {}. {}".format(*missing)
    warnings.warn(text, stacklevel=3)
    return "none"
