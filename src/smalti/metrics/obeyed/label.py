"""Whether images show the class that they were drawn of."""

from collections.abc import Mapping
from typing import Any, ClassVar

from jaxtyping import Float, Float64, Int64
from torch import Tensor

from smalti.features.protocol import Space
from smalti.metrics.obeyed.probes import classifier, predicted
from smalti.metrics.obeyed.protocol import Judge


class Label(Judge):
    """The share of images whose class a logistic regression on features, learned from real ones, names."""

    titles: ClassVar = {"accuracy": "share whose class a classifier of training images names"}

    def __init__(self, space: Space) -> None:
        """space: whose features it sees."""
        self._space, self._model = space, None

    @classmethod
    def of(cls, condition: Any, space: Space) -> "Label":
        """See Judge."""
        return cls(space)

    def lesson(self, images: Float[Tensor, "b 3 H W"], conditions: Any) -> dict[str, Tensor]:
        """See Judge: features, and class."""
        return {"features": self._space.features(images).cpu(), "labels": conditions.cpu()}

    def learn(self, lessons: Mapping[str, Tensor]) -> None:
        """See Judge."""
        self._model = classifier(lessons["features"], lessons["labels"])

    def look(self, images: Float[Tensor, "b 3 H W"]) -> Int64[Tensor, " b"]:
        """See Judge: the class of each."""
        return predicted(self._model, self._space.features(images).cpu())

    def compare(self, seen: Int64[Tensor, " b"], conditions: Any) -> Float64[Tensor, "b k"]:
        """See Judge: 1 where it is the one that was asked for."""
        return (seen == conditions.cpu())[:, None].double()

    def numbers(self, rows: Float64[Tensor, "n k"]) -> dict[str, float]:
        """See Judge."""
        return {"accuracy": rows.mean().item()}

    def protocol(self) -> dict[str, Any]:
        """See Judge."""
        return {"classifier": "logistic regression", "network": dict(self._space.protocol)}
