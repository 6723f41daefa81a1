"""From an arrangement to an image, and to what is known of it: depth, which thing each pixel shows.

The ray through the middle of each pixel says what it shows, how far it is, and its colour; where colours
change from pixel to pixel, three more rays each make the image smooth. Light is added up as light and shown
as its root.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from smalti.scenes.camera import Camera, Rectangle
from smalti.scenes.patterns import Places, noise, pattern
from smalti.scenes.solids import FAR, Paint, Placed, Rays, Sun, dot

SKY, GROUND = -1, -2  # in place of the number of a thing
_EDGE = 0.1  # of neighbours' values, 0 to 1: above it a pixel is looked at more closely
_OFFSETS = ((-0.35, -0.1), (0.1, 0.35), (0.25, -0.25))  # of more rays in a pixel, down and to the right
_HAZE = 45.0  # metres away half of the light is the horizon's


@dataclass(frozen=True)
class World:
    """All that an image shows. Colours are light."""

    camera: Camera
    sun: Sun
    sunlight: Float[Tensor, "3 1"]
    skylight: Float[Tensor, "3 1"]
    zenith: Float[Tensor, "3 1"]
    horizon: Float[Tensor, "3 1"]
    clouds: float  # how much of the sky, 0 to 1
    ground: Paint
    solids: tuple[Placed, ...]
    drift: float = 0.0  # of patterns of ground and sky, so that no two are alike


@dataclass(frozen=True)
class Rendering:
    """An image, and what its pixels show in their middle."""

    image: UInt8[Tensor, "3 H W"]
    things: Int64[Tensor, "H W"]  # number of the thing, or SKY or GROUND
    depth: Float[Tensor, "H W"]  # metres along the camera's axis; FAR of the sky


@dataclass(frozen=True)
class _Seen:
    """What rays meet, flat."""

    at: Float[Tensor, " n"]
    thing: Int64[Tensor, " n"]
    part: Int64[Tensor, " n"]


def render(world: World) -> Rendering:
    """Return the image of a world."""
    with torch.inference_mode():
        made = _rendered(world)
    image, things, depth = made.image.clone(), made.things.clone(), made.depth.clone()
    return Rendering(image, things, depth)  # tensors that training may take


def _rendered(world: World) -> Rendering:
    height, width = world.camera.size
    rectangles = [world.camera.rectangle(solid) for solid in world.solids]
    rays = world.camera.grid()
    seen = _look(world, rays, rectangles)
    flat = _flat(rays, height, width)
    light = _light(world, flat, seen)
    rough = _rough(light.clamp(0, 1).sqrt().view(3, height, width)).flatten().nonzero()[:, 0]
    if len(rough):
        middle = light.index_select(1, rough).clamp(0, 1)
        light.index_copy_(1, rough, _closely(world, rough, middle, rectangles))
    image = (light.clamp(0, 1).sqrt() * 255 + 0.5).floor().to(torch.uint8).view(3, height, width)
    return Rendering(image, seen.thing.view(height, width), seen.at.view(height, width))


def _look(world: World, rays: Rays, rectangles: list[Rectangle]) -> _Seen:
    """Return what the rays of all pixels meet: each solid is looked for where it may be."""
    height, width = world.camera.size
    at, thing = _ground(world, rays)
    at, thing = at.expand(height, width).clone(), thing.expand(height, width).clone()
    part = torch.zeros_like(thing)
    for number, (solid, (top, bottom, left, right)) in enumerate(zip(world.solids, rectangles, strict=True)):
        if top == bottom or left == right:
            continue
        rows, columns = slice(top, bottom), slice(left, right)
        here = Rays(rays.eye, rays.x[:, columns], rays.y[rows], rays.z[rows], rays.squared[rows, columns])
        hit = solid.solid.hit(solid.rays(here))
        near = hit.at < at[rows, columns]
        at[rows, columns] = torch.where(near, hit.at, at[rows, columns])
        thing[rows, columns] = torch.where(near, number, thing[rows, columns])
        part[rows, columns] = torch.where(near, hit.part, part[rows, columns])
    return _Seen(at.flatten(), thing.flatten(), part.flatten())


def _closely(
    world: World, pixels: Int64[Tensor, " n"], middle: Float[Tensor, "3 n"], rectangles: list[Rectangle]
) -> Float[Tensor, "3 n"]:
    """Return the light of some pixels by four rays each, of which that of the middle is there."""
    width = world.camera.size[1]
    row, column = pixels // width, pixels % width
    rows = torch.cat([row + (0.5 + down) for down, _ in _OFFSETS])
    columns = torch.cat([column + (0.5 + right) for _, right in _OFFSETS])
    rays = world.camera.rays(rows, columns)
    at, thing = _ground(world, rays)
    part = torch.zeros_like(thing)
    for number, (solid, (top, bottom, left, right)) in enumerate(zip(world.solids, rectangles, strict=True)):
        inside = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
        chosen = inside.nonzero()[:, 0]
        if not len(chosen):
            continue
        here = Rays(rays.eye, *(ray[chosen][None] for ray in rays[1:]))
        hit = solid.solid.hit(solid.rays(here))
        near = hit.at[0] < at[chosen]
        at[chosen] = torch.where(near, hit.at[0], at[chosen])
        thing[chosen] = torch.where(near, number, thing[chosen])
        part[chosen] = torch.where(near, hit.part[0], part[chosen])
    light = _light(world, rays, _Seen(at, thing, part)).clamp(0, 1).view(3, 3, -1)
    return (light[:, 0] + light[:, 1] + light[:, 2] + middle) * 0.25


def _ground(world: World, rays: Rays) -> tuple[Tensor, Tensor]:
    """Return where rays meet the ground, and GROUND or SKY."""
    at = -rays.eye[1] / rays.y
    below = rays.y < 0
    return torch.where(below, at, FAR), torch.where(below, GROUND, SKY)


def _light(world: World, rays: Rays, seen: _Seen) -> Float[Tensor, "3 n"]:
    """Return the light that comes along rays."""
    light = torch.empty(3, len(seen.at))
    sky = (seen.thing == SKY).nonzero()[:, 0]
    if len(sky):
        light.index_copy_(1, sky, _sky(world, _take(rays, sky)))
    lit = (seen.thing != SKY).nonzero()[:, 0]
    if not len(lit):
        return light
    thing, at, chosen = seen.thing.index_select(0, lit), seen.at.index_select(0, lit), _take(rays, lit)
    places = (chosen.x * at, chosen.y * at + rays.eye[1], chosen.z * at)
    shadow = _shadow(world, places)
    found, part = torch.empty(3, len(lit)), seen.part.index_select(0, lit)
    for number in [GROUND, *range(len(world.solids))]:
        own = (thing == number).nonzero()[:, 0]
        if not len(own):
            continue
        where = _taken(places, own)
        free = 1 - shadow.index_select(0, own)
        if number == GROUND:
            own_light = _floor(world, where, at.index_select(0, own), free)
        else:
            own_light = _surface(world, number, where, part.index_select(0, own), free)
        found.index_copy_(1, own, own_light)
    far = at * at
    haze = far / (far + _HAZE**2)
    return light.index_copy_(1, lit, found + (world.horizon - found) * haze)


def _surface(
    world: World, number: int, places: Places, part: Int64[Tensor, " n"], free: Float[Tensor, " n"]
) -> Float[Tensor, "3 n"]:
    """Return the light of places on a solid. free: the share of the sun that reaches them."""
    solid = world.solids[number]
    normal, colour = solid.solid.surface(solid.places(places), part)
    facing = dot(normal, world.sun.towards).clamp_min(0) * free
    upward = 0.62 + 0.38 * normal[1]
    found = colour * (world.sunlight * facing + world.skylight * upward)
    gloss = solid.solid.gloss
    if not gloss:
        return found
    eye = world.camera.eye
    back = [start - place for start, place in zip(eye, places, strict=True)]
    long = (back[0] * back[0] + back[1] * back[1] + back[2] * back[2]).sqrt()
    half = [way / long + to for way, to in zip(back, world.sun.towards, strict=True)]
    size = (half[0] * half[0] + half[1] * half[1] + half[2] * half[2]).sqrt()
    bright = (normal[0] * half[0] + normal[1] * half[1] + normal[2] * half[2]).clamp_min(0) / size
    for _ in range(6):  # to the power of 64
        bright = bright * bright
    return found + world.sunlight * (bright * free * gloss)


def _floor(
    world: World, places: Places, at: Float[Tensor, " n"], free: Float[Tensor, " n"]
) -> Float[Tensor, "3 n"]:
    """Return the light of places on the ground, whose pattern fades where pixels cannot show it."""
    paint, drift = world.ground, world.drift
    x, z = places[0] + drift, places[2] + drift * 1.7
    colour = paint.colour.expand(-1, len(at))
    # the middle of two fields, so that no place lies on the border of two layers
    share = pattern(paint.kind, (z if paint.kind == "spotted" else x, z, torch.zeros_like(x)), paint.size)
    if share is not None:
        long = at * at / (world.camera.scale * world.camera.height * paint.size)  # of a pixel, in fields
        fade = (1.3 - long * 1.3).clamp(0, 1)
        mean = 0.5
        colour = colour + (paint.other - colour) * (mean + (share - mean) * fade)
    lit = world.sun.towards[1] * free
    return colour * (world.sunlight * lit + world.skylight)


def _sky(world: World, rays: Rays) -> Float[Tensor, "3 n"]:
    height = rays.y / rays.squared.sqrt()
    share = height / (height + 0.22)
    found = world.horizon + (world.zenith - world.horizon) * share
    if world.clouds:
        flat = 1 / (height + 0.12)
        x, z = rays.x * flat * 1.6 + world.drift, rays.z * flat * 1.6
        zero = torch.full_like(x, world.drift)
        thick = noise((x, z, zero)) * 0.6 + noise((x * 2.7, z * 2.7, zero)) * 0.4
        white = ((thick - (0.75 - 0.4 * world.clouds)) * 4).clamp(0, 1) * (height * 8).clamp(0, 1) * 0.85
        found = found + (0.95 - found) * white
    return found


def _shadow(world: World, places: Places) -> Float[Tensor, " n"]:
    """Return the share of the sun that solids keep from places."""
    kept = torch.zeros_like(places[0])
    seen = world.sun.seen(places)
    for solid in world.solids:
        left, low, right, high, near = _extent(solid, world.sun)
        possible = (seen[0] > left) & (seen[0] < right) & (seen[1] > low) & (seen[1] < high)
        chosen = (possible & (seen[2] < near)).nonzero()[:, 0]
        if not len(chosen):
            continue
        own_places = solid.places(_taken(places, chosen))
        own = solid.solid.shadow(own_places, world.sun)
        kept.index_copy_(0, chosen, torch.maximum(kept.index_select(0, chosen), own))
    return kept


def _extent(solid: Placed, sun: Sun) -> tuple[float, float, float, float, float]:
    """Return the borders of a solid's shadow as the sun sees it, and how near to the sun it comes."""
    low, high = [FAR, FAR, FAR], [-FAR, -FAR, -FAR]
    for (x, y, z), radius in solid.balls():
        wide = radius + 0.2  # more than the shadow's soft border
        for at, (a, b, c) in enumerate(sun):
            middle = x * a + y * b + z * c
            low[at], high[at] = min(low[at], middle - wide), max(high[at], middle + wide)
    return low[0], low[1], high[0], high[1], high[2]


def _rough(image: Float[Tensor, "3 H W"]) -> Bool[Tensor, "H W"]:
    """Return the pixels that differ from a neighbour below or beside them."""
    rough = torch.zeros(image.shape[1:], dtype=torch.bool)
    down = (image[:, 1:] - image[:, :-1]).abs().amax(0) > _EDGE
    right = (image[:, :, 1:] - image[:, :, :-1]).abs().amax(0) > _EDGE
    rough[1:] |= down
    rough[:-1] |= down
    rough[:, 1:] |= right
    rough[:, :-1] |= right
    return rough


def _flat(rays: Rays, height: int, width: int) -> Rays:
    parts = (ray.expand(height, width).flatten() for ray in rays[1:])
    return Rays(rays.eye, *parts)


def _take(rays: Rays, chosen: Int64[Tensor, " m"]) -> Rays:
    return Rays(rays.eye, *(ray.index_select(0, chosen) for ray in rays[1:]))


def _taken(places: Places, chosen: Int64[Tensor, " m"]) -> Places:
    x, y, z = (part.index_select(0, chosen) for part in places)
    return x, y, z
