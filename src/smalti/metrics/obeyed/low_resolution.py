"""Whether images, reduced, are the small images that they were drawn of: PSNR."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64
from torch import Tensor

from smalti.conditions.computed.low_resolution import LowResolution as Computed
from smalti.features.protocol import Space
from smalti.metrics.obeyed.protocol import Judge
from smalti.metrics.reconstruction import psnr

_FACTORS = (1, 2, 4, 8, 16)
# Correlation of details from which on they are of the same image: of 86 photographs, reduced by 1 to 16 in
# six ways, details that were kept have .77 and more, those that were lost .63 and less.
_ALIKE = 0.7


class LowResolution(Judge):
    """PSNR of images and maps, both reduced by a factor.

    Maps are as large as images, however small what they were made of. The factor is the least one at which
    the details of real images and of their maps, those a square of so many pixels has beside three others,
    are the same. Maps that are computed of images say their factor: what is compared then are small images.
    """

    titles: ClassVar = {"low_resolution_psnr": "PSNR in dB of reduced images and what they were drawn of"}

    def __init__(self, factor: int | None = None, compute: Computed | None = None) -> None:
        """factor: by which maps are reduced; None: it learns it. compute: how they are made of images."""
        self.factor, self._compute = factor, compute
        self.learns = compute is None

    @classmethod
    def of(cls, condition: Any, space: Space) -> "LowResolution":
        """See Judge."""
        compute = condition.compute
        return cls() if compute is None else cls(compute.settings.factor, compute)

    def lesson(self, images: Float[Tensor, "b 3 H W"], conditions: Any) -> dict[str, Tensor]:
        """See Judge: sums of products of details at each factor, for a correlation."""
        return {
            str(factor): _products(_details(images, factor), _details(conditions, factor))
            for factor in _FACTORS
            if min(images.shape[2:]) >= 2 * factor
        }

    def learn(self, lessons: Mapping[str, Tensor]) -> None:
        """See Judge."""
        alike = {}
        for factor, rows in lessons.items():
            both, image, small = rows.sum(0).tolist()
            alike[int(factor)] = both / max((image * small) ** 0.5, 1e-12)
        first = (factor for factor, value in alike.items() if value >= _ALIKE)
        self.factor = next(first, max(alike, key=alike.__getitem__))

    def look(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 3 H W"]:
        """See Judge."""
        return images

    def compare(self, seen: Float[Tensor, "b 3 H W"], conditions: Any) -> Float64[Tensor, "b k"]:
        """See Judge: the PSNR of each."""
        if self._compute is not None:
            return psnr(self._compute.shrunk(seen), self._compute.small(conditions))[:, None].double()
        assert self.factor is not None, "it learns first"
        return _apart(seen, conditions, self.factor)[:, None].double()

    def numbers(self, rows: Float64[Tensor, "n k"]) -> dict[str, float]:
        """See Judge: the mean over images."""
        return {"low_resolution_psnr": rows.mean().item()}

    def protocol(self) -> dict[str, Any]:
        """See Judge."""
        how = "means of squares" if self._compute is None else self._compute.settings.filter
        return {"factor": self.factor, "reduced": how}


def _apart(images: Tensor, maps: Tensor, factor: int) -> Float[Tensor, " b"]:
    return psnr(*(F.avg_pool2d(some.float(), factor).clamp(-1, 1) for some in (images, maps)))


def _details(images: Tensor, factor: int) -> Tensor:
    """Return what means of squares of a side of `factor` pixels differ by from those of twice the side."""
    means = F.avg_pool2d(images.double(), factor)
    means = means[:, :, : means.shape[2] // 2 * 2, : means.shape[3] // 2 * 2]
    return means - F.avg_pool2d(means, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)


def _products(a: Tensor, b: Tensor) -> Float64[Tensor, "b 3"]:
    return torch.stack([(x * y).flatten(1).sum(1) for x, y in ((a, b), (a, a), (b, b))], 1)
