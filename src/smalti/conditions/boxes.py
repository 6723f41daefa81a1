"""Boxes: what stands where in the image, each a class, a top left and a bottom right point."""

from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar, Literal

from smalti.conditions.box_tokens import Box, Object
from smalti.conditions.scene import SceneCondition, SceneSettings
from smalti.config import settings


@settings
class BoxesSettings(SceneSettings):
    """See SceneSettings: nothing more."""

    kind: Literal["boxes"] = "boxes"


class BoxesCondition(SceneCondition):
    """Takes (class, x0, y0, x1, y1) a thing, in [0, 1] of the image (2021 code's objects_bbox)."""

    argument: ClassVar[str | None] = "boxes"
    example = "boxes=[({!r}, 0.1, 0.2, 0.6, 0.9)]"
    form = "(class, x0, y0, x1, y1)"
    per_object = 3

    def where(self, box: Box) -> list[int]:
        """Return the tokens of top left and bottom right."""
        return [self.points.token(box[0], box[1]), self.points.token(box[2], box[3])]

    def box(self, tokens: list[int]) -> Box:
        """Build it from its two corners."""
        return *self.points.place(tokens[0]), *self.points.place(tokens[1])

    def place(self, box: Box) -> Box:
        """Return the box."""
        return box

    def thing(self, given: Sequence[Any]) -> Object | None:
        """Build it from a class and four numbers."""
        numbers = all(isinstance(one, Real) for one in given[1:])
        return Object(given[0], *map(float, given[1:])) if len(given) == 5 and numbers else None
