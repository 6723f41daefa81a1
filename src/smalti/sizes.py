"""Sizes of crops: one, or several for images of several shapes; how they are written, which is nearest."""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated, Any

from annotated_types import MinLen
from pydantic import BeforeValidator

from smalti.config import Positive, read_size
from smalti.errors import UserError

Sides = tuple[int, int]  # height and width: in pixels, or rows and columns of cells


def _from_text(value: Any) -> Any:
    """Read 48x32 as commands take it, in place of [48, 32]; leave all else to the types."""
    return read_size(value) if isinstance(value, str) and "x" in value.lower() else value


def _several_from_text(value: Any) -> Any:
    """Read a list of sizes, each as commands take it or as two numbers; of one that size itself.

    UserError for sizes of one shape: an image would be as near to the one as to the other.
    """
    if isinstance(value, str) and "," in value:
        value = [read_size(one.strip()) for one in value.split(",")]
    if not isinstance(value, list | tuple) or all(isinstance(one, int) for one in value):
        return _from_text(value)
    found = [_from_text(one) for one in value]
    sides = [one if isinstance(one, list | tuple) else (one, one) for one in found]
    if len(sides) == 1:
        return sides[0]
    shapes: dict[Any, Any] = {}
    for one in sides:
        if len(one) == 2 and all(isinstance(side, int) and side > 0 for side in one):
            other = shapes.setdefault(Fraction(*one), one)
            if other is not one:
                got = "{} x {} and {} x {}".format(*other, *one)
                raise UserError("sizes of different shapes", got, "leave one of the two out")
    return sides


# pixels: a side, or height and width
Size = Annotated[Positive | tuple[Positive, Positive], BeforeValidator(_from_text)]
# or several such in a list: of each image the one whose shape is the nearest to its own
Sizes = Annotated[
    Positive | tuple[Positive, Positive] | Annotated[tuple[tuple[Positive, Positive], ...], MinLen(2)],
    BeforeValidator(_several_from_text),
]


def listed(size: int | Sequence[int] | Sequence[Sequence[int]]) -> tuple[Sides, ...]:
    """Return height and width of each size, of one or of several."""
    found: Any = (size, size) if isinstance(size, int) else size
    several = [found] if isinstance(found[0], int) else found
    return tuple((height, width) for height, width in several)


def plain(sizes: Sequence[Sides]) -> list[Any]:
    """Return sizes as files keep them: one as [height, width], several as a list of such."""
    found = [list(size) for size in sizes]
    return found if len(found) > 1 else found[0]


def worded(sizes: Sequence[Sides]) -> str:
    """Return sizes in words: 64 x 64, 48 x 80 and 80 x 48."""
    *others, last = ("{} x {}".format(*size) for size in sizes)
    return f"{', '.join(others)} and {last}" if others else last


def typed(sizes: Sequence[Sides]) -> str:
    """Return sizes as commands take them: 64,48x80."""
    return ",".join(f"{height}x{width}" if height != width else str(height) for height, width in sizes)


def nearest(sides: Sides, sizes: Sequence[Sides]) -> int:
    """Return the number of the size whose height by width is nearest, as a factor; of two the first."""
    height, width = (max(side, 1) for side in sides)  # what has no pixels is refused where it is used
    ratio = math.log(height / width)
    distances = [abs(math.log(height / width) - ratio) for height, width in sizes]
    return distances.index(min(distances))
