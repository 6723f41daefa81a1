"""Whether images show figures in the poses that they were drawn of: joints where they were asked for."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64
from torch import Tensor

from smalti.conditions.pose import SEEN, Figure, Pose, extent
from smalti.features.protocol import Space
from smalti.metrics.obeyed.probes import CELLS, cells, predicted, regression
from smalti.metrics.obeyed.protocol import Judge

_NEAR = 0.1  # of the figure's longer side: a joint so near to where it was asked for is right
_SPREAD = 0.06  # of that side: of the bell that is learned around a joint
_AROUND = 2  # cells around the highest score, of which the middle is taken
_PENALTY = 0.01


class Keypoints(Judge):
    """The share of joints that are seen within a tenth of the figure's longer side of where they should be.

    That is PCK at 0.1 (Yang and Ramanan, 2013, doi 10.1109/TPAMI.2012.261). A ridge regression on a network's
    features, cell by cell, learned from real images, says how near each joint is; where it says so most, the
    joint is. Of several figures the largest counts, with those of its joints that are not hidden. How well
    this sees the ceiling says: left and right are hard to tell apart, and small figures hard to measure.
    """

    titles: ClassVar = {
        "keypoints": "share of joints within a tenth of the figure's size of where it was asked for"
    }

    def __init__(self, space: Space, names: tuple[str, ...]) -> None:
        """space: whose features it sees. names: of the joints."""
        self._space, self._names, self._model = space, names, None

    @classmethod
    def of(cls, condition: Any, space: Space) -> "Keypoints":
        """See Judge."""
        return cls(space, condition.settings.names)

    def lesson(self, images: Float[Tensor, "b 3 H W"], conditions: Any) -> dict[str, Tensor]:
        """See Judge: features of some cells, and how near the joints are; half of the cells near to some."""
        found = cells(self._space, images)
        features, bells = [], []
        for image, pose in zip(found, conditions, strict=True):
            near = self._bells(pose, (image.shape[0], image.shape[1])).flatten(0, 1)
            chance = torch.randperm(len(near), generator=torch.Generator().manual_seed(0))
            at_joints = chance[near[chance].amax(1) > 0.5][: CELLS // 2]
            chosen = torch.cat([at_joints, chance[: CELLS - len(at_joints)]])
            features.append(image.flatten(0, 1)[chosen])
            bells.append(near[chosen])
        return {"features": torch.cat(features), "bells": torch.cat(bells)}

    def learn(self, lessons: Mapping[str, Tensor]) -> None:
        """See Judge."""
        self._model = regression(lessons["features"], lessons["bells"], _PENALTY)

    def look(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b j 3"]:
        """See Judge: x and y of each joint in shares of the image, and its width over its height."""
        found = predicted(self._model, cells(self._space, images)).float().permute(0, 3, 1, 2)
        places = _peaks(F.avg_pool2d(found, 3, 1, 1))
        aspect = torch.full_like(places[..., :1], images.shape[3] / images.shape[2])
        return torch.cat([places, aspect], 2)

    def compare(self, seen: Float[Tensor, "b j 3"], conditions: Any) -> Float64[Tensor, "b k"]:
        """See Judge: joints that are right, joints that count."""
        rows = torch.zeros(len(seen), 2, dtype=torch.float64)
        for row, places, pose in zip(rows, seen.tolist(), conditions, strict=True):
            figure, side = _largest(pose, places[0][2])
            for joint, (x, y, aspect) in zip(figure, places, strict=False):
                if joint.visibility == SEEN:
                    away = math.hypot((joint.x - x) * aspect, joint.y - y)
                    row += torch.tensor([away <= _NEAR * side, True])
        return rows

    def numbers(self, rows: Float64[Tensor, "n k"]) -> dict[str, float]:
        """See Judge: of all joints of the set together; without any it is no number."""
        right, count = rows.sum(0).tolist()
        return {"keypoints": right / count if count else math.nan}

    def protocol(self) -> dict[str, Any]:
        """See Judge."""
        about = {"probe": "ridge regression", "near": _NEAR, "spread": _SPREAD, "joints": len(self._names)}
        return {**about, "network": dict(self._space.protocol)}

    def _bells(self, pose: Pose, grid: tuple[int, int]) -> Float[Tensor, "h w j"]:
        """Return how near cells are to the joints of the largest figure: 1 at a joint, 0 far away."""
        height, width = grid
        aspect = width / height
        figure, side = _largest(pose, aspect)
        y, x = torch.meshgrid(
            (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij"
        )
        found, spread = torch.zeros(height, width, len(self._names)), max(_SPREAD * side, 0.5 / height)
        for number, joint in enumerate(figure):
            if joint.visibility:
                squares = ((x - joint.x) * aspect) ** 2 + (y - joint.y) ** 2
                found[:, :, number] = torch.exp(-squares / (2 * spread**2))
        return found


def _largest(pose: Pose, aspect: float) -> tuple[Figure, float]:
    """Return what is shown of the largest figure, and the longer side of the whole, in heights of the image.

    Empty where nobody is. aspect: the image's width over its height.
    """
    shown = pose.seen()
    there = [number for number, one in enumerate(shown) if any(joint.visibility for joint in one)]
    if not there:
        return (), 0.0
    number = max(there, key=lambda one: extent(shown[one]))
    places = [joint[:2] for joint in pose.beyond()[number] if joint.visibility]
    across, down = (max(axis) - min(axis) for axis in zip(*places, strict=True))
    return shown[number], max(across * aspect, down)


def _peaks(scores: Float[Tensor, "b j h w"]) -> Float[Tensor, "b j 2"]:
    """Return x and y, in shares of the image, of the highest scores: the middle of what is around them."""
    height, width = scores.shape[2:]
    best = scores.flatten(2).argmax(2)
    top, left = best // width, best % width
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    away = torch.maximum((y - top[..., None, None]).abs(), (x - left[..., None, None]).abs())
    weights = (scores.clamp(min=0) * (away <= _AROUND)) ** 2
    weights = torch.where(away == 0, weights.clamp(min=1e-6), weights)  # where all scores are below 0
    total = weights.sum((2, 3))
    places = [(weights * (axis + 0.5)).sum((2, 3)) / total for axis in (x, y)]
    return torch.stack([places[0] / width, places[1] / height], 2)
