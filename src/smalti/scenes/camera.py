"""A camera over the ground: from pixels to rays, from places to pixels."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from smalti.scenes.solids import FAR, Placed, Point, Rays

Outline = tuple[float, float, float, float]  # left, top, right and bottom as shares of the image
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

    @cached_property
    def scale(self) -> float:
        """Return pixels of what is as long as it is away."""
        return self.focal * min(self.size)

    def rays(self, rows: Tensor, columns: Tensor) -> Rays:
        """Return rays through points of the image, in pixels from its upper left corner."""
        height, width = self.size
        x = (columns - width / 2) / self.scale
        up = (height / 2 - rows) / self.scale
        sin, cos = self._turn
        y, z = up * cos - sin, up * sin + cos
        return Rays(self.eye, x, y, z, x * x + (y * y + z * z))

    def grid(self) -> Rays:
        """Return the rays through the middle of each pixel."""
        height, width = self.size
        return self.rays(torch.arange(height)[:, None] + 0.5, torch.arange(width)[None] + 0.5)

    def seen(self, place: Point) -> tuple[float, float, float]:
        """Return x and y of a place as shares of the image, which may lie outside, and its depth."""
        height, width = self.size
        x, up, depth = self._local(place)
        near = max(depth, 1e-3)
        return 0.5 + x / near * self.scale / width, 0.5 - up / near * self.scale / height, depth

    def outline(self, solid: Placed) -> Outline:
        """Return what holds a solid, which may lie outside of the image."""
        height, width = self.size
        left, top, right, bottom = FAR, FAR, -FAR, -FAR
        for centre, radius in solid.balls():
            x, up, depth = self._local(centre)
            # where the planes through the eye that touch a ball cut the image
            square = max(depth * depth - radius * radius, 1e-3)
            across, along = x * depth, -up * depth
            wide, high = radius * math.sqrt(x * x + square), radius * math.sqrt(up * up + square)
            left, right = min(left, (across - wide) / square), max(right, (across + wide) / square)
            top, bottom = min(top, (along - high) / square), max(bottom, (along + high) / square)
        x, y = self.scale / width, self.scale / height
        return 0.5 + left * x, 0.5 + top * y, 0.5 + right * x, 0.5 + bottom * y

    def rectangle(self, solid: Placed) -> Rectangle:
        """Return the pixels that may show a solid."""
        height, width = self.size
        left, top, right, bottom = self.outline(solid)
        rows = _within(top * height - 1, height), _within(bottom * height + 2, height)
        columns = _within(left * width - 1, width), _within(right * width + 2, width)
        return (*rows, *columns)

    def _local(self, place: Point) -> Point:
        """Return a place as the camera has it: to the right, up, and along its axis."""
        sin, cos = self._turn
        above = place[1] - self.height
        return place[0], above * cos + place[2] * sin, place[2] * cos - above * sin

    @cached_property
    def _turn(self) -> tuple[float, float]:
        return math.sin(self.down), math.cos(self.down)


def _within(value: float, most: int) -> int:
    return min(max(int(value), 0), most)
