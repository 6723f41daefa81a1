"""Whether images show things in the boxes that they were drawn of: recall by a classifier of crops."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from smalti.conditions.box_tokens import Object, Scene, flipped, rescaled
from smalti.features.protocol import Space
from smalti.imaging import resize
from smalti.metrics.obeyed.probes import classifier, predicted
from smalti.metrics.obeyed.protocol import Judge

_MOST = 8  # boxes of an image, the largest
_LEAST = 0.1  # of the image's sides that a box has: in smaller ones there is nothing to see
_VISIBLE = 0.5  # of a box's area that lies in the crop
_SIDE = 96  # pixels of a crop


class Boxes(Judge):
    """The share of boxes in which a classifier of crops sees the class that was asked for there.

    A logistic regression on features of crops, learned from those of real images. Boxes too small to see
    anything in, and all but the largest few of an image, are left out. Models that are told points are judged
    by the boxes that these are the middles of.
    """

    titles: ClassVar = {
        "box_recall": "share of boxes in which a classifier of crops sees the class asked for"
    }

    def __init__(self, space: Space, classes: int) -> None:
        """space: whose features it sees. classes: how many; numbers from there on carry flags."""
        self._space, self._classes, self._model = space, classes, None

    @classmethod
    def of(cls, condition: Any, space: Space) -> "Boxes":
        """See Judge."""
        return cls(space, condition.settings.classes)

    def lesson(self, images: Float[Tensor, "b 3 H W"], conditions: Any) -> dict[str, Tensor]:
        """See Judge: features and class of each box."""
        features, labels, _ = self._boxes(images, conditions)
        return {"features": features, "labels": labels}

    def learn(self, lessons: Mapping[str, Tensor]) -> None:
        """See Judge."""
        self._model = classifier(lessons["features"], lessons["labels"])

    def look(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 3 H W"]:
        """See Judge: crops can be taken once boxes are known."""
        return images

    def compare(self, seen: Float[Tensor, "b 3 H W"], conditions: Any) -> Float64[Tensor, "b k"]:
        """See Judge: boxes with the right class, and boxes."""
        features, labels, owners = self._boxes(seen, conditions)
        rows = torch.zeros(len(seen), 2, dtype=torch.float64)
        if len(labels):
            right = (predicted(self._model, features) == labels).double()
            rows.index_add_(0, owners, torch.stack([right, torch.ones_like(right)], 1))
        return rows

    def numbers(self, rows: Float64[Tensor, "n k"]) -> dict[str, float]:
        """See Judge: of all boxes of the set together; without any it is no number."""
        right, count = rows.sum(0).tolist()
        return {"box_recall": right / count if count else math.nan}

    def protocol(self) -> dict[str, Any]:
        """See Judge."""
        about = {"classifier": "logistic regression", "boxes": _MOST, "least": _LEAST, "crop": _SIDE}
        return {**about, "network": dict(self._space.protocol)}

    def _boxes(self, images: Tensor, scenes: Sequence[Scene]) -> tuple[Tensor, Tensor, Tensor]:
        """Return features of all boxes of some images, the class of each, and the number of its image."""
        crops, labels, owners = [], [], []
        for number, (image, scene) in enumerate(zip(images, scenes, strict=True)):
            for thing in visible(scene):
                crops.append(_crop(image, thing))
                labels.append(int(thing.label) % self._classes)
                owners.append(number)
        features = (
            self._space.features(torch.stack(crops)).cpu() if crops else torch.zeros(0, self._space.width)
        )
        return features, torch.tensor(labels, dtype=torch.int64), torch.tensor(owners, dtype=torch.int64)


def visible(scene: Scene) -> list[Object]:
    """Return the things that are judged, the largest first, in shares of what is shown of the image."""
    found = []
    for thing in scene.objects:
        x0, y0, x1, y1 = rescaled(thing.box, scene.crop, clip_both_ends=True)
        shown = flipped((x0, y0, x1, y1)) if scene.is_flipped else (x0, y0, x1, y1)
        left, top, right, bottom = scene.crop
        whole = (thing.x1 - thing.x0) * (thing.y1 - thing.y0) / ((right - left) * (bottom - top))
        area = (x1 - x0) * (y1 - y0)
        if min(x1 - x0, y1 - y0) >= _LEAST and area >= _VISIBLE * whole:
            found.append((area, Object(thing.label, *shown)))
    found.sort(key=lambda pair: -pair[0])
    return [thing for _, thing in found[:_MOST]]


def _crop(image: Float[Tensor, "3 H W"], thing: Object) -> Float[Tensor, "3 y x"]:
    """Return what lies in a box, as a square."""
    height, width = image.shape[1:]
    top, bottom = round(thing.y0 * height), max(round(thing.y1 * height), round(thing.y0 * height) + 1)
    left, right = round(thing.x0 * width), max(round(thing.x1 * width), round(thing.x0 * width) + 1)
    return resize(image[None, :, top:bottom, left:right], (_SIDE, _SIDE))[0].clamp(-1, 1)
