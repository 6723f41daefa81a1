"""People of balls and tubes: how they stand, where their joints are.

A body's own axes: x to its right, y up, z forward; lengths are shares of its height.
"""

import math
from dataclasses import dataclass, replace

from smalti.conditions.pose import COCO
from smalti.scenes.chance import Chance
from smalti.scenes.solids import Body, Part, Point

_HIP, _SHOULDER, _TORSO = 0.055, 0.105, 0.29
_THIGH, _SHIN, _ARM, _FOREARM, _FOOT = 0.235, 0.225, 0.16, 0.15, 0.085
_HEAD, _NECK = 0.078, 0.13  # radius; from the shoulders to the middle of the head

Limb = tuple[float, float, float, float]  # forward and outward, in degrees, of its upper and its lower half


@dataclass(frozen=True)
class Action:
    """What a person does: words, and angles of arms and legs, which hang down at 0."""

    words: str
    left_arm: Limb = (2, 12, 12, 8)
    right_arm: Limb = (2, 12, 12, 8)
    left_leg: Limb = (2, 5, 0, 4)
    right_leg: Limb = (-2, 5, -4, 4)
    lean: float = 0.0  # of the upper body, forward, in degrees
    lift: float = 0.0  # over the ground, metres

    def mirrored(self) -> "Action":
        """Return the same of the other side."""
        return replace(
            self,
            left_arm=self.right_arm,
            right_arm=self.left_arm,
            left_leg=self.right_leg,
            right_leg=self.left_leg,
        )


_UP: Limb = (8, 162, 5, 172)
_WIDE: Limb = (0, 88, 0, 90)
_HIPS: Limb = (-12, 48, 22, -42)
ACTIONS = (
    Action("standing"),
    Action("standing with hands on the hips", _HIPS, _HIPS, (0, 9, 0, 7), (0, 9, 0, 7)),
    Action("raising an arm", right_arm=_UP),
    Action("raising both arms", _UP, _UP),
    Action("waving", right_arm=(5, 80, 10, 165)),
    Action("holding the arms out", _WIDE, _WIDE),
    Action("holding an arm out", right_arm=_WIDE),
    Action("walking", (-28, 8, -8, 6), (28, 8, 55, 4), (30, 4, 8, 4), (-20, 4, -48, 4), 3),
    Action("running", (-50, 14, 35, 4), (45, 12, 125, -10), (62, 4, -12, 4), (-32, 4, -95, 4), 12, 0.06),
    Action("kicking", (20, 40, 35, 30), (-30, 45, -10, 35), (0, 6, -6, 4), (72, 6, 58, 6), -8),
    Action("jumping", (5, 140, 5, 158), (5, 140, 5, 158), (6, 30, -8, 26), (6, 30, -8, 26), 0, 0.3),
    Action("sitting", (-28, 18, -8, 10), (-28, 18, -8, 10), (82, 12, 92, 6), (82, 12, 92, 6), -10),
    Action("kneeling", (10, 14, 25, 6), (10, 14, 25, 6), (4, 8, -88, 6), (4, 8, -88, 6)),
    Action("bending", (16, 10, 22, 6), (16, 10, 22, 6), (0, 7, -4, 5), (0, 7, -4, 5), 52),
)


@dataclass(frozen=True)
class Clothes:
    """The colours of a person, as light."""

    skin: Point
    hair: Point
    shirt: Point
    trousers: Point
    shoes: Point


@dataclass(frozen=True)
class Figure:
    """A person: what is drawn, and its joints with the radius of the body there."""

    body: Body
    joints: tuple[tuple[Point, float], ...]  # as COCO has them
    reach: float  # on the ground, from where it stands


@dataclass(frozen=True)
class _Stance:
    """Parts of a body in its own axes, by the place where they join."""

    points: dict[str, Point]
    parts: list[tuple[str, str, float, Point]]  # between which two, radius, colour


def jittered(action: Action, chance: Chance) -> Action:
    """Return an action a little otherwise, as no two people do it alike, perhaps with sides exchanged."""
    found = replace(
        action,
        left_arm=_moved(action.left_arm, 7, chance),
        right_arm=_moved(action.right_arm, 7, chance),
        left_leg=_moved(action.left_leg, 3, chance),
        right_leg=_moved(action.right_leg, 3, chance),
        lean=action.lean + chance.between(-2, 3),
    )
    return found.mirrored() if chance.happens(0.5) else found


def figure(action: Action, clothes: Clothes, height: float, turn: float) -> Figure:
    """Return a person of a height in metres on the ground, turned from looking away."""
    stance = _stance(action, clothes)
    low = min(
        min(stance.points[begin][1], stance.points[end][1]) - radius for begin, end, radius, _ in stance.parts
    )
    cos, sin = math.cos(turn), math.sin(turn)

    def placed(point: Point) -> Point:
        x, y, z = (part * height for part in point)
        return (
            round(x * cos + z * sin, 4),
            round(y - low * height + action.lift, 4),
            round(z * cos - x * sin, 4),
        )

    points = {name: placed(point) for name, point in stance.points.items()}
    parts = []
    for begin, end, radius, colour in stance.parts:
        thick = round(radius * height, 4)
        ends = {points[begin], points[end]}
        parts += [Part(one, one, thick, colour) for one in sorted(ends)]
        if len(ends) == 2:
            parts.append(Part(points[begin], points[end], thick, colour))
    joints = tuple((points[name], _RADII.get(name.split("_")[-1], 0.03) * height) for name in COCO)
    reach = max(math.hypot(one[0], one[2]) for one in points.values())
    return Figure(Body(list(dict.fromkeys(parts))), joints, reach)


