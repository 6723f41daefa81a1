"""Things as a map: a token a cell of the image, what lies there, and whether it ends there.

Priors that see of a condition what is around each cell are told things so, as poses are in the layout `map`.
"""

from math import ceil, floor
from typing import NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor

from smalti.conditions.box_tokens import Box, Object, Scene, flipped

_ROLES = 16  # of a cell in its thing: whether that ends left, right, above and below, in bits
_LEFT, _RIGHT, _ABOVE, _BELOW = 1, 2, 4, 8


class _Cells(NamedTuple):
    """The cells that a thing takes, also beyond the borders of what is shown."""

    left: int
    above: int
    right: int
    below: int


class SceneMap:
    """Tokens are 0, nothing, and 1 + 16 class + role. Smaller things lie on larger ones."""

    def __init__(self, numbers: int) -> None:
        """numbers: of classes, with their flags."""
        self.vocabulary = 1 + numbers * _ROLES

    def tokens(self, scene: Scene, grid: tuple[int, int]) -> Int64[Tensor, "h w"]:
        """Return the map of what a scene's crop shows, on a canvas of grid (h, w) cells.

        Labels are numbers.
        """
        height, width = grid
        found = torch.zeros(grid, dtype=torch.int64)
        for thing in sorted(scene.objects, key=_area, reverse=True):
            cells = _cells(_in_crop(thing.box, scene), grid)
            for y in range(max(cells.above, 0), min(cells.below + 1, height)):
                for x in range(max(cells.left, 0), min(cells.right + 1, width)):
                    found[y, x] = 1 + _ROLES * int(thing.label) + _role(x, y, cells)
        return found

    def things(self, tokens: list[int], grid: tuple[int, int]) -> list[Object]:
        """Return the things of a window of grid (h, w) cells whose top left cell is seen, by numbers.

        They reach to the first cell of their class, in that row and column, where one ends, or to the border.
        """
        height, width = grid
        found = []
        for cell, token in enumerate(tokens):
            number, role = divmod(token - 1, _ROLES)
            if token and role & _LEFT and role & _ABOVE:
                y, x = divmod(cell, width)
                right = _end(number, _RIGHT, tokens[cell : (y + 1) * width])
                below = _end(number, _BELOW, tokens[cell::width])
                place = x / width, y / height, (x + right) / width, (y + below) / height
                found.append(Object(number, *place))
        return found


def _end(number: int, bit: int, line: list[int]) -> int:
    """Return how many cells a thing of this class takes, from the first of a line."""
    for place, token in enumerate(line):
        if token and (token - 1) // _ROLES == number and (token - 1) % _ROLES & bit:
            return place + 1
    return len(line)


def _area(thing: Object) -> float:
    return (thing.x1 - thing.x0) * (thing.y1 - thing.y0)


def _in_crop(box: Box, scene: Scene) -> Box:
    """Return a box in shares of what is shown, not cut at its borders."""
    x0, y0, x1, y1 = scene.crop
    width, height = x1 - x0, y1 - y0
    inner = (box[0] - x0) / width, (box[1] - y0) / height, (box[2] - x0) / width, (box[3] - y0) / height
    return flipped(inner) if scene.is_flipped else inner


def _cells(box: Box, grid: tuple[int, int]) -> _Cells:
    """Return the cells that a box shares area with; of one without extent the cell that it is in."""
    height, width = grid
    left, above = min(floor(box[0] * width), width - 1), min(floor(box[1] * height), height - 1)
    return _Cells(left, above, max(ceil(box[2] * width) - 1, left), max(ceil(box[3] * height) - 1, above))


def _role(x: int, y: int, cells: _Cells) -> int:
    across = _LEFT * (x == cells.left) + _RIGHT * (x == cells.right)
    return across + _ABOVE * (y == cells.above) + _BELOW * (y == cells.below)
