"""How far two sets of images lie apart, by their features."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from smalti.metrics.protocol import Measured, Metric


class Frechet(Metric):
    """How far the fake images lie from the real ones, by features: see `frechet`."""

    def __init__(self, features: Callable[[Tensor], Tensor], name: str) -> None:
        """features: of images (b c H W), (b f). name: which they are; FID is none but Inception's."""
        self.name, self._features = name, features
        self._real: list[Tensor] = []
        self._fake: list[Tensor] = []

    def update(self, batch: Measured) -> None:
        """See Metric. Of real and fake images there need not be as many, or any, in one batch."""
        for images, held in ((batch.real, self._real), (batch.fake, self._fake)):
            if images is not None:
                held.append(self._features(images))

    def compute(self) -> dict[str, float]:
        """See Metric: by its own name."""
        return {self.name: frechet(torch.cat(self._fake), torch.cat(self._real))}


def frechet(a: Float[Tensor, "n f"], b: Float[Tensor, "m f"]) -> float:
    """Return Frechet distance between Gaussians fitted to two sets of features (arXiv:1706.08500, eq. 6).

    In float64. It is biased upwards for few images: compare only figures of equal n and m. The trace of
    the product's root is the sum of the singular values of A B^T, where A and B are the centred features
    over sqrt(n - 1): exact, and no matrix is larger than n x m.
    """
    assert min(len(a), len(b)) > 1, "one image has no spread"
    a, b = a.double(), b.double()
    means = (a.mean(0) - b.mean(0)).square().sum()
    spread_a, spread_b = (_spread(features) for features in (a, b))
    roots = torch.linalg.svdvals(spread_a @ spread_b.mT).sum()
    distance = means + spread_a.square().sum() + spread_b.square().sum() - 2 * roots
    return max(distance.item(), 0.0)


def _spread(features: Tensor) -> Tensor:
    """Return x with x^T x the covariance; no more rows than columns, so that large sets stay small."""
    centred = (features - features.mean(0)) / (len(features) - 1) ** 0.5
    return torch.linalg.qr(centred).R if len(centred) > centred.shape[1] else centred
