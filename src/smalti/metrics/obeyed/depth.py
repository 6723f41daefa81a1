"""Whether images have the depths that they were drawn of: agreement about which of two cells is nearer."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64
from torch import Tensor

from smalti.features.protocol import Space
from smalti.metrics.obeyed.probes import cells, predicted, regression, some
from smalti.metrics.obeyed.protocol import Judge

_PAIRS = 2000  # of cells, of an image
_APART = 0.2  # of depths in [-1, 1], in maps: pairs nearer to one another have no order worth seeing
_PENALTY = 2.0


class Depth(Judge):
    """The share of pairs of cells of which images and maps agree which one is nearer.

    Maps of one scale an image have no more than an order to compare. Depths of images are seen by a ridge
    regression on a network's features, cell by cell, learned from real images and their maps; by chance it is
    right half of the time, and more by what is common to all images: the floor says so.
    """

    titles: ClassVar = {"depth_order": "share of pairs of places in the order of depth that was asked for"}

    def __init__(self, space: Space) -> None:
        """space: whose features it sees."""
        self._space, self._model = space, None

    @classmethod
    def of(cls, condition: Any, space: Space) -> "Depth":
        """See Judge."""
        return cls(space)

    def lesson(self, images: Float[Tensor, "b 3 H W"], conditions: Any) -> dict[str, Tensor]:
        """See Judge: features and depth of some cells."""
        found = cells(self._space, images)
        depths = _depths(conditions, (found.shape[1], found.shape[2]))
        return {"features": some(found), "depths": some(depths)}

    def learn(self, lessons: Mapping[str, Tensor]) -> None:
        """See Judge."""
        self._model = regression(lessons["features"], lessons["depths"][:, None], _PENALTY)

    def look(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b h w"]:
        """See Judge: the depth of each cell."""
        places = cells(self._space, images)
        return predicted(self._model, places).view(places.shape[:-1]).float()

    def compare(self, seen: Float[Tensor, "b h w"], conditions: Any) -> Float64[Tensor, "b k"]:
        """See Judge: pairs in the order of the map, pairs that have one."""
        asked = _depths(conditions, (seen.shape[1], seen.shape[2])).flatten(1)
        chance = torch.Generator().manual_seed(0)
        one, other = torch.randint(asked.shape[1], (2, _PAIRS), generator=chance)
        apart = asked[:, one] - asked[:, other]
        found = seen.flatten(1)
        counted = apart.abs() > _APART
        agreed = counted & (apart * (found[:, one] - found[:, other]) > 0)
        return torch.stack([agreed.sum(1), counted.sum(1)], 1).double()

    def numbers(self, rows: Float64[Tensor, "n k"]) -> dict[str, float]:
        """See Judge: the mean over images whose maps are not flat."""
        agreed, counted = rows[rows[:, 1] > 0].T
        return {"depth_order": (agreed / counted).mean().item()}

    def protocol(self) -> dict[str, Any]:
        """See Judge."""
        about = {"probe": "ridge regression", "pairs": _PAIRS, "apart": _APART}
        return {**about, "network": dict(self._space.protocol)}


def _depths(maps: Float[Tensor, "b c H W"], size: tuple[int, int]) -> Float[Tensor, "b h w"]:
    return F.adaptive_avg_pool2d(maps.float().mean(1, keepdim=True), size)[:, 0].cpu()
