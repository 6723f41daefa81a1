"""Solids that rays meet: bodies of balls and tubes, and blocks.

Rays leave one eye. Everything is computed place by place from sums, products, quotients and roots, which
every processor rounds alike: an image has the same bits whatever is computed together, and wherever.
Letters: k parts of a solid, h w rays, n places on surfaces. Axes: x to the right, y up, z away; metres.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from smalti.scenes.patterns import Pattern, Places, pattern

Point = tuple[float, float, float]
FAR = 1e9  # where a ray meets nothing


class Rays(NamedTuple):
    """Rays of one eye, in shapes that broadcast to (h, w). A ray's number is its depth where its z is 1."""

    eye: Point
    x: Float[Tensor, "_ _"]
    y: Float[Tensor, "_ _"]
    z: Float[Tensor, "_ _"]
    squared: Float[Tensor, "_ _"]  # x x + y y + z z


class Hit(NamedTuple):
    """Where rays meet a solid: the ray's number there, FAR for none; and which part of it."""

    at: Float[Tensor, "h w"]
    part: Int64[Tensor, "h w"]


class Sun(NamedTuple):
    """A light from very far: towards it, and two directions across, all of length 1."""

    towards: Point
    across: Point
    up: Point

    def seen(self, places: Places) -> Places:
        """Return places as the light sees them: two across, and how near to it."""
        return dot(places, self.across), dot(places, self.up), dot(places, self.towards)


class Surface(NamedTuple):
    """What there is at places of a solid's surface: its direction outwards, and its colour as light."""

    normal: Places
    colour: Float[Tensor, "3 n"]


@runtime_checkable  # for the shape checker of the tests
class Solid(Protocol):
    """What can be drawn; its own middle stands at 0 on the ground."""

    gloss: float  # how bright its highlight is; 0: it has none

    @property
    def balls(self) -> list[tuple[Point, float]]:
        """Return balls, centre and radius, that hold all of it."""
        ...

    def hit(self, rays: Rays) -> Hit:
        """Return where rays meet it first."""
        ...

    def surface(self, places: Places, part: Int64[Tensor, " n"]) -> Surface:
        """Return what there is at places on it."""
        ...

    def shadow(self, places: Places, sun: Sun) -> Float[Tensor, " n"]:
        """Return how much of the sun it keeps from places, 0 to 1.

        Soft at its border, the more so the farther the shadow falls.
        """
        ...


@dataclass(frozen=True)
class Placed:
    """A solid on the ground at x and z."""

    solid: Solid
    x: float
    z: float

    def rays(self, rays: Rays) -> Rays:
        """Return rays as the solid sees them."""
        x, y, z = rays.eye
        return rays._replace(eye=(x - self.x, y, z - self.z))

    def places(self, places: Places) -> Places:
        """Return places as the solid sees them."""
        return places[0] - self.x, places[1], places[2] - self.z

    def point(self, point: Point) -> Point:
        """Return where a point of the solid is."""
        return point[0] + self.x, point[1], point[2] + self.z

    def balls(self) -> list[tuple[Point, float]]:
        """Return balls that hold all of it, where they are."""
        return [(self.point(centre), radius) for centre, radius in self.solid.balls]


class Paint(NamedTuple):
    """A pattern of two colours, as light."""

    colour: Float[Tensor, "3 1"]
    other: Float[Tensor, "3 1"]
    kind: Pattern = "plain"
    size: float = 1.0  # of its stripes or fields
    gloss: float = 0.0


@dataclass(frozen=True)
class Part:
    """A ball, or a tube between two points whose ends are open: balls close them."""

    begin: Point
    end: Point
    radius: float
    colour: Point = (0.0, 0.0, 0.0)  # where the body has no paint


