"""Whether images have the edges that they were drawn of: F1 of one detector on images and conditions."""

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from smalti.conditions.computed.edges import EdgesSettings, canny
from smalti.features.protocol import Space
from smalti.metrics.obeyed.protocol import Judge

# Of the diagonal: 1 pixel at 128, 2 at 256. The benchmark of contours (BSDS500) has .0075 and pairs edges off
# one by one; without that, edges of other photographs of 256 pixels agree at .56 with it, at .44 with this.
_TOLERANCE = 0.0055


class Edges(Judge):
    """F1 of edges, those at most a tolerance apart taken for the same.

    Edges of images are found by scikit-image's Canny; maps hold theirs as light lines on dark. Where these
    came from another detector, the ceiling is lower by what the two differ in.
    """

    titles: ClassVar = {"edge_f1": "F1 of edges, of images and of the maps that they were drawn of"}
    learns = False

    def __init__(self, sigma: float = EdgesSettings.sigma) -> None:
        """sigma: of Canny's blur, in pixels."""
        self._sigma = sigma

    @classmethod
    def of(cls, condition: Any, space: Space) -> "Edges":
        """See Judge: with the blur of maps that are computed, else that of the 2021 code."""
        return cls() if condition.compute is None else cls(condition.compute.settings.sigma)

    def look(self, images: Float[Tensor, "b c H W"]) -> Bool[Tensor, "b H W"]:
        """See Judge: where edges are. UserError without scikit-image."""
        return canny(images, self._sigma)

    def compare(self, seen: Bool[Tensor, "b H W"], conditions: Any) -> Float64[Tensor, "b k"]:
        """See Judge: edges seen and how many of them are asked for, edges asked for and how many are seen."""
        asked = lines(conditions)
        height, width = seen.shape[1:]
        reach = max(1, round(_TOLERANCE * (height**2 + width**2) ** 0.5))
        counts = [seen, seen & _near(asked, reach), asked, asked & _near(seen, reach)]
        return torch.stack([one.flatten(1).sum(1) for one in counts], 1).double()

    def numbers(self, rows: Float64[Tensor, "n k"]) -> dict[str, float]:
        """See Judge: of all edges of the set together; where none are asked for it is no number."""
        seen, right, asked, found = rows.sum(0).tolist()
        if not asked:
            return {"edge_f1": math.nan}
        precision, recall = right / max(seen, 1), found / asked
        return {"edge_f1": 2 * precision * recall / max(precision + recall, 1e-12)}

    def protocol(self) -> dict[str, Any]:
        """See Judge."""
        return {
            "detector": f"Canny of scikit-image, sigma {self._sigma:g}",
            "tolerance": f"{_TOLERANCE} diagonal",
        }


def lines(maps: Float[Tensor, "b c H W"]) -> Bool[Tensor, "b H W"]:
    """Return where maps of edges have some: above the middle between the darkest and the lightest value.

    Such maps are in [0, 1] as the 2021 code has them, or in [-1, 1].
    """
    light = maps.mean(1)
    return light > (light.min() + light.max()) / 2


def _near(edges: Bool[Tensor, "b H W"], reach: int) -> Bool[Tensor, "b H W"]:
    """Return where an edge is at most `reach` pixels away, in a disc."""
    away = torch.arange(-reach, reach + 1)
    disc = (away[:, None] ** 2 + away**2 <= reach**2).float()
    return F.conv2d(edges[:, None].float(), disc[None, None], padding=reach)[:, 0] > 0
