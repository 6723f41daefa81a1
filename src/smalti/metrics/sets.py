"""Features as metrics of whole sets take them: one row an image, refused where they say nothing."""

from collections.abc import Callable
from typing import ClassVar

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from smalti.errors import UserError
from smalti.metrics.protocol import Measured, Metric

ROWS = 2048  # at a time, so that 50,000 x 2,048 numbers need no copy in float64


def mean_of(features: Float[Tensor, "n f"]) -> Float64[Tensor, " f"]:
    """Return the mean of all rows, in float64."""
    sums = [rows.sum(0, dtype=torch.float64) for rows in torch.split(features, ROWS)]
    return torch.stack(sums).sum(0) / len(features)


def check(features: Float[Tensor, "n f"], whose: str, least: int = 1) -> None:
    """Raise UserError unless there are at least `least` rows, all finite. whose: of which images they are."""
    if len(features) < least:
        number = "no" if len(features) == 0 else str(len(features))
        raise UserError(
            f"at least {least} {whose} image{'s' if least > 1 else ''}", number, "give more of them"
        )
    wrong = torch.cat([~rows.isfinite().all(1) for rows in torch.split(features, ROWS)])
    if wrong.any():
        first = int(wrong.nonzero()[0, 0])
        raise UserError(
            f"finite features of the {whose} images",
            f"NaN or infinity in {int(wrong.sum())} of {len(features)}, the first is number {first}",
            "look at that image and at the weights of the network",
        )


def check_sets(fake: Float[Tensor, "n f"], real: Float[Tensor, "m g"], least: int = 1) -> None:
    """Raise UserError unless both sets hold at least `least` finite rows of one width."""
    check(fake, "generated", least)
    check(real, "real", least)
    if fake.shape[1] != real.shape[1]:
        raise UserError(
            "features of both sets by one network",
            f"{fake.shape[1]} numbers a generated image and {real.shape[1]} a real one",
            "compute both by the same network",
        )


class OfSets(Metric):
    """A metric of the features of all real and all fake images."""

    images: ClassVar[int]  # of each set at the least

    def __init__(self, features: Callable[[Tensor], Tensor], name: str) -> None:
        """features: of images (b c H W), (b f). name: which they are, and of the numbers in logs."""
        self.name, self._features = name, features
        self._real: list[Tensor] = []
        self._fake: list[Tensor] = []

    def update(self, batch: Measured) -> None:
        """See Metric. Of real and fake images there need not be as many, or any, in one batch."""
        for images, held in ((batch.real, self._real), (batch.fake, self._fake)):
            if images is not None:
                held.append(self._features(images))

    def fake(self) -> Float[Tensor, "n f"]:
        """Return features of the fake images so far; of none, none."""
        return torch.cat(self._fake) if self._fake else torch.zeros(0, 0)

    def real(self) -> Float[Tensor, "m f"]:
        """Return features of the real images so far; of none, none."""
        return torch.cat(self._real) if self._real else torch.zeros(0, 0)
