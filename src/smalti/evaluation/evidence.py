"""What is kept of the images of an evaluation, to compute all numbers of: features and values, no images."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor

from smalti.conditions.protocol import Condition
from smalti.errors import UserError
from smalti.features.protocol import Space
from smalti.losses.distance import Distance
from smalti.priors.protocol import Nats

Show = Callable[[Sequence[int]], Float[Tensor, "b 3 H W"]]  # images by number, made or opened anew


_ROUNDING = 1e-4  # of features: those of one image differ a little from one size of batch to another


@dataclass(frozen=True, kw_only=True)
class Side:
    """A set of images: rows of its features, one an image."""

    what: str  # for a person: reconstructions, samples, real images
    count: int
    show: Show  # as 8 bits hold them, in [-1, 1]
    features: Mapping[str, Float[Tensor, "n _"]]  # by space
    logits: Mapping[str, Float[Tensor, "n _"]] = field(default_factory=dict)  # of its classes
    labels: Sequence[int] = ()  # of each; none where there are no classes
    conditions: Callable[[Sequence[int]], Any] | None = None  # of images by number, as judges take them
    hash: str = ""  # of the images as they lie on disk; "" where they are made

    def check(self) -> None:
        """Raise UserError for one image, for features that are no numbers, and for images all alike."""
        if self.count < 2:
            raise UserError(f"at least 2 {self.what}", "1", "give more, or a larger --num")
        for name, rows in self.features.items():
            if not rows.isfinite().all():
                bad = int((~rows.isfinite().all(1)).nonzero()[0, 0])
                remedy = "look at that image, and at the weights of the network"
                raise UserError(f"finite {name} features of {self.what}", f"NaN for number {bad}", remedy)
            if bool(((rows - rows[:1]).abs() <= _ROUNDING * rows.abs().max()).all()):
                got = f"{self.count} {self.what} of equal {name} features"
                raise UserError("images that differ", got, "numbers on sets of one image mean nothing")


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that measures look at."""

    task: str  # reconstruction: image i of fake is made of image i of real; generation
    real: Side
    fake: Side
    spaces: Mapping[str, Space]
    distances: Mapping[str, Distance]  # perceptual ones
    protocol: Mapping[str, Any]  # of every number
    condition: Condition | None = None  # of the model that drew them
    train: Side | None = None  # what the model learned from, as far as it is known
    pairs: Mapping[str, Float[Tensor, " n"]] = field(default_factory=dict)  # of each image and reconstruction
    codes: Tensor | None = None  # n h w, of the real images
    train_codes: Tensor | None = None  # t h w, of the training images
    codebook_size: int = 0
    nats: Nats | None = None  # of the codes of the real images
    pixels: int = 0  # of an image
    blurred: Mapping[str, Float[Tensor, "t _"]] = field(default_factory=dict)  # features of train, blurred

    def of(self, space: str, **more: Any) -> dict[str, Any]:
        """Return the protocol of a number over the features of a space."""
        return {**self.protocol, "network": dict(self.spaces[space].protocol), **more}


def digest(marks: Tensor) -> str:
    """Return the hash of a set of images, of 63 bits each: their order counts."""
    return hashlib.blake2b(marks.long().numpy().tobytes(), digest_size=8).hexdigest()