_RADII = {  # of the body there; at an ankle with the foot, which may stand before it
    "shoulder": 0.05,
    "hip": 0.062,
    "knee": 0.045,
    "elbow": 0.034,
    "ankle": 0.065,
    "nose": 0.02,
    "eye": 0.016,
    "ear": 0.02,
}


def _stance(action: Action, clothes: Clothes) -> _Stance:
    lean = math.radians(action.lean)
    up: Point = (0.0, math.cos(lean), math.sin(lean))
    ahead: Point = (0.0, -math.sin(lean), math.cos(lean))
    points: dict[str, Point] = {"hips": (0, 0, 0), "chest": _from((0, 0, 0), up, _TORSO)}
    points["neck"] = _from(points["chest"], up, 0.06)
    points["head"] = _from(points["chest"], up, _NECK)
    points["crown"] = _from(_from(points["head"], up, 0.018), ahead, -0.02)
    points["nose"] = _from(_from(points["head"], ahead, _HEAD), up, -0.008)
    parts = [
        ("neck", "head", 0.034, clothes.skin),
        ("head", "head", _HEAD, clothes.skin),
        ("crown", "crown", _HEAD, clothes.hair),
        ("nose", "nose", 0.013, clothes.skin),
    ]
    for name, side in (("left", -1), ("right", 1)):
        eye = _from(_from(points["head"], ahead, _HEAD * 0.9), up, 0.014)
        points[f"{name}_eye"] = (eye[0] + side * 0.03, eye[1], eye[2])
        head = points["head"]
        points[f"{name}_ear"] = (side * _HEAD, head[1], head[2])
        hip: Point = (side * _HIP, 0, 0)
        shoulder = (side * _SHOULDER, points["chest"][1], points["chest"][2])
        points |= {f"{name}_hip": hip, f"{name}_shoulder": shoulder}
        points[f"{name}_side"] = (side * 0.062, points["chest"][1] * 0.93, points["chest"][2] * 0.93)
        arm = action.left_arm if side < 0 else action.right_arm
        points[f"{name}_elbow"] = _from(shoulder, _way(arm[0], arm[1], side), _ARM)
        points[f"{name}_wrist"] = _from(points[f"{name}_elbow"], _way(arm[2], arm[3], side), _FOREARM)
        points[f"{name}_hand"] = _from(points[f"{name}_wrist"], _way(arm[2], arm[3], side), 0.03)
        leg = action.left_leg if side < 0 else action.right_leg
        shin = _way(leg[2], leg[3], side)
        points[f"{name}_knee"] = _from(hip, _way(leg[0], leg[1], side), _THIGH)
        points[f"{name}_ankle"] = _from(points[f"{name}_knee"], shin, _SHIN)
        toes: Point = shin if shin[2] < -0.6 else (side * 0.2, shin[2], -shin[1])
        points[f"{name}_toes"] = _from(points[f"{name}_ankle"], toes, _FOOT)
        parts += [
            (f"{name}_hip", f"{name}_side", 0.064, clothes.shirt),
            (f"{name}_side", f"{name}_shoulder", 0.046, clothes.shirt),
            (f"{name}_shoulder", f"{name}_elbow", 0.036, clothes.shirt),
            (f"{name}_elbow", f"{name}_wrist", 0.027, clothes.skin),
            (f"{name}_hand", f"{name}_hand", 0.031, clothes.skin),
            (f"{name}_hip", f"{name}_knee", 0.053, clothes.trousers),
            (f"{name}_knee", f"{name}_ankle", 0.04, clothes.trousers),
            (f"{name}_ankle", f"{name}_toes", 0.035, clothes.shoes),
            (f"{name}_eye", f"{name}_eye", 0.0135, clothes.hair),
            (f"{name}_ear", f"{name}_ear", 0.016, clothes.skin),
        ]
    parts.append(("left_hip", "right_hip", 0.0645, clothes.trousers))
    return _Stance(points, parts)


def _moved(limb: Limb, by: float, chance: Chance) -> Limb:
    a, b, c, d = (angle + chance.between(-by, by) for angle in limb)
    return a, b, c, d


def _from(start: Point, way: Point, long: float) -> Point:
    return start[0] + way[0] * long, start[1] + way[1] * long, start[2] + way[2] * long


def _way(forward: float, outward: float, side: int) -> Point:
    """Return the way of half a limb that hangs down at 0, in degrees forward and outward."""
    ahead, out = math.radians(forward), math.radians(outward)
    return side * math.sin(out), -math.cos(out) * math.cos(ahead), math.cos(out) * math.sin(ahead)
