"""What every metric keeps: it takes in batches and gives numbers, whose name says what they are."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from smalti.priors.protocol import Nats


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What may be measured of a batch; what there is none of is None."""

    # images in [-1, 1], or a segmentation's classes, 0 or 1
    real: Float[Tensor, "b c H W"] | None = None
    fake: Float[Tensor, "a c H W"] | None = None  # reconstructions or samples; of classes logits
    codes: Int64[Tensor, "b h w"] | None = None
    nats: Nats | None = None  # of these codes, as their prior says it


class Metric(ABC):
    """A member of the shelf. Batches are taken in one after another; numbers are of all of them."""

    name: str  # for a person: what it is, and its unit
    better: ClassVar[Literal["higher", "lower"]]  # which of its numbers are good
    least: ClassVar[int] = 1  # pixels that a side must have
    words: str = ""  # a format that tells of one image by its number alone; "": it is not for one image

    @abstractmethod
    def update(self, batch: Measured) -> None:
        """Take in a batch."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Return the numbers, by the names that logs have for them."""

    @classmethod
    def of(cls, content: str, codebook_size: int, distances: Mapping[str, nn.Module]) -> "list[Metric]":
        """Return the metrics by which a tokenizer in training is validated; mostly none.

        content: what it rebuilds, as its settings have it. codebook_size: 0 for none. distances: perceptual
        ones, `(real, fake) -> "b"`, by their names in logs.
        """
        return []


class Mean(Metric):
    """The mean over images of a number of each and its reconstruction."""

    key: str  # in logs

    def __init__(self) -> None:
        self._rows: list[Tensor] = []

    @abstractmethod
    def values(self, real: Float[Tensor, "b c H W"], fake: Float[Tensor, "b c H W"]) -> Float[Tensor, " b"]:
        """Return the number of each."""

    def update(self, batch: Measured) -> None:
        """See Metric."""
        assert batch.real is not None, "a mean over images"
        assert batch.fake is not None, "and their reconstructions"
        self._rows.append(self.values(batch.real, batch.fake))

    def compute(self) -> dict[str, float]:
        """See Metric."""
        return {self.key: torch.cat(self._rows).mean().item()}
