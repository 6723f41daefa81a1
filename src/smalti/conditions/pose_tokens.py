"""How figures become tokens: joint after joint, or a token a cell of the image."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Int64
from torch import Tensor

from smalti.conditions.box_tokens import Points
from smalti.conditions.context import Context, GridContext, PartsContext
from smalti.conditions.pose import HIDDEN, NOWHERE, SEEN, Figure, Joint, Pairs, Pose, extent, limbs

_STATES = SEEN + 1  # of a joint: absent, hidden, seen; the first tokens of a list
_STEPS = 4  # of a limb, in the length of a cell


class Layout(ABC):
    """What tells poses to a prior; all have the same joints."""

    vocabulary: int  # tokens are 0 .. vocabulary - 1
    is_by_cell: bool

    def __init__(self, names: tuple[str, ...], pairs: Pairs | None, figures: int) -> None:
        """pairs: see Pose.seen. figures: told at most, the largest first."""
        self.names, self.pairs, self.figures = names, pairs, figures

    @abstractmethod
    def length(self, grid: tuple[int, int]) -> int:
        """Return the tokens of a window of grid (h, w) cells."""

    @abstractmethod
    def encode(
        self, poses: Sequence[Pose], *, num: int, grid: tuple[int, int], device: torch.device
    ) -> Context:
        """Return the context of num canvases, of a pose for all or one for each."""

    @abstractmethod
    def decode(self, tokens: list[int], grid: tuple[int, int]) -> Pose:
        """Return the pose that a window of grid cells is told, at the places it was rounded to."""

    def largest(self, figures: Sequence[Figure]) -> list[Figure]:
        """Return those figures that are told, the largest first."""
        there = [one for one in figures if any(_is_shown(joint) for joint in one)]
        return sorted(there, key=extent, reverse=True)[: self.figures]


class ListLayout(Layout):
    """The same number of tokens for every joint of every figure, absent ones too: visibility, then place.

    A place is x and y, or one point of a grid. Where the crop is told, its corners follow, and places are
    those in the whole image.
    """

    is_by_cell = False

    def __init__(
        self,
        names: tuple[str, ...],
        pairs: Pairs | None,
        figures: int,
        *,
        places: int,
        is_xy: bool,
        encode_crop: bool,
    ) -> None:
        """places: along a side that are told apart. is_xy: as x and y."""
        super().__init__(names, pairs, figures)
        self.points, self.is_xy, self.encode_crop = Points(places**2), is_xy, encode_crop
        self.per_place = 2 if is_xy else 1
        self.nowhere = _STATES + (places if is_xy else places**2)
        self.vocabulary = self.nowhere + 1

    def length(self, grid: tuple[int, int]) -> int:
        """Return those of all joints, and of the crop's corners."""
        joints = self.figures * len(self.names)
        return joints * (1 + self.per_place) + 2 * self.per_place * self.encode_crop

    def encode(
        self, poses: Sequence[Pose], *, num: int, grid: tuple[int, int], device: torch.device
    ) -> PartsContext:
        """See Layout: built for every window, of the joints within it."""
        return PartsContext(self.tokens, poses, num, grid, device)

    def tokens(self, pose: Pose) -> list[int]:
        """Return those of what a pose's crop shows."""
        found = list[int]()
        shown = self.largest(pose.seen(self.pairs, in_crop=not self.encode_crop))
        nobody = (NOWHERE,) * len(self.names)
        for figure in shown + [nobody] * (self.figures - len(shown)):
            for joint in figure:
                found += [joint.visibility, *self._place(joint)]
        if self.encode_crop:
            x0, y0, x1, y1 = pose.crop_as_shown
            found += [*self._place(Joint(x0, y0)), *self._place(Joint(x1, y1))]
        return found

    def decode(self, tokens: list[int], grid: tuple[int, int]) -> Pose:
        """See Layout."""
        step, count = 1 + self.per_place, len(self.names)
        slots = [tokens[first : first + step] for first in range(0, self.figures * count * step, step)]
        joints = [Joint(*self._found(slot[1:]), slot[0]) if slot[0] else NOWHERE for slot in slots]
        figures = [tuple(joints[first : first + count]) for first in range(0, len(joints), count)]
        pose = Pose(self.names, tuple(self.largest(figures)))
        if not self.encode_crop:
            return pose
        corners = tokens[-2 * self.per_place :]
        x0, y0 = self._found(corners[: self.per_place])
        x1, y1 = self._found(corners[self.per_place :])
        return Pose(pose.names, pose.figures, crop=(x0, y0, x1, y1))

    def _place(self, joint: Joint) -> list[int]:
        if not joint.visibility:
            return [self.nowhere] * self.per_place
        point = self.points.token(joint.x, joint.y)
        y, x = divmod(point, self.points.side)
        return [_STATES + x, _STATES + y] if self.is_xy else [_STATES + point]

    def _found(self, tokens: Sequence[int]) -> tuple[float, float]:
        """Return x, y of the tokens of a place."""
        numbers = [token - _STATES for token in tokens]
        return self.points.place(numbers[1] * self.points.side + numbers[0] if self.is_xy else numbers[0])


