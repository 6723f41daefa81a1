"""What every scorer keeps: a score of each drawn image, by which the best are kept."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float, Int64
from torch import Tensor

from smalti.pipeline import Pipeline


@dataclass(frozen=True)
class Asked:
    """What one value of the condition asks of the images that are judged together."""

    condition: Mapping[str, Any] = field(default_factory=dict)  # as Pipeline.sample takes it; empty: nothing
    label: int | None = None  # the number of the class, where it is one

    @classmethod
    def of(cls, pipeline: Pipeline, value: Any) -> "Asked":
        """Return what a value for one image asks of a model; of a model without a condition nothing."""
        if value is None:
            return cls()
        given = pipeline.condition.given(value)
        classes: Any = getattr(pipeline.condition.named.get("label"), "classes", None)
        is_told = classes is not None and given.get("label") is not None
        return cls(given, classes.number(given["label"]) if is_told else None)


class Scorer(ABC):
    """Scores images. Built for one model, whose images it is to judge."""

    name: str  # as the metadata of images name it
    scores: str  # what a score is, in words; the higher the better

    @abstractmethod
    def score(
        self, images: Float[Tensor, "b c H W"], codes: Int64[Tensor, "b h w"], asked: Asked
    ) -> Float[Tensor, " b"]:
        """Return the score of each image as files of 8 bits hold it, in [-1, 1], of one channel or three.

        codes: of the same images, by the model's tokenizer.
        """

    @property
    def protocol(self) -> Mapping[str, Any]:
        """Return what scores depend on besides, in plain values for the metadata."""
        return {}
