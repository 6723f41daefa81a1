"""What every measure keeps: it looks at what was kept of the images, and gives numbers by name."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import torch

from smalti.evaluation.evidence import Evidence, Side
from smalti.evaluation.record import Number
from smalti.files import evenly

Found = Iterator[tuple[str, Number]]

RECONSTRUCTION, GENERATION = "reconstruction", "generation"


class Measure(ABC):
    """A member of the shelf MEASURES."""

    tasks: ClassVar[tuple[str, ...]]  # reconstruction, generation
    of_features: ClassVar[bool] = True  # so that a feature space is needed
    distances: ClassVar[tuple[str, ...]] = ()  # perceptual ones, of which the first that is there is used

    @abstractmethod
    def numbers(self, evidence: Evidence) -> Found:
        """Give the numbers by the names that records have for them; none where nothing is there for them."""


def as_many(side: Side | None, count: int, space: str) -> torch.Tensor | None:
    """Return the features of as many images of a set, evenly over it; None where it has fewer."""
    if side is None or side.count < count:
        return None
    return side.features[space][torch.tensor(evenly(range(side.count), count))]


def named(evidence: Evidence, space: str, short: str, inceptions: str) -> str:
    """Return the name of a number over features: those of Inception alone are called by the field's names."""
    r = "r" if evidence.task == RECONSTRUCTION else ""
    return f"{r}{inceptions}" if space == "inception" else f"{space}_{r}{short}"
