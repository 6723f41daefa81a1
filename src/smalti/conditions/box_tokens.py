"""Boxes and points as tokens and back: the arithmetic of the 2021 code (2021 code's scene models).

All places are shares of the whole image, x to the right and y down, in [0, 1]. A token of a place is a
point of a grid of S x S points, S = floor(sqrt(no_tokens)), whose outer points lie on the image's border.
"""

from dataclasses import dataclass, replace
from math import isqrt
from typing import NamedTuple, TypeVar

from smalti.errors import UserError

Box = tuple[float, float, float, float]  # x0, y0, x1, y1

Whole = TypeVar("Whole", bound="Shown")

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
FLAGS = ("group", "occluded", "depiction", "inside")  # flag k adds classes * 2 ** k to a class's number


class Object(NamedTuple):
    """A thing in an image. A point is a box without extent."""

    label: int | str  # a class, by name or number; a number from `classes` on carries flags
    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def box(self) -> Box:
        """Return it without the label."""
        return self.x0, self.y0, self.x1, self.y1


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What is known of a whole image of which a crop is shown, perhaps flipped after the cut."""

    crop: Box = WHOLE  # of the image as it lies
    is_flipped: bool = False  # left to right

    def flipped(self: Whole) -> Whole:
        """Return it the other way round."""
        return replace(self, is_flipped=not self.is_flipped)

    def part(self: Whole, box: Box) -> Whole:
        """Return the part that a box, in shares of what is shown, cuts out of it."""
        x0, y0, x1, y1 = self.crop
        box = flipped(box) if self.is_flipped else box
        width, height = x1 - x0, y1 - y0
        inner = (x0 + box[0] * width, y0 + box[1] * height, x0 + box[2] * width, y0 + box[3] * height)
        return replace(self, crop=inner)

    @property
    def crop_as_shown(self) -> Box:
        """Return where the crop lies in the whole image, flipped where the crop is."""
        return flipped(self.crop) if self.is_flipped else self.crop


@dataclass(frozen=True)
class Scene(Shown):
    """The things in a whole image."""

    objects: tuple[Object, ...]


@dataclass(frozen=True)
class Points:
    """The grid of points that no_tokens can tell apart."""

    no_tokens: int

    @property
    def side(self) -> int:
        """Return the points of a row."""
        return isqrt(self.no_tokens)

    def token(self, x: float, y: float) -> int:
        """Return the nearest point; half-way ones go to the even number, as Python's round."""
        return round(y * (self.side - 1)) * self.side + round(x * (self.side - 1))

    def place(self, token: int) -> tuple[float, float]:
        """Return x, y of a point; UserError for a number that is none."""
        if not 0 <= token < self.side**2:
            remedy = "decode what encode gave, with the settings it was encoded with"
            raise UserError(f"the token of a point, 0 to {self.side**2 - 1}", str(token), remedy)
        y, x = divmod(token, self.side)
        return x / (self.side - 1), y / (self.side - 1)


def flipped(box: Box) -> Box:
    """Return the box mirrored left to right."""
    return 1 - box[2], box[1], 1 - box[0], box[3]


def touches(box: Box, crop: Box) -> bool:
    """Return whether a box shares area with a crop.

    What has no extent either way, whether it lies in the crop.
    """
    return _meets(box[0], box[2], crop[0], crop[2]) and _meets(box[1], box[3], crop[1], crop[3])


def rescaled(box: Box, crop: Box, *, clip_both_ends: bool) -> Box:
    """Return a box in shares of a crop, cut at the crop's borders.

    clip_both_ends: false as the 2021 code had it: a box that begins before the crop is moved there and keeps
    its width, or as much of it as fits.
    """
    x0, x1 = _rescaled(box[0], box[2], crop[0], crop[2], clip_both_ends)
    y0, y1 = _rescaled(box[1], box[3], crop[1], crop[3], clip_both_ends)
    return x0, y0, x1, y1


def _meets(begin: float, end: float, first: float, last: float) -> bool:
    if begin == end:
        return first <= begin <= last
    return max(begin, first) < min(end, last)


def _rescaled(
    begin: float, end: float, first: float, last: float, clip_both_ends: bool
) -> tuple[float, float]:
    length = last - first
    start = min(max((begin - first) / length, 0.0), 1.0)
    if clip_both_ends:
        return start, min(max((end - first) / length, 0.0), 1.0)
    return start, start + min((end - begin) / length, 1 - start)
