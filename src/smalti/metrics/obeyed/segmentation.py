"""Whether images show the segmentations that they were drawn of: mIoU by a small segmenter."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from smalti.features.protocol import Space
from smalti.imaging import resize
from smalti.metrics.obeyed.probes import Discriminant, cells, some
from smalti.metrics.obeyed.protocol import Judge


class Segmentation(Judge):
    """Mean intersection over union of classes, and the share of cells of the right class.

    A linear discriminant over a network's features, cell by cell, learned from real images and their
    segmentations: it sees much less than a segmenter of today, and the ceiling says how much. The mean is
    over the classes that are asked for anywhere in the set; every class number counts as one.
    """

    titles: ClassVar = {
        "miou": "mIoU of segmentations and what a small segmenter sees",
        "segmentation_accuracy": "share of cells of which a small segmenter sees the class asked for",
    }

    def __init__(self, space: Space, classes: int) -> None:
        """space: whose features it sees. classes: numbers in segmentations are 0 .. classes - 1."""
        self._space, self._classes = space, classes
        self._model: Discriminant | None = None

    @classmethod
    def of(cls, condition: Any, space: Space) -> "Segmentation":
        """See Judge."""
        return cls(space, condition.tokenizer.channels)

    def lesson(self, images: Float[Tensor, "b 3 H W"], conditions: Any) -> dict[str, Tensor]:
        """See Judge: features and class of some cells."""
        found = cells(self._space, images)
        labels = _labels(conditions, (found.shape[1], found.shape[2]))
        return {"features": some(found), "labels": some(labels)}

    def learn(self, lessons: Mapping[str, Tensor]) -> None:
        """See Judge."""
        self._model = Discriminant.fit(lessons["features"], lessons["labels"], self._classes)

    def look(self, images: Float[Tensor, "b 3 H W"]) -> Int64[Tensor, "b h w"]:
        """See Judge: the class of each cell."""
        assert self._model is not None, "it learns first"
        return self._model.classes(cells(self._space, images))

    def compare(self, seen: Int64[Tensor, "b h w"], conditions: Any) -> Float64[Tensor, "b k"]:
        """See Judge: of each class the cells seen and asked for, seen, asked for."""
        asked = _labels(conditions, (seen.shape[1], seen.shape[2]))
        none = torch.full_like(asked, self._classes)  # counted behind the classes, and left out
        counts = [self._counts(one) for one in (asked.where(asked == seen, none), seen, asked)]
        return torch.cat(counts, 1)

    def numbers(self, rows: Float64[Tensor, "n k"]) -> dict[str, float]:
        """See Judge."""
        both, seen, asked = rows.sum(0).view(3, self._classes)
        there = asked > 0
        return {
            "miou": (both / (seen + asked - both).clamp(min=1))[there].mean().item(),
            "segmentation_accuracy": (both.sum() / asked.sum()).item(),
        }

    def protocol(self) -> dict[str, Any]:
        """See Judge."""
        return {"segmenter": "linear discriminant", "network": dict(self._space.protocol)}

    def _counts(self, labels: Int64[Tensor, "b h w"]) -> Float64[Tensor, "b k"]:
        counts = [torch.bincount(one.flatten(), minlength=self._classes + 1) for one in labels]
        return torch.stack(counts)[:, : self._classes].double()


def _labels(conditions: Tensor, size: tuple[int, int]) -> Int64[Tensor, "b h w"]:
    """Return a class for each cell, of class numbers (b H W) or of a channel a class (b c H W)."""
    labels = conditions.argmax(1) if conditions.dim() == 4 else conditions
    return resize(labels[:, None].float(), size, "nearest-exact")[:, 0].long().cpu()