class Body:
    """Balls and tubes joined."""

    def __init__(self, parts: Sequence[Part], paint: Paint | None = None, axis: Point = (0, 1, 0)) -> None:
        """paint: of all of it, else each part has its own colour. axis: along which the pattern runs."""
        parts = sorted(parts, key=lambda part: part.begin != part.end)
        self.paint, self._axis, self._centre = paint, axis, parts[0].begin
        self.gloss = 0.0 if paint is None else paint.gloss
        many = sum(part.begin == part.end for part in parts)
        self._balls, self._tubes = slice(0, many), slice(many, len(parts))
        self.balls = [(part.begin, part.radius) for part in parts[:many]]  # others lie between them
        self._begin = torch.tensor([part.begin for part in parts], dtype=torch.float32).T
        self._along = torch.tensor([part.end for part in parts], dtype=torch.float32).T - self._begin
        self._radius = torch.tensor([part.radius for part in parts], dtype=torch.float32)
        x, y, z = self._along
        self._length = x * x + y * y + z * z  # squared
        self._inverse = 1 / torch.where(self._length > 0, self._length, 1.0)
        self._colours = torch.tensor([part.colour for part in parts], dtype=torch.float32).T
        ends = {(end, part.radius) for part in parts[many:] for end in (part.begin, part.end)}
        # a tube's shadow has round ends: that of balls there lies in it
        self._shading = [at for at, ball in enumerate(self.balls) if ball not in ends]
        self._shading += range(many, len(parts))

    def hit(self, rays: Rays) -> Hit:
        """See Solid."""
        found = [self._meet_balls(rays)]
        if self._tubes.start < self._tubes.stop:
            found.append(self._meet_tubes(rays))
        at = torch.cat(found) if len(found) > 1 else found[0]
        if len(at) == 1:
            return Hit(at[0], torch.zeros_like(at[0], dtype=torch.int64))
        nearest = at.min(0)
        return Hit(nearest.values, nearest.indices)

    def surface(self, places: Places, part: Int64[Tensor, " n"]) -> Surface:
        """See Solid."""
        begin, along = self._begin.index_select(1, part), self._along.index_select(1, part)
        x, y, z = (place - start for place, start in zip(places, begin, strict=True))
        thin = self._radius.index_select(0, part)
        share = (x * along[0] + y * along[1] + z * along[2]) * self._inverse.index_select(0, part)
        nx, ny, nz = ((one - way * share) / thin for one, way in zip((x, y, z), along, strict=True))
        if self.paint is None:
            return Surface((nx, ny, nz), self._colours.index_select(1, part))
        a, b, c = (place - centre for place, centre in zip(places, self._centre, strict=True))
        return Surface((nx, ny, nz), painted(self.paint, framed((a, b, c), self._axis)))

    def shadow(self, places: Places, sun: Sun) -> Float[Tensor, " n"]:
        """See Solid: each tube is a line with a width, as the sun sees it."""
        seen = sun.seen(places)
        begin = [part[:, None] for part in sun.seen(_rows(self._begin[:, self._shading]))]
        along = [part[:, None] for part in sun.seen(_rows(self._along[:, self._shading]))]
        u, v = seen[0] - begin[0], seen[1] - begin[1]
        flat = along[0] * along[0] + along[1] * along[1]
        share = (u * along[0] + v * along[1]).mul_(1 / torch.where(flat > 1e-9, flat, 1.0)).clamp_(0, 1)
        u, v = u.sub_(along[0] * share), v.sub_(along[1] * share)
        above = (along[2] * share).add_(begin[2]).sub_(seen[2])  # of the line over the place
        soft = _soft(above)
        width = self._radius[self._shading][:, None]
        kept = (width + soft).sub_((u.mul_(u).add_(v.mul_(v))).sqrt_()).div_(soft.mul_(2)).clamp_(0, 1)
        found: Tensor = kept.mul_(above > 0).amax(0)
        return found

    def _meet_balls(self, rays: Rays) -> Float[Tensor, "k h w"]:
        x, y, z = (_deep(eye - part[self._balls]) for eye, part in zip(rays.eye, self._begin, strict=True))
        radius = _deep(self._radius[self._balls])
        half = x * rays.x + (y * rays.y + z * rays.z)
        below = (half * half).sub_(rays.squared * (x * x + y * y + z * z - radius * radius))
        root = below.clamp_min(0).sqrt_()
        return half.neg_().sub_(root).div_(rays.squared).masked_fill_(below <= 0, FAR)

    def _meet_tubes(self, rays: Rays) -> Float[Tensor, "k h w"]:
        """After the sum that Inigo Quilez gives for capsules (iquilezles.org/articles/intersectors)."""
        x, y, z = (_deep(eye - part[self._tubes]) for eye, part in zip(rays.eye, self._begin, strict=True))
        a, b, c = (_deep(part[self._tubes]) for part in self._along)
        length, radius = _deep(self._length[self._tubes]), _deep(self._radius[self._tubes])
        along = a * rays.x + (b * rays.y + c * rays.z)
        start = x * a + y * b + z * c
        ahead = x * rays.x + (y * rays.y + z * rays.z)
        square = (length * rays.squared).sub_(along * along)
        half = (length * ahead).sub_(start * along)
        rest = length * (x * x + y * y + z * z - radius * radius) - start * start
        below = (half * half).sub_(square * rest)
        at = half.neg_().sub_(below.clamp_min(0).sqrt_()).div_(square)
        place = along.mul_(at).add_(start)
        met = (below > 0).logical_and_(place > 0).logical_and_(place < length)
        return at.masked_fill_(met.logical_not_(), FAR)


