"""How far two sets of images lie apart, by their features."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from smalti.errors import UserError
from smalti.metrics.sets import ROWS, OfSets, check_sets, mean_of

_COLUMNS = 512  # of a covariance at a time


class Frechet(OfSets):
    """How far the fake images lie from the real ones, by features: see `frechet`.

    The name is that of the features, as lite0-FD; FID is none but Inception's.
    """

    better, images = "lower", 2

    def compute(self) -> dict[str, float]:
        """See Metric: by its own name."""
        return {self.name: frechet(self.fake(), self.real())}


class Kid(OfSets):
    """How far the fake images lie from the real ones, by a kernel over features: see `kid`."""

    better, images = "lower", 4

    def compute(self) -> dict[str, float]:
        """See Metric: by its own name, and its standard error beside it."""
        found = kid(self.fake(), self.real())
        error = {} if found.error is None else {f"{self.name}_error": found.error}
        return {self.name: found.value, **error}


def frechet(a: Float[Tensor, "n f"], b: Float[Tensor, "m g"]) -> float:
    """Return the Frechet distance between Gaussians fitted to two sets of features (arXiv:1706.08500, eq. 6).

    In float64, covariances over n - 1. With R^T R the covariance of each set, the trace of the root of their
    product is the sum of the singular values of Ra Rb^T. Of few images (n <= f) R is the centred features
    over sqrt(n - 1), so that no matrix is larger than n x f; of more it is the covariance's own factor.

    It is biased upwards, the more the fewer the images: halves of one set of emoji lie .64, .30 and .13 of
    the set's variance apart in lite0 for n = 100, 400 and 1,100, and without bias would lie about 0 apart
    (experiments/frechet_bias.py). So compare only figures of equal n and m; `few` tells where
    covariances are singular. Raises UserError below two images a set, for features that are not finite, and
    for unequal widths.
    """
    check_sets(a, b, least=Frechet.images)
    (mean_a, root_a), (mean_b, root_b) = (_gaussian(features) for features in (a, b))
    means = (mean_a - mean_b).square().sum()
    distance = means + root_a.square().sum() + root_b.square().sum() - 2 * _trace_of_root(root_a, root_b)
    return max(distance.item(), 0.0)


def few(count: int, width: int) -> str | None:
    """Return a warning where a covariance of this width is singular for so few images, else None."""
    if count > width:
        return None
    return (
        f"warning: {count} images are few for {width} features, whose covariance is singular: "
        "the distance is much too large, and compares only with those of as many images"
    )


@dataclass(frozen=True)
class KernelDistance:
    """What `kid` found."""

    value: float  # the mean over subsets; below 0 by chance where sets are alike
    spread: float  # the standard deviation over subsets, which others print after "+-"
    error: float | None  # the standard error of the value for this many images; None: of subsets too large
    size: int  # images a subset


def kid(
    a: Float[Tensor, "n f"],
    b: Float[Tensor, "m g"],
    *,
    subsets: int = 100,
    size: int | None = None,
    seed: int = 0,
) -> KernelDistance:
    """Return the squared maximum mean discrepancy of two sets of features, kernel (x.y / f + 1)^3.

    The unbiased estimate (arXiv:1801.01401), a mean over random subsets without repetition, in float64. size:
    of a subset; None for 1,000 as published or half of the smaller set, if that is less: a subset as large as
    the set is always the same, and a spread of 0 says nothing. The standard error is that of subsampling: a
    mean over n images varies by sqrt(s / (n - s)) of what those over s of them do. Unlike a Frechet distance
    the value does not depend on n. Raises UserError below four images a set or two a subset, for subsets
    larger than a set, for features that are not finite and for unequal widths.
    """
    check_sets(a, b, least=Kid.images)
    least = min(len(a), len(b))
    size = min(1000, least // 2) if size is None else size
    if not 2 <= size <= least:
        raise UserError(f"subsets of 2 to {least} images", str(size), "choose their size between these")
    chance = torch.Generator().manual_seed(seed)
    chosen = [[torch.randperm(len(one), generator=chance)[:size] for one in (a, b)] for _ in range(subsets)]
    if len(a) * len(b) <= subsets * size**2:  # one product of all with all costs less than one a subset
        inside = [_inside(rows, one) for rows, one in zip(zip(*chosen, strict=True), (a, b), strict=True)]
        values = _discrepancies(a.double(), b.double(), *inside)
    else:
        whole = torch.ones(1, size, dtype=torch.float64, device=a.device)
        each = [(a[left].double(), b[right].double()) for left, right in chosen]
        values = torch.cat([_discrepancies(left, right, whole, whole) for left, right in each])
    spread = values.std(correction=0).item()
    error = spread * (size / (least - size)) ** 0.5 if 2 * size <= least and subsets > 1 else None
    return KernelDistance(values.mean().item(), spread, error, size)


def _gaussian(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean, and R of at most f rows with R^T R the covariance."""
    count, width = features.shape
    mean = mean_of(features)
    if count <= width:
        return mean, (features.double() - mean) / (count - 1) ** 0.5
    scatter = torch.zeros(width, width, dtype=torch.float64, device=features.device)
    for rows in torch.split(features, ROWS):
        centred = rows.double() - mean
        for start in range(0, width, _COLUMNS):  # symmetric: the blocks above the diagonal are enough
            block = centred[:, start : start + _COLUMNS]
            scatter[start : start + _COLUMNS, start:] += block.mT @ centred[:, start:]
    covariance = (scatter.triu() + scatter.triu(1).mT) / (count - 1)
    root, failed = torch.linalg.cholesky_ex(covariance, upper=True)
    if failed:  # a feature that is always the same, or the sum of others
        squares, axes = torch.linalg.eigh(covariance)
        root = squares.clamp(min=0).sqrt()[:, None] * axes.mT
    return mean, root


def _trace_of_root(a: Tensor, b: Tensor) -> Tensor:
    """Return the sum of the singular values of a b^T."""
    product = a @ b.mT
    if min(product.shape) < a.shape[1]:  # of few images: singular, and roots of noise would add up
        return torch.linalg.svdvals(product).sum()
    return torch.linalg.eigvalsh(product @ product.mT).clamp(min=0).sqrt().sum()  # in a third of the time


def _inside(subsets: Sequence[Tensor], features: Tensor) -> Tensor:
    """1 where an image is in a subset, (subsets n)."""
    inside = torch.zeros(len(subsets), len(features), dtype=torch.float64)
    return inside.scatter_(1, torch.stack(list(subsets)), 1).to(features.device)


def _discrepancies(a: Tensor, b: Tensor, in_a: Tensor, in_b: Tensor) -> Tensor:
    """Return the unbiased estimate of each subset.

    in_a, in_b: 1 for its members, (subsets n) and (subsets m).
    """
    size = in_a.sum(1)
    alike = _sums(a, a, in_a, in_a) + _sums(b, b, in_b, in_b)
    return alike / (size * (size - 1)) - 2 * _sums(a, b, in_a, in_b) / size**2


def _sums(a: Tensor, b: Tensor, in_a: Tensor, in_b: Tensor) -> Tensor:
    """Return the kernel's sum over all pairs of each subset; an image and itself are no pair."""
    total = torch.zeros(len(in_a), dtype=torch.float64, device=a.device)
    for start in range(0, len(a), ROWS):
        rows = slice(start, start + ROWS)
        kernel = (a[rows] @ b.mT / a.shape[1] + 1) ** 3
        if a is b:
            kernel.diagonal(start).zero_()
        total += (in_a[:, rows] * (in_b @ kernel.mT)).sum(1)
    return total
