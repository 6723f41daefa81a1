"""Points: what stands where in the image, each a class and the point in its middle."""

from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar, Literal

from smalti.conditions.box_tokens import Box, Object
from smalti.conditions.scene import SceneCondition, SceneSettings
from smalti.config import settings


@settings
class PointsSettings(SceneSettings):
    """See SceneSettings: nothing more."""

    kind: Literal["points"] = "points"


class PointsCondition(SceneCondition):
    """Takes (class, x, y) a thing, in [0, 1] of the image (2021 code's objects_center_points).

    Or (class, x0, y0, x1, y1), of which the middle is told: a window sees a box that it touches, even where
    its middle lies outside.
    """

    argument: ClassVar[str | None] = "points"
    example = "points=[({!r}, 0.5, 0.5)]"
    form = "(class, x, y)"
    per_object = 2

    def where(self, box: Box) -> list[int]:
        """Return the token of the middle."""
        x, y, _, _ = self.place(box)
        return [self.points.token(x, y)]

    def box(self, tokens: list[int]) -> Box:
        """Return a box without extent."""
        x, y = self.points.place(tokens[0])
        return x, y, x, y

    def place(self, box: Box) -> Box:
        """Return the middle, a box without extent."""
        x0, y0, x1, y1 = box
        x, y = x0 + (x1 - x0) / 2, y0 + (y1 - y0) / 2
        return x, y, x, y

    def thing(self, given: Sequence[Any]) -> Object | None:
        """Build it from a class and two numbers, or four."""
        places = given[1:]
        if not all(isinstance(one, Real) for one in places) or len(places) not in (2, 4):
            return None
        corners = map(float, places if len(places) == 4 else [*places, *places])
        return Object(given[0], *corners)