class Block:
    """A box on the ground, turned about the vertical."""

    def __init__(self, halves: Point, turn: float, paint: Paint) -> None:
        """halves: of its sides. turn: an angle."""
        self.halves, self.paint, self.gloss = halves, paint, paint.gloss
        self._cos, self._sin = math.cos(turn), math.sin(turn)

    @cached_property
    def balls(self) -> list[tuple[Point, float]]:
        """See Solid: its corners."""
        found = []
        for a, b, c in ((a, b, c) for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)):
            x, y, z = self._outside((a * self.halves[0], b * self.halves[1], c * self.halves[2]))
            found.append(((x, y + self.halves[1], z), 0.0))
        return found

    def hit(self, rays: Rays) -> Hit:
        """See Solid; the part is the axis of the side."""
        x, y, z = rays.eye
        eye = (x * self._cos - z * self._sin, y - self.halves[1], x * self._sin + z * self._cos)
        ways = (rays.x * self._cos - rays.z * self._sin, rays.y, rays.x * self._sin + rays.z * self._cos)
        near, far = [], []
        for start, way, half in zip(eye, ways, self.halves, strict=True):
            one, other = (-half - start) / way, (half - start) / way
            near.append(torch.minimum(one, other))
            far.append(torch.maximum(one, other))
        first = torch.maximum(torch.maximum(near[0], near[2]), near[1])
        last = torch.minimum(torch.minimum(far[0], far[2]), far[1])
        part = torch.where(first == near[1], 1, torch.where(first == near[0], 0, 2))
        return Hit(torch.where((first < last) & (first > 0), first, FAR), part)

    def surface(self, places: Places, part: Int64[Tensor, " n"]) -> Surface:
        """See Solid."""
        x, y, z = self._local(places)
        a, b, c = (torch.where(part == axis, one.sign(), 0.0) for axis, one in enumerate((x, y, z)))
        normal = (a * self._cos + c * self._sin, b, c * self._cos - a * self._sin)
        # a little inside, so that a side lies in one layer of fields
        return Surface(normal, painted(self.paint, (x * 0.998, y * 0.998, z * 0.998)))

    def shadow(self, places: Places, sun: Sun) -> Float[Tensor, " n"]:
        """See Solid: what the sun sees of it has sides along its edges."""
        seen = sun.seen(places)
        edges = [self._outside(edge) for edge in ((1, 0, 0), (0, 1, 0), (0, 0, 1))]
        u, v = seen[0] - self.halves[1] * sun.across[1], seen[1] - self.halves[1] * sun.up[1]
        leave = []  # of each pair of sides, the way to the farther one towards the sun
        for place, edge, half in zip(self._local(places), edges, self.halves, strict=True):
            way = _dot(edge, sun.towards)
            leave.append(((half if way > 0 else -half) - place) / (way or 1e-9))
        above = torch.minimum(torch.minimum(leave[0], leave[1]), leave[2])
        flat = [(_dot(edge, sun.across), _dot(edge, sun.up)) for edge in edges]
        outside = torch.full_like(u, -FAR)
        for across, up in flat:
            long = math.hypot(across, up)
            if long < 1e-6:
                continue
            a, b = -up / long, across / long
            widths = (abs(a * one + b * other) for one, other in flat)
            reach = sum(width * half for width, half in zip(widths, self.halves, strict=True))
            outside = torch.maximum(outside, (u * a + v * b).abs() - reach)
        soft = _soft(above)
        return ((soft - outside) / (soft * 2)).clamp(0, 1) * (above > 1e-3)

    def _local(self, places: Places) -> Places:
        x, y, z = places
        return x * self._cos - z * self._sin, y - self.halves[1], x * self._sin + z * self._cos

    def _outside(self, way: Point) -> Point:
        return way[0] * self._cos + way[2] * self._sin, way[1], way[2] * self._cos - way[0] * self._sin


def painted(paint: Paint, places: Places) -> Float[Tensor, "3 n"]:
    """Return the colours of a paint at places of its frame."""
    share = pattern(paint.kind, places, paint.size)
    if share is None:
        return paint.colour.expand(-1, len(places[0]))
    return paint.colour + (paint.other - paint.colour) * share


def framed(places: Places, axis: Point) -> Places:
    """Return places in a frame whose second axis is this one, of length 1."""
    x, y, z = axis
    side = (0.0, -z, y) if abs(x) < 0.7 else (z, 0.0, -x)
    long = math.sqrt(_dot(side, side))
    side = (side[0] / long, side[1] / long, side[2] / long)
    third = (y * side[2] - z * side[1], z * side[0] - x * side[2], x * side[1] - y * side[0])
    return dot(places, side), dot(places, axis), dot(places, third)


def dot(places: Places, axis: Point) -> Tensor:
    """Return how far places lie along an axis."""
    return places[0] * axis[0] + places[1] * axis[1] + places[2] * axis[2]


def _soft(above: Tensor) -> Tensor:
    """Return half the width of a shadow's border under something so high above."""
    return above.clamp(0, 3).mul_(0.04).add_(0.02)


def _rows(table: Float[Tensor, "3 k"]) -> Places:
    return table[0], table[1], table[2]


def _deep(values: Float[Tensor, " k"]) -> Float[Tensor, "k 1 1"]:
    """Return one value a layer of rays."""
    return values[:, None, None]


def _dot(one: Point, other: Point) -> float:
    return one[0] * other[0] + one[1] * other[1] + one[2] * other[2]
