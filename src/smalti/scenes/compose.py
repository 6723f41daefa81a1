"""An arrangement of things on the ground as a function of numbers: what stands where, and how it looks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from smalti.scenes import colours, words
from smalti.scenes.camera import Camera, Outline
from smalti.scenes.chance import Chance
from smalti.scenes.figure import ACTIONS, Clothes, Figure, figure, jittered
from smalti.scenes.patterns import Pattern
from smalti.scenes.render import World
from smalti.scenes.solids import Block, Body, Paint, Part, Placed, Point, Sun

KINDS = ("sphere", "box", "capsule", "person")
_PATTERNS: tuple[Pattern, ...] = ("plain", "plain", "striped", "checkered", "spotted", "marbled")
_GROUNDS: tuple[Pattern, ...] = ("plain", "checkered", "striped", "marbled")
_TRIES = 30  # places for a thing, before it is left out
_OTHERS = 10  # things in place of one that has to be there
_HIDDEN = 0.4  # of the smaller of two outlines: so much of them may lie over one another
_SMALLEST = 0.13  # of the image, the longer side of a thing's outline
_SHIRTS = tuple(name for name in colours.NAMED if name not in ("brown", "gray"))
_TROUSERS = ("blue", "black", "gray", "brown", "white", "green", "red")


@dataclass(frozen=True)
class Thing:
    """Something that stands on the ground."""

    kind: str  # of KINDS
    name: words.Name
    placed: Placed
    reach: float  # on the ground, from its place
    figure: Figure | None = None  # of a person
    outline: Outline = (0.0, 0.0, 0.0, 0.0)  # of what holds it, in the image


@dataclass(frozen=True)
class Arrangement:
    """Things, and the world that shows them."""

    world: World
    things: tuple[Thing, ...]
    ground: str  # in words


def compose(
    numbers: Sequence[int | str], size: tuple[int, int], count: tuple[int, int], people: float
) -> Arrangement:
    """Return the arrangement that belongs to some numbers.

    size: of the image, height and width. count: of things, least and most; where no more find a place there
    are fewer. people: the share of arrangements with a person; none has two.
    """
    chance = Chance(*numbers)
    camera = Camera(
        size,
        height=chance.between(1.2, 2.3),
        down=math.radians(chance.between(7, 17)),
        focal=chance.between(1.0, 1.35),
    )
    wanted, has_person = chance.whole(*count), chance.happens(people)
    things: list[Thing] = []
    for number in range(wanted):
        is_person = has_person and number == 0
        for _ in range(_OTHERS if is_person or number < count[0] else 1):
            kind = KINDS[-1] if is_person else chance.pick(KINDS[:-1])
            found = _placed(kind, camera, things, chance)
            if found is not None:
                things.append(found)
                break
    ground, paint = _ground(chance)
    return Arrangement(_world(camera, paint, things, chance), tuple(things), ground)


def _placed(kind: str, camera: Camera, others: Sequence[Thing], chance: Chance) -> Thing | None:
    """Return a thing where it stands free and hides little; None if no place was found."""
    thing = _MAKERS[kind](chance)
    spread = camera.size[1] / 2 / camera.scale
    for _ in range(_TRIES):
        depth = chance.between(2.6, 6.5)
        across = chance.between(-0.85, 0.85) * spread * depth
        placed = Placed(thing.placed.solid, round(across, 4), round(depth, 4))
        if not _stands_free(placed, thing.reach, others):
            continue
        found = replace(thing, placed=placed, outline=camera.outline(placed))
        if _fits(found, others):
            return found
    return None


def _stands_free(placed: Placed, reach: float, others: Sequence[Thing]) -> bool:
    for other in others:
        apart = math.hypot(placed.x - other.placed.x, placed.z - other.placed.z)
        if apart < reach + other.reach + 0.1:
            return False
    return True


def _fits(thing: Thing, others: Sequence[Thing]) -> bool:
    """Return whether a thing lies in the image, is large enough, and neither hides another nor is hidden."""
    left, top, right, bottom = thing.outline
    if left < -0.02 or right > 1.02 or top < 0 or bottom > 1.02:
        return False
    if max(right - left, bottom - top) < _SMALLEST:
        return False
    for other in others:
        box = other.outline
        wide = min(right, box[2]) - max(left, box[0])
        high = min(bottom, box[3]) - max(top, box[1])
        least = min((right - left) * (bottom - top), (box[2] - box[0]) * (box[3] - box[1]))
        if wide > 0 and high > 0 and wide * high > _HIDDEN * least:
            return False
    return True


def _look(chance: Chance, size: float) -> tuple[str, str, Paint]:
    """Return colour, pattern and paint of a thing whose fields have about this size."""
    name, kind = chance.pick(tuple(colours.NAMED)), chance.pick(_PATTERNS)
    gloss = 0.7 if chance.happens(0.35) else 0.0
    first, other = colours.shade(colours.NAMED[name], chance), colours.second(name)
    if kind == "marbled":
        other = (first[0] * 0.3, first[1] * 0.3, first[2] * 0.3) if name in colours.PALE else other
    return (
        name,
        kind,
        Paint(
            colours.column(first),
            colours.column(other),
            kind,
            round(size * chance.between(0.8, 1.2), 4),
            gloss,
        ),
    )


def _sphere(chance: Chance) -> Thing:
    radius = round(chance.between(0.22, 0.72), 4)
    colour, kind, paint = _look(chance, radius * 0.42)
    axis = _direction(chance)
    body = Body([Part((0, radius, 0), (0, radius, 0), radius)], paint, axis)
    size = "small" if radius < 0.36 else "large" if radius > 0.56 else ""
    return Thing("sphere", words.Name("sphere", size, kind, colour), Placed(body, 0, 0), radius)


def _box(chance: Chance) -> Thing:
    base, size = chance.between(0.22, 0.55), ""
    halves = [
        base * chance.between(0.8, 1.2),
        base * chance.between(0.8, 1.2),
        base * chance.between(0.8, 1.2),
    ]
    if chance.happens(0.3):
        size, halves[1] = "tall", base * chance.between(2.0, 2.8)
        halves[0], halves[2] = halves[0] * 0.75, halves[2] * 0.75
    elif chance.happens(0.3):
        size, halves[1] = "flat", base * chance.between(0.25, 0.4)
        halves[0], halves[2] = halves[0] * 1.4, halves[2] * 1.4
    a, b, c = (round(half, 4) for half in halves)
    colour, kind, paint = _look(chance, base * 0.5)
    turn = chance.between(-0.75, 0.75)
    solid = Block((a, b, c), round(turn, 4), paint)
    if not size:
        size = "small" if base < 0.3 else "large" if base > 0.46 else ""
    return Thing("box", words.Name("box", size, kind, colour), Placed(solid, 0, 0), math.hypot(a, c))


def _capsule(chance: Chance) -> Thing:
    radius, long = round(chance.between(0.16, 0.34), 4), chance.between(1.6, 3.2)
    if chance.happens(0.65):
        ends: tuple[Point, Point] = ((0, radius, 0), (0, round(radius * (1 + long), 4), 0))
        size, reach, axis = "upright", radius, (0.0, 1.0, 0.0)
    else:
        turn = chance.between(-1.1, 1.1)
        a, b = round(math.cos(turn), 4), round(math.sin(turn), 4)
        half = radius * long / 2
        ends = ((-a * half, radius, -b * half), (a * half, radius, b * half))
        size, reach, axis = "lying", half + radius, (a, 0.0, b)
    colour, kind, paint = _look(chance, radius * 0.7)
    parts = [Part(end, end, radius) for end in ends]
    body = Body([*parts, Part(ends[0], ends[1], radius)], paint, axis)
    return Thing("capsule", words.Name("capsule", size, kind, colour), Placed(body, 0, 0), reach)


def _person(chance: Chance) -> Thing:
    action, shirt, trousers = chance.pick(ACTIONS), chance.pick(_SHIRTS), chance.pick(_TROUSERS)
    clothes = Clothes(
        skin=colours.shade(chance.pick(colours.SKIN), chance),
        hair=colours.shade(chance.pick(colours.HAIR), chance, 0.03),
        shirt=colours.shade(colours.NAMED[shirt], chance),
        trousers=colours.shade(colours.NAMED[trousers], chance),
        shoes=colours.shade(chance.pick(((0.15, 0.14, 0.14), (0.85, 0.85, 0.85), (0.4, 0.2, 0.12))), chance),
    )
    height = chance.between(1.45, 1.9)
    turn = math.pi + chance.between(-1.1, 1.1) if chance.happens(0.8) else chance.between(0, 2 * math.pi)
    made = figure(jittered(action, chance), clothes, height, turn)
    name = words.Name("person", "", "", "", shirt, trousers, action.words)
    return Thing("person", name, Placed(made.body, 0, 0), made.reach, made)


_MAKERS = {"sphere": _sphere, "box": _box, "capsule": _capsule, "person": _person}


def _direction(chance: Chance) -> Point:
    """Return an axis that lies nearly across the sight, so that stripes are seen as such."""
    turn, deep = chance.between(0, math.pi), chance.between(-0.45, 0.45)
    flat = math.cos(deep)
    return round(flat * math.cos(turn), 4), round(flat * math.sin(turn), 4), round(math.sin(deep), 4)


def _ground(chance: Chance) -> tuple[str, Paint]:
    name, kind = chance.pick(tuple(colours.GROUNDS)), chance.pick(_GROUNDS)
    base = colours.shade(colours.GROUNDS[name], chance)
    by = chance.between(0.35, 0.6)
    other = (base[0] * by, base[1] * by, base[2] * by)
    pattern = "" if kind in ("plain", "marbled") else kind
    return f"{pattern} {name} ground".strip(), Paint(
        colours.column(base), colours.column(other), kind, round(chance.between(0.5, 0.9), 4)
    )


_SKIES = (  # zenith, horizon, sunlight, skylight; as light but for the last two, which are strengths
    ((0.10, 0.28, 0.72), (0.62, 0.76, 0.90), (0.95, 0.90, 0.80), (0.26, 0.30, 0.38)),
    ((0.18, 0.38, 0.80), (0.78, 0.86, 0.92), (0.90, 0.88, 0.82), (0.30, 0.33, 0.38)),
    ((0.16, 0.18, 0.45), (0.95, 0.55, 0.28), (1.05, 0.72, 0.45), (0.26, 0.24, 0.32)),
    ((0.45, 0.50, 0.56), (0.72, 0.74, 0.76), (0.60, 0.60, 0.60), (0.44, 0.45, 0.47)),
)


def _world(camera: Camera, ground: Paint, things: Sequence[Thing], chance: Chance) -> World:
    zenith, horizon, sunlight, skylight = chance.pick(_SKIES)
    high, turn = math.radians(chance.between(28, 65)), math.radians(chance.between(-110, 110))
    # from behind the camera or from a side: z towards it
    towards = (
        round(math.cos(high) * math.sin(turn), 4),
        round(math.sin(high), 4),
        round(-math.cos(high) * math.cos(turn), 4),
    )
    across = (round(math.cos(turn), 4), 0.0, round(math.sin(turn), 4))
    up = (
        across[1] * towards[2] - across[2] * towards[1],
        across[2] * towards[0] - across[0] * towards[2],
        across[0] * towards[1] - across[1] * towards[0],
    )
    return World(
        camera=camera,
        sun=Sun(towards, across, up),
        sunlight=colours.column(sunlight),
        skylight=colours.column(skylight),
        zenith=colours.column(zenith),
        horizon=colours.column(horizon),
        clouds=chance.between(0.3, 1.0) if chance.happens(0.6) else 0.0,
        ground=ground,
        solids=tuple(thing.placed for thing in things),
        drift=round(chance.between(0, 16), 3),
    )
