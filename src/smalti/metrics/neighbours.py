"""Neighbours among features: precision and recall, density and coverage, copies, diversity."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from smalti.errors import UserError
from smalti.metrics.sets import ROWS, OfSets, check, check_sets, mean_of

COPY = 0.5  # of the distance between real neighbours: see `nearest`
_CELLS = 2**25  # of distances at a time: 268 MB in float64
# Below this share of the lengths' squares a squared distance is rounding, that of float32 features included:
# the same image. Two radii as near as this are equal.
_ROUNDING = 1e-10


class Neighbours(OfSets):
    """How much of the real images' manifold the fake ones lie on, and cover: see `manifold`."""

    better, images = "higher", 6  # one more than the neighbours that `manifold` asks for

    def compute(self) -> dict[str, float]:
        """See Metric: the four numbers, each after the features' name."""
        found = manifold(self.fake(), self.real())
        return {f"{self.name}_{key}": number for key, number in vars(found).items()}


@dataclass(frozen=True)
class Manifold:
    """What `manifold` found; all but the density are shares, 0 to 1."""

    precision: float
    recall: float
    density: float
    coverage: float


def manifold(
    fake: Float[Tensor, "n f"],
    real: Float[Tensor, "m g"],
    *,
    neighbour: int = 3,
    density_neighbour: int = 5,
) -> Manifold:
    """Return how much fake features lie within the balls of real ones, and the other way round.

    A ball reaches from an image to its k-th neighbour in its own set, its border included. Precision and
    recall (arXiv:1904.06991, k = 3): the share of fake images in a ball of a real one, of real ones in a ball
    of a fake one. Density and coverage (arXiv:2002.09797, k = 5): in how many real balls a fake image lies,
    over k; the share of real balls that hold a fake image.

    Borders belong to balls, as in the papers' formulas and unlike in the package prdc: so exact copies are
    precise where the real image stands k + 1 times too, and copies of a whole set have a density of
    (k + 1) / k. None of the four sees that images are copies: see `nearest`. All depend on n and m: compare
    figures of equal ones. Raises UserError for sets of k images or fewer, features that are not finite, and
    unequal widths.
    """
    check_sets(fake, real, max(neighbour, density_neighbour) + 1)
    reach, wide = _radii(real, (neighbour, density_neighbour))
    (own,) = _radii(fake, (neighbour,))
    precise, dense = 0, 0
    recalled = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    covered = recalled.clone()
    for rows, squares in _squares(fake, real):
        precise += int((squares <= reach).any(1).sum())
        inside = squares <= wide
        dense += int(inside.sum())
        covered |= inside.any(0)
        recalled |= (squares <= own[rows, None]).any(0)
    return Manifold(
        precision=precise / len(fake),
        recall=recalled.double().mean().item(),
        density=dense / (density_neighbour * len(fake)),
        coverage=covered.double().mean().item(),
    )


@dataclass(frozen=True)
class Nearest:
    """The training images nearest to each image, nearest first."""

    indices: Int64[Tensor, "n k"]
    distances: Float[Tensor, "n k"]  # between features
    # the distance to the nearest over the distance from that one to the nearest other training image
    ratios: Float[Tensor, " n"]

    @property
    def copies(self) -> Bool[Tensor, " n"]:
        """Return which images are taken for copies of their nearest training image: see `nearest`."""
        return self.ratios < COPY


def nearest(images: Float[Tensor, "n f"], training: Float[Tensor, "m g"], count: int = 1) -> Nearest:
    """Return the `count` training images nearest to each image by the distance of features, and copies.

    An image is taken for a copy where it is twice as near to a training image as that one is to any other
    that differs from it: distances of features have a scale of their own in each network and each corner of
    a set, which real neighbours tell. In lite0 it finds, of copies of 150 photographs, all that are flipped,
    87 % enlarged by a tenth, 78 % of JPEG quality 75, 77 % shifted by 4 pixels and 27 % blurred by 1, and
    takes one of 243 held-out ones, which is in both halves. Of emoji, which are near one another, it finds
    57 % of those flipped and takes 3 % of the held-out ones (experiments/copies.py): so read the share beside
    that of held-out images. Raises UserError for fewer training images than asked for, one that is the same
    as all others, features that are not finite, and unequal widths.
    """
    check_sets(images, training)
    if not 1 <= count < len(training):
        most = len(training) - 1
        raise UserError(f"1 to {most} nearest training images", str(count), f"the set has {len(training)}")
    found = [squares.topk(count, largest=False) for _, squares in _squares(images, training)]
    indices, values = torch.cat([one.indices for one in found]), torch.cat([one.values for one in found])
    first, place = torch.unique(indices[:, 0], return_inverse=True)
    gaps = [
        squares.masked_fill_(squares == 0, torch.inf).amin(1)  # itself, and others that are the same image
        for _, squares in _squares(training[first], training)
    ]
    gap = torch.cat(gaps)
    if gap.isinf().any():
        raise UserError("training images that differ", "one and the same", "give the whole training set")
    return Nearest(indices, values.sqrt(), (values[:, 0] / gap[place]).sqrt())


def diversity(features: Float[Tensor, "n f"], classes: Int64[Tensor, " n"]) -> dict[int, float]:
    """Return for each class with two images or more the mean distance between two of its images.

    In the units of the features: read it beside that of as many real images. Raises UserError where no class
    has two, and for features that are not finite.
    """
    check(features, "generated", 2)
    found = {}
    for number, count in Counter(classes.tolist()).items():
        if count > 1:
            members = features[classes == number]
            total = sum(squares.sqrt().sum().item() for _, squares in _squares(members, members))
            found[number] = total / (count * (count - 1))
    if not found:
        raise UserError("two images or more of some class", "one at most of each", "draw more of each")
    return found


def _squares(a: Tensor, b: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Return squared distances of some rows of a to all of b, in float64, slice by slice."""
    centre = mean_of(b)  # far from nought the products would drown the distances
    step = max(1, _CELLS // len(b))
    for start in range(0, len(a), step):
        rows = slice(start, start + step)
        left = a[rows].double() - centre
        squares = left.new_empty(len(left), len(b))
        for to, right in zip(torch.split(squares, ROWS, 1), torch.split(b, ROWS), strict=True):
            to.copy_(_part(left, right.double() - centre))
        yield rows, squares


def _part(a: Tensor, b: Tensor) -> Tensor:
    lengths = a.square().sum(1)[:, None] + b.square().sum(1)
    squares = torch.addmm(lengths, a, b.mT, alpha=-2)
    return squares.masked_fill_(squares < _ROUNDING * lengths, 0)


def _radii(features: Tensor, neighbours: tuple[int, ...]) -> list[Tensor]:
    """Return squared distances to the k-th neighbours within the set, enlarged a little against rounding."""
    most = max(neighbours) + 1  # the nearest is the image itself
    found = torch.cat([part.topk(most, largest=False).values for _, part in _squares(features, features)])
    return [found[:, number] * (1 + _ROUNDING) for number in neighbours]
