"""Poses: the joints of figures in an image, by name, and what of them a crop shows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from smalti.conditions.box_tokens import WHOLE, Shown

ABSENT, HIDDEN, SEEN = 0, 1, 2  # visibility, as COCO counts it: nobody knows where; known, but covered; seen

# in the order of COCO's annotations; left is the figure's own left
COCO = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)

# with what others annotate besides: 28 joints
BODY28 = (
    *COCO,
    "head_top",
    "neck",
    "pelvis",
    "left_big_toe",
    "right_big_toe",
    "left_small_toe",
    "right_small_toe",
    "left_heel",
    "right_heel",
    "left_hand",
    "right_hand",
)

FIGURES = {"coco": COCO, "body28": BODY28}  # lists of joints by name

# what is between two joints: of these, those count that a figure has both
_TRUNK = [
    ("left_shoulder", "right_shoulder"),
    ("left_hip", "right_hip"),
    ("nose", "neck"),
    ("neck", "pelvis"),
]
_SIDE = [
    ("shoulder", "elbow"),
    ("elbow", "wrist"),
    ("wrist", "hand"),
    ("shoulder", "hip"),
    ("hip", "knee"),
    ("knee", "ankle"),
    ("ankle", "heel"),
    ("ankle", "big_toe"),
    ("eye", "ear"),
]
_LIMBS = [*_TRUNK, ("nose", "left_eye"), ("nose", "right_eye"), ("head_top", "neck")]
_LIMBS += [(f"{side}_{one}", f"{side}_{other}") for side in ("left", "right") for one, other in _SIDE]


class Joint(NamedTuple):
    """Where a joint is, in shares of an image, x to the right and y down."""

    x: float
    y: float
    visibility: int = SEEN  # of an absent joint x and y say nothing


NOWHERE = Joint(0.0, 0.0, ABSENT)

Figure = tuple[Joint, ...]
Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Pose(Shown):
    """The figures in a whole image: names of joints, and of each figure as many joints in their order."""

    names: tuple[str, ...]
    figures: tuple[Figure, ...]

    def seen(self, pairs: Pairs | None = None, *, in_crop: bool = True) -> tuple[Figure, ...]:
        """Return the figures as the crop shows them: a joint outside of it is absent.

        pairs: joints that change their names where the crop is flipped; None: each left_ with its right_.
        in_crop: places are shares of the crop; false: of the whole image, flipped where the crop is.
        """
        return self._moved(self._within, pairs, in_crop)

    def beyond(self, pairs: Pairs | None = None) -> tuple[Figure, ...]:
        """Return the figures in shares of the crop, with joints outside of it: below 0 or above 1."""
        return self._moved(lambda joint: bool(joint.visibility), pairs, True)

    def ordered(self, names: tuple[str, ...]) -> "Pose":
        """Return it with these joints, in this order: those that it does not have are absent."""
        places = [self.names.index(name) if name in self.names else None for name in names]
        figures = (
            tuple(NOWHERE if place is None else figure[place] for place in places) for figure in self.figures
        )
        return replace(self, names=names, figures=tuple(figures))

    def _within(self, joint: Joint) -> bool:
        x0, y0, x1, y1 = self.crop
        return bool(joint.visibility) and x0 <= joint.x <= x1 and y0 <= joint.y <= y1

    def _moved(
        self, there: Callable[[Joint], bool], pairs: Pairs | None, in_crop: bool
    ) -> tuple[Figure, ...]:
        """Return the figures with the joints that are there, as the crop shows them."""
        order = partners(self.names, pairs) if self.is_flipped else range(len(self.names))
        x0, y0, x1, y1 = self.crop if in_crop else WHOLE

        def moved(joint: Joint) -> Joint:
            if not there(joint):
                return NOWHERE
            x, y = (joint.x - x0) / (x1 - x0), (joint.y - y0) / (y1 - y0)
            return Joint(1 - x if self.is_flipped else x, y, joint.visibility)

        return tuple(tuple(moved(figure[number]) for number in order) for figure in self.figures)


def limbs(names: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Return the pairs of joints, by number, between which there is a limb."""
    there = [pair for pair in _LIMBS if pair[0] in names and pair[1] in names]
    return tuple((names.index(one), names.index(other)) for one, other in there)


def extent(figure: Figure) -> float:
    """Return height and width together of what is there of a figure."""
    axes = zip(*(joint[:2] for joint in figure if joint.visibility), strict=True)
    return sum(max(axis) - min(axis) for axis in axes)


def partners(names: Sequence[str], pairs: Pairs | None = None) -> list[int]:
    """Return the number of the joint that takes the place of each one in a mirror; pairs: see Pose.seen."""
    found = list(range(len(names)))
    for pair in sides(names) if pairs is None else pairs:
        one, other = (names.index(name) for name in pair)
        found[one], found[other] = other, one
    return found


def sides(names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return the pairs left_..., right_... of names that are both there."""
    pairs = ((name, "right_" + name.removeprefix("left_")) for name in names if name.startswith("left_"))
    return tuple(pair for pair in pairs if pair[1] in names)
