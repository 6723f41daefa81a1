"""Keypoints: the joints of figures by name, each told by whether it is to be seen and where."""

import difflib
from collections.abc import Mapping
from numbers import Real
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge, Le
from jaxtyping import Int64
from torch import Tensor, nn

from smalti.conditions.context import Context
from smalti.conditions.dropout import ConditionDropout
from smalti.conditions.pose import ABSENT, FIGURES, HIDDEN, NOWHERE, SEEN, Figure, Joint, Pose
from smalti.conditions.pose_tokens import Layout, ListLayout, MapLayout
from smalti.conditions.protocol import ENCODE_FOR, Codec, Condition, is_list
from smalti.config import Positive, Share, settings
from smalti.errors import UserError
from smalti.files import read_json

_SAID = 3  # joints that an error names
_JOINT = "[x, y] or [x, y, visibility], x and y from 0 to 1, visibility 0 (absent), 1 (hidden) or 2 (seen)"


@settings
class KeypointsSettings:
    """How figures are told: joint after joint, each by as many tokens, absent ones too."""

    kind: Literal["keypoints"] = "keypoints"
    joints: Literal["coco", "body28"] | tuple[str, ...] = "coco"  # a list of names that is known, or one
    # joints that change names in a mirror; None: each left_... with its right_...
    pairs: tuple[tuple[str, str], ...] | None = None
    # xy: each joint by its visibility, x and y; point: by its visibility and a point of a grid; map: a token
    # a cell of the image, which says what joint is in it, or which limb
    layout: Literal["xy", "point", "map"] = "xy"
    places: Annotated[int, Ge(2), Le(1024)] = 64  # along a side of the image that xy and point tell apart
    figures: Positive = 1  # in an image at most
    # the crop's corners are told, and joints in the whole image; else joints are told in the crop
    encode_crop: bool = False
    dropout: Share = 0.0  # of images shown without their figures; above 0 the model can be guided

    def __post_init__(self) -> None:
        names, said = self.names, [name for pair in self.pairs or () for name in pair]
        if not names or len(set(names)) < len(names):
            raise UserError(
                "names of joints, all different", ", ".join(names) or "none", "condition.joints=coco"
            )
        if not set(said) <= set(names) or len(set(said)) < len(said):
            expected = f"condition.pairs of joints among {', '.join(names)}, each once at most"
            raise UserError(expected, str([list(pair) for pair in self.pairs or ()]), "mend condition.pairs")
        if self.encode_crop and self.layout == "map":
            expected = "condition.encode_crop=false with condition.layout=map"
            raise UserError(expected, "true", "leave it out: a map is of what is shown")

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of all joints, in the order in which they are told."""
        return FIGURES[self.joints] if isinstance(self.joints, str) else self.joints


class KeypointsCondition(Condition):
    """Takes {"nose": (x, y), ...} a figure, places in [0, 1] of the image, None for joints that are absent.

    A window that moves sees the joints within it: the others are absent. Of several figures the largest is
    told first; those that the model has no room for are left out. A pose has 84 tokens in the paper
    (arXiv:2012.09841, Table 8), which does not say which: body28 in the layout xy has as many.
    """

    argument: ClassVar[str | None] = "keypoints"
    shift = 1

    def __init__(
        self, settings: KeypointsSettings, tokenizer: Codec | None = None, part: nn.Module | None = None
    ) -> None:
        super().__init__(settings, tokenizer, part)
        self.layout = _layout(settings)
        vocabulary = self.layout.vocabulary
        self.dropout = ConditionDropout(what="keypoints", share=settings.dropout, token=vocabulary)
        self.vocabulary = vocabulary + self.dropout.extra

    def length(self, grid: tuple[int, int]) -> int:
        """Return the tokens of all joints, or one a cell."""
        return self.layout.length(grid)

    def is_by_cell(self, grid: tuple[int, int]) -> bool:
        """Return whether there is a token a cell."""
        return self.layout.is_by_cell

    def from_user(self, value: Any, *, num: int, grid: tuple[int, int]) -> list[Pose]:
        """Return poses with the joints of this condition: one for all canvases, or num.

        value: a figure or a Pose, or a sequence of num of them. A figure is a mapping with all joints: name
        -> (x, y), (x, y, visibility), or None; several figures of one image are a list of them in that
        sequence. UserError for joints that are missing, unknown or out of range, and for too many figures.
        """
        if value is None:
            raise UserError(f"{self.argument}", "none", f"give {self.argument}={self._form()}")
        if not is_list(value):
            return [self._pose(value)]
        if len(value) != num:
            remedy = "give one for each image; figures of one image are a list within the list"
            raise UserError(f"one figure, or {num} of them", str(len(value)), remedy)
        return [self._pose(one) for one in value]

    def from_batch(self, batch: Any) -> list[Pose]:
        """Return the poses, of which crops are shown, with the joints of this condition."""
        return [pose.ordered(self.layout.names) for pose in batch.poses]

    def encode(self, value: list[Pose], *, num: int, grid: tuple[int, int], device: torch.device) -> Context:
        """Return tokens of the joints within each window."""
        same = all(pose == value[0] for pose in value)
        return self.layout.encode(value[:1] if same else value, num=num, grid=grid, device=device)

    @classmethod
    def needs(cls, settings: Any, data: Any, reader: Any) -> None:
        """See Condition: images with poses, with one of the joints at least."""
        if "pose" not in reader.gives:
            expected = f"images with poses for condition.kind={cls.argument}"
            remedy = "give data.kind=coco_keypoints or scenes"
            remedy = ENCODE_FOR if "codes" in reader.gives else remedy
            raise UserError(expected, f"data.kind={data.kind}", remedy)
        if not set(settings.names) & set(reader.joints):
            expected = f"condition.joints among those of the data: {', '.join(reader.joints)}"
            remedy = f"condition.joints=[{', '.join(reader.joints[:2])}, ...]"
            raise UserError(expected, ", ".join(settings.names), remedy)

    def decode(self, prefix: Int64[Tensor, "b m"], grid: tuple[int, int]) -> list[Pose]:
        """Return the figures of the prefix of each window of grid cells, at the places they were rounded to.

        "Nothing said" has none; of a map there is one figure.
        """
        if prefix.shape[1] != self.length(grid):
            remedy = "decode what encode gave, with the settings it was encoded with"
            raise UserError(f"prefixes of {self.length(grid)} tokens", str(prefix.shape[1]), remedy)
        gone = (prefix == self.layout.vocabulary).any(1).tolist()
        rows = zip(prefix.tolist(), gone, strict=True)
        return [Pose(self.layout.names, ()) if none else self.layout.decode(row, grid) for row, none in rows]

    def from_option(self, given: Any, fit: Any) -> Any:
        """Return the figure in a JSON file, or the Pose of a list of figures."""
        remedy = f"write for example {self._form()} into it"
        return self._pose(read_json(given, dict | list, "a figure, or a list of them", remedy))

    def count(self, value: Any) -> int | None:
        """Return how many there are in a sequence; None for one figure or pose."""
        return len(value) if is_list(value) else None

    def describe(self, value: Any, *, num: int) -> list[Any]:
        """Return the figures, each a mapping from joints to x, y and visibility."""
        each = value if is_list(value) else [value] * num
        return [_described(self._pose(one)) for one in each]

    def _pose(self, given: Any) -> Pose:
        """Return the pose of one image, as a user gives it."""
        if isinstance(given, Pose):
            pose = given.ordered(self.layout.names)
        else:
            figures = given if is_list(given) else [given]
            pose = Pose(self.layout.names, tuple(self._figure(one) for one in figures))
        most = self.settings.figures
        if len(pose.figures) > most:
            raise UserError(
                f"at most {most} figures in an image", str(len(pose.figures)), "leave the others out"
            )
        return pose

    def _figure(self, given: Any) -> Figure:
        if not isinstance(given, Mapping):
            raise UserError(f"a figure as {self._form()}", repr(given)[:200], "give each joint by its name")
        for name in given:
            if name not in self.layout.names:
                near = difflib.get_close_matches(str(name), self.layout.names, n=1)
                remedy = f"did you mean {near[0]}?" if near else f"joints are {', '.join(self.layout.names)}"
                raise UserError("a joint that the model is told", repr(name), remedy)
        missing = [name for name in self.layout.names if name not in given]
        if missing:
            more = f" and {len(missing) - _SAID} more" if len(missing) > _SAID else ""
            remedy = "give null (in Python None) for a joint that is not in the image"
            got = f"a figure without {', '.join(missing[:_SAID])}{more}"
            raise UserError(f"all {len(self.layout.names)} joints of a figure", got, remedy)
        return tuple(_joint(name, given[name]) for name in self.layout.names)

    def _form(self) -> str:
        return f'{{"{self.layout.names[0]}": [0.5, 0.2], ...}}'


def _layout(settings: KeypointsSettings) -> Layout:
    names, pairs, figures = settings.names, settings.pairs, settings.figures
    if settings.layout == "map":
        return MapLayout(names, pairs, figures)
    is_xy, places = settings.layout == "xy", settings.places
    return ListLayout(names, pairs, figures, places=places, is_xy=is_xy, encode_crop=settings.encode_crop)


def _joint(name: str, given: Any) -> Joint:
    """Return a joint as a user gives it; UserError."""
    if given is None:
        return NOWHERE
    numbers = list(given) if is_list(given) else []
    if len(numbers) in (2, 3) and all(isinstance(one, Real) for one in numbers):
        x, y, visibility = [*numbers, SEEN][:3]
        if visibility == ABSENT:
            return NOWHERE
        if 0 <= x <= 1 and 0 <= y <= 1 and visibility in (HIDDEN, SEEN):  # not a number fails too
            return Joint(float(x), float(y), int(visibility))
    remedy = "divide pixels by the image's width and height"
    raise UserError(f"{name} as {_JOINT}", repr(given)[:200], remedy)


def _described(pose: Pose) -> Any:
    figures = [
        {name: list(one) if one.visibility else None for name, one in zip(pose.names, figure, strict=True)}
        for figure in pose.figures
    ]
    return figures[0] if len(figures) == 1 else figures
