"""A camera over the ground: from pixels to rays, from places to pixels."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from smalti.scenes.solids import Placed, Point, Rays

Rectangle = tuple[int, int, int, int]  # top, bottom, left, right; the ends are not in it


@dataclass(frozen=True)
class Camera:
    """It stands at x = z = 0 and looks along z, downwards a little. Depth is the way along its axis."""

    size: tuple[int, int]  # pixels of an image, height and width
    height: float  # above the ground, metres
    down: float  # an angle
    focal: float  # of the shorter side

    @property
    def eye(self) -> Point:
        """Return where it stands."""
        return 0.0, self.height, 0.0

    @property
    def scale(self) -> float:
        """Return pixels of what is as long as it is away."""
        return self.focal * min(self.size)

    def rays(self, rows: Tensor, columns: Tensor) -> Rays:
        """Return rays through points of the image, in pixels from its upper left corner."""
        height, width = self.size
        x = (columns - width / 2) / self.scale
        up = (height / 2 - rows) / self.scale
        sin, cos = math.sin(self.down), math.cos(self.down)
        y, z = up * cos - sin, up * sin + cos
        return Rays(self.eye, x, y, z, x * x + (y * y + z * z))

    def grid(self) -> Rays:
        """Return the rays through the middle of each pixel."""
        height, width = self.size
        return self.rays(torch.arange(height)[:, None] + 0.5, torch.arange(width)[None] + 0.5)

    def seen(self, place: Point) -> tuple[float, float, float]:
        """Return x and y of a place as shares of the image, which may lie outside, and its depth."""
        height, width = self.size
        sin, cos = math.sin(self.down), math.cos(self.down)
        above = place[1] - self.height
        up, depth = above * cos + place[2] * sin, place[2] * cos - above * sin
        near = max(depth, 1e-3)
        return 0.5 + place[0] / near * self.scale / width, 0.5 - up / near * self.scale / height, depth

    def outline(self, solid: Placed) -> tuple[float, float, float, float]:
        """Return left, top, right and bottom of what holds a solid, as shares of the image."""
        height, width = self.size
        sides: list[tuple[float, float, float, float]] = []
        for centre, radius in solid.balls():
            x, y, depth = self.seen(centre)
            # a ball's outline is an ellipse, longer outwards: by no more than this within 45 degrees
            wide = radius / max(depth - radius, 1e-3) * self.scale * 1.2
            sides.append((x - wide / width, y - wide / height, x + wide / width, y + wide / height))
        lefts, tops, rights, bottoms = zip(*sides, strict=True)
        return min(lefts), min(tops), max(rights), max(bottoms)

    def rectangle(self, solid: Placed) -> Rectangle:
        """Return the pixels that may show a solid."""
        height, width = self.size
        left, top, right, bottom = self.outline(solid)
        rows = _within(top * height - 1, height), _within(bottom * height + 2, height)
        columns = _within(left * width - 1, width), _within(right * width + 2, width)
        return (*rows, *columns)


def _within(value: float, most: int) -> int:
    return min(max(int(value), 0), most)
