"""Whether images have the outlines that they were drawn of: overlap of what is not ground."""

import math
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from smalti.conditions.computed.edges import EXTRA
from smalti.errors import optional
from smalti.features.protocol import Space
from smalti.metrics.obeyed.protocol import Judge

_WHITE = 0.9  # of [-1, 1]: darker in any colour is no ground, on which transparency is laid


class Silhouette(Judge):
    """IoU of silhouettes, and of what stands on the white ground of images, its holes filled.

    White things at the border of what is shown are taken for ground: the ceiling says how often.
    """

    titles: ClassVar = {"silhouette_iou": "IoU of silhouettes and of what stands on white ground"}
    learns = False

    @classmethod
    def of(cls, condition: Any, space: Space) -> "Silhouette":
        """See Judge."""
        return cls()

    def look(self, images: Float[Tensor, "b c H W"]) -> Bool[Tensor, "b H W"]:
        """See Judge: what is not ground. UserError without scipy, which comes with scikit-image."""
        filled = optional("scipy.ndimage", extra=EXTRA).binary_fill_holes
        dark = (images.amin(1) < _WHITE).cpu().numpy()
        return torch.stack([torch.from_numpy(filled(one)) for one in dark])

    def compare(self, seen: Bool[Tensor, "b H W"], conditions: Any) -> Float64[Tensor, "b k"]:
        """See Judge: pixels in both, in either."""
        asked = conditions[:, 0].cpu() > 0
        return torch.stack([(seen & asked).flatten(1).sum(1), (seen | asked).flatten(1).sum(1)], 1).double()

    def numbers(self, rows: Float64[Tensor, "n k"]) -> dict[str, float]:
        """See Judge: the mean over images that have or ask for anything."""
        both, either = rows[rows[:, 1] > 0].T
        return {"silhouette_iou": (both / either).mean().item() if len(either) else math.nan}

    def protocol(self) -> dict[str, Any]:
        """See Judge."""
        return {"ground": f"white from {_WHITE:g}, holes filled"}
