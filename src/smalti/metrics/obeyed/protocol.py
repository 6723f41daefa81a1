"""What tells whether images obey their conditions: a judge, which learns from real pairs, and its numbers."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from smalti.errors import UserError
from smalti.features.protocol import Space

_BATCH = 16  # images looked at together


@dataclass(frozen=True)
class Lazy:
    """Images or conditions that are made or read when they are looked at."""

    count: int
    get: Callable[[Sequence[int]], Any]  # some of them, by their numbers

    def __len__(self) -> int:
        return self.count


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Images and the condition of each, as a model's `Condition.from_batch` gives conditions."""

    images: Any  # floats in [-1, 1], (n c H W), or `Lazy`
    conditions: Any  # n of them: a tensor, a sequence, or `Lazy`

    def __post_init__(self) -> None:
        if len(self.images) != len(self.conditions):
            got = f"{len(self.images)} images and {len(self.conditions)} conditions"
            raise UserError("a condition for each image", got, "give one row of each a pair")


@dataclass(frozen=True, kw_only=True)
class Obeyed:
    """How well conditions are obeyed, and what to hold that against."""

    value: float
    floor: float  # of the same images, each held against the condition of another: nobody looked at it
    ceiling: float  # of real images and their own conditions: all that the judge can see
    count: int  # of the images
    real: int  # of the real images
    train: int  # of the pairs that the judge learned from; 0 where it learns nothing


class Judge(ABC):
    """A member of the shelf of one kind of condition.

    Images are taken in batch by batch: `lesson` and `compare` give a row an image, which may be joined in any
    way, `learn` and `numbers` take the rows of all. Between them nothing is kept.
    """

    titles: ClassVar[Mapping[str, str]]  # what each of its numbers is, for a person; the higher the better
    learns: bool = True
    most: ClassVar[int] = 500  # training pairs that it learns from at most

    @classmethod
    @abstractmethod
    def of(cls, condition: Any, space: Space) -> "Judge":
        """Return the judge of a model's condition, which sees by the features of a space."""

    def lesson(self, images: Float[Tensor, "b c H W"], conditions: Any) -> dict[str, Tensor]:
        """Return what is learned from real pairs, rows by name; nothing where it learns nothing."""
        return {}

    def learn(self, lessons: Mapping[str, Tensor]) -> None:
        """Learn from the rows of all real training pairs."""
        return

    @abstractmethod
    def look(self, images: Float[Tensor, "b c H W"]) -> Any:
        """Return what is seen in images, to be compared with one condition after another."""

    @abstractmethod
    def compare(self, seen: Any, conditions: Any) -> Float64[Tensor, "b k"]:
        """Return what of its condition is seen in each image: counts, sums, vectors."""

    @abstractmethod
    def numbers(self, rows: Float64[Tensor, "n k"]) -> dict[str, float]:
        """Return the numbers of a set of images by name, of the rows that `compare` gave."""

    def protocol(self) -> dict[str, Any]:
        """Return what the numbers depend on, beside images and conditions, in plain values."""
        return {}


def obeyed(judge: Judge, given: Pairs, *, real: Pairs, train: Pairs | None = None) -> dict[str, Obeyed]:
    """Return how well images obey their conditions, by the judge's names for it.

    given: the images to judge. real: real ones that were held out, with their conditions. train: real pairs
    to learn from, none of them held out; None: the judge has learned already, or learns nothing. Raises
    UserError below two images, for which there is no other condition.
    """
    if train is not None:
        parts = [judge.lesson(images, take(train.conditions, some)) for some, images in _batches(train)]
        judge.learn({name: torch.cat([part[name] for part in parts]) for name in parts[0]})
    own, other = rows(judge, given)
    value, floor, ceiling = (judge.numbers(found) for found in (own, other, rows(judge, real)[0]))
    counts = {"count": len(given.images), "real": len(real.images)}
    learned = 0 if train is None or not judge.learns else len(train.images)
    return {
        name: Obeyed(value=value[name], floor=floor[name], ceiling=ceiling[name], train=learned, **counts)
        for name in judge.titles
    }


def rows(judge: Judge, pairs: Pairs) -> tuple[Float64[Tensor, "n k"], Float64[Tensor, "n k"]]:
    """Return what is seen of each image's own condition, and of that of another image: see `others`."""
    exchanged, found = others(len(pairs.images)), []
    for numbers, images in _batches(pairs):
        seen = judge.look(images)
        both = (numbers, [exchanged[number] for number in numbers])
        found.append([judge.compare(seen, take(pairs.conditions, some)) for some in both])
    own, other = zip(*found, strict=True)
    return torch.cat(own), torch.cat(other)


def others(count: int) -> list[int]:
    """Return for each of count images the number of another one, each of them once, the same every time.

    UserError for a single image.
    """
    if count < 2:
        raise UserError("at least 2 images with conditions", str(count), "give more: one has no floor")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0)).tolist()
    found = dict(zip(order, order[1:] + order[:1], strict=True))
    return [found[number] for number in range(count)]


def take(found: Any, numbers: Sequence[int]) -> Any:
    """Return some of the images or conditions, in the order of their numbers."""
    if isinstance(found, Lazy):
        return found.get(numbers)
    return (
        found[torch.tensor(numbers)] if isinstance(found, Tensor) else [found[number] for number in numbers]
    )


def _batches(pairs: Pairs) -> Iterator[tuple[list[int], Tensor]]:
    count = len(pairs.images)
    for start in range(0, count, _BATCH):
        numbers = list(range(start, min(start + _BATCH, count)))
        yield numbers, take(pairs.images, numbers)