class MapLayout(Layout):
    """A token a cell: nothing, the joint in it, seen or hidden, or the limb that goes through it.

    Joints lie on limbs, larger figures on smaller ones.
    """

    is_by_cell = True

    def __init__(self, names: tuple[str, ...], pairs: Pairs | None, figures: int) -> None:
        super().__init__(names, pairs, figures)
        self.limbs = limbs(names)
        self.first_limb = 1 + 2 * len(names)
        self.vocabulary = self.first_limb + len(self.limbs)

    def length(self, grid: tuple[int, int]) -> int:
        """Return one a cell."""
        return grid[0] * grid[1]

    def encode(
        self, poses: Sequence[Pose], *, num: int, grid: tuple[int, int], device: torch.device
    ) -> GridContext:
        """See Layout: windows are cut out of the map of the canvas."""
        maps = torch.stack([self.map(pose, grid) for pose in poses])
        return GridContext(tokens=maps.to(device).expand(num, -1, -1))

    def map(self, pose: Pose, grid: tuple[int, int]) -> Int64[Tensor, "h w"]:
        """Return the tokens of what a pose's crop shows."""
        found = torch.zeros(grid, dtype=torch.int64)
        height, width = grid
        for figure in self.largest(pose.beyond(self.pairs))[::-1]:
            marks = [*self._limbs(figure, max(grid)), *self._joints(figure)]
            for x, y, token in marks:
                if _is_shown(Joint(x, y)):
                    found[min(int(y * height), height - 1), min(int(x * width), width - 1)] = token
        return found

    def decode(self, tokens: list[int], grid: tuple[int, int]) -> Pose:
        """See Layout: one figure, of each joint the first cell that it is in."""
        joints, count = [NOWHERE] * len(self.names), len(self.names)
        for cell in reversed(range(len(tokens))):
            if 0 < tokens[cell] < self.first_limb:
                hidden, number = divmod(tokens[cell] - 1, count)
                y, x = divmod(cell, grid[1])
                place = (x + 0.5) / grid[1], (y + 0.5) / grid[0]
                joints[number] = Joint(*place, HIDDEN if hidden else SEEN)
        return Pose(self.names, tuple(self.largest([tuple(joints)])))

    def _limbs(self, figure: Figure, cells: int) -> list[tuple[float, float, int]]:
        """Return x, y and token of points on all limbs, closer to one another than cells are wide."""
        found = []
        for number, pair in enumerate(self.limbs):
            one, other = (figure[joint] for joint in pair)
            if not (one.visibility and other.visibility):
                continue
            across, down = other.x - one.x, other.y - one.y
            steps = 1 + int(_STEPS * cells * max(abs(across), abs(down)))
            points = (step / steps for step in range(steps + 1))
            found += [(one.x + at * across, one.y + at * down, self.first_limb + number) for at in points]
        return found

    def _joints(self, figure: Figure) -> list[tuple[float, float, int]]:
        """Return x, y and token of all joints."""
        count = len(self.names)
        return [
            (joint.x, joint.y, 1 + number + count * (joint.visibility == HIDDEN))
            for number, joint in enumerate(figure)
            if joint.visibility
        ]


def _is_shown(joint: Joint) -> bool:
    """Return whether a joint is within the crop that its place is a share of."""
    return bool(joint.visibility) and 0 <= joint.x <= 1 and 0 <= joint.y <= 1
