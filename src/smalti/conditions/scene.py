"""What `boxes` and `points` share: a list of things in an image becomes tokens, anew for every window."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any, Literal

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from smalti.conditions.box_tokens import FLAGS, Box, Object, Points, Scene, flipped, rescaled, touches
from smalti.conditions.classes import ByClass, Classes, check_names, plain
from smalti.conditions.context import Context, GridContext, PartsContext, SameContext
from smalti.conditions.dropout import ConditionDropout
from smalti.conditions.protocol import ENCODE_FOR, Codec, is_list
from smalti.conditions.scene_map import SceneMap
from smalti.config import Positive, Share, settings
from smalti.errors import UserError
from smalti.files import read_json


@settings
class SceneSettings:
    """How things are told. Tokens share one numbering: classes, points, and no_tokens - 1 for "nothing"."""

    no_tokens: Positive = 8192
    classes: Positive  # how many
    names: tuple[str, ...] = ()  # by number; empty where the classes have none
    max_objects: Positive = 30
    flags: tuple[Literal["group", "occluded", "depiction", "inside"], ...] = ()  # told with a thing's class
    # list: the tokens of each thing, then of the next; map: a token a cell of the image, what lies there
    layout: Literal["list", "map"] = "list"
    encode_crop: bool = True  # two tokens tell what part of the image is shown; else boxes are told in it
    clip_both_ends: bool = True  # of boxes told in a part; false: the 2021 code's way
    dropout: Share = 0.0  # of images shown without their things; above 0 the model can be guided

    def __post_init__(self) -> None:
        check_names(self.classes, self.names)
        if self.layout == "map":
            if self.encode_crop:
                expected = "condition.encode_crop=false with condition.layout=map"
                raise UserError(expected, "true", "set it: a map is of what is shown")
            return
        needed = max(self.numbers + 1, 4)
        if self.no_tokens < needed:
            expected = f"condition.no_tokens of at least {needed}: the classes, with flags, and nothing"
            raise UserError(expected, str(self.no_tokens), f"condition.no_tokens={needed}")

    @property
    def numbers(self) -> int:
        """Return the count of classes with their flags: 0 .. numbers - 1."""
        return self.classes * (1 + self.bits)

    @property
    def bits(self) -> int:
        """Return the sum of 2 ** k over the flags that are told."""
        return sum(1 << FLAGS.index(flag) for flag in set(self.flags))


class SceneCondition(ByClass):
    """Things in an image, each a class and one or two points; empty slots are filled with "nothing".

    Where the settings say so, two tokens more tell what part of the image is shown, and boxes stay those
    of the whole image. A window that moves sees the things that it touches (2021 code's scene sampler). In
    the layout `map` it sees its part of one map of the canvas, see SceneMap.
    """

    form: str  # of a thing, in words
    per_object: int  # tokens
    shift = 1

    def __init__(
        self, settings: SceneSettings, tokenizer: Codec | None = None, part: nn.Module | None = None
    ) -> None:
        super().__init__(settings, tokenizer, part)
        self.classes, self.points = Classes(settings.classes, settings.names), Points(settings.no_tokens)
        self.none = settings.no_tokens - 1
        self.map = SceneMap(settings.numbers) if settings.layout == "map" else None
        vocabulary = settings.no_tokens if self.map is None else self.map.vocabulary
        self.unsaid = vocabulary  # the token of "nothing is said"
        self.dropout = ConditionDropout(what="its things", share=settings.dropout, token=self.unsaid)
        self.vocabulary = vocabulary + self.dropout.extra

    @abstractmethod
    def where(self, box: Box) -> list[int]:
        """Return the tokens of a place."""

    @abstractmethod
    def box(self, tokens: list[int]) -> Box:
        """Return the place of tokens."""

    @abstractmethod
    def place(self, box: Box) -> Box:
        """Return what of a box is told: itself, or less."""

    @abstractmethod
    def thing(self, given: Sequence[Any]) -> Object | None:
        """Return one thing as a user gives it; None if it does not have this form."""

    def length(self, grid: tuple[int, int]) -> int:
        """Return slots for things, and the crop where it is told; of a map one a cell."""
        if self.map is not None:
            return grid[0] * grid[1]
        return self.settings.max_objects * self.per_object + 2 * self.settings.encode_crop

    def is_by_cell(self, grid: tuple[int, int]) -> bool:
        """Return whether there is a token a cell."""
        return self.map is not None

    def from_user(self, value: Any, *, num: int, grid: tuple[int, int]) -> list[Scene]:
        """Return scenes whose labels are numbers: one for all canvases, or num.

        value: a list of things, or a sequence of num lists; the order of things is kept. A class from
        `classes` on carries flags: number + classes * (group + 2 occluded + 4 depiction + 8 inside). In place
        of a list there may be a Scene, of which the canvas shows a crop, and in which a label that is no word
        is a number, never a name; flags that the model is not told are left out of it. UserError for what is
        missing, unknown or out of range.
        """
        return [self._numbered(one) for one in self._each(value, num)]

    def from_batch(self, batch: Any) -> list[Scene]:
        """Return the scenes, of which crops are shown."""
        return [self._numbered(scene) for scene in batch.scenes]

    def encode(self, value: list[Scene], *, num: int, grid: tuple[int, int], device: torch.device) -> Context:
        """Return slots of tokens for the things that each window touches, or its part of the map."""
        same = all(scene == value[0] for scene in value)
        scenes = value[:1] if same else value
        if self.map is None:
            return PartsContext(self.tokens, scenes, num, grid, device)
        maps = torch.stack([self.map.tokens(self._placed(scene), grid) for scene in scenes])
        return GridContext(tokens=maps.to(device).expand(num, -1, -1))

    @classmethod
    def needs(cls, settings: Any, data: Any, reader: Any) -> None:
        """See Condition: annotated images, with the classes and no more things than the model knows."""
        if "scene" not in reader.gives:
            remedy = ENCODE_FOR if "codes" in reader.gives else "give data.kind=coco or open_images"
            raise UserError(f"annotated images for condition.kind={cls.argument}", data.kind, remedy)
        if settings.classes != len(reader.classes):
            remedy = f"leave condition.classes out, or give condition.classes={len(reader.classes)}"
            expected = f"as many condition.classes as the data have, {len(reader.classes)}"
            raise UserError(expected, str(settings.classes), remedy)
        most = reader.most_objects()
        if settings.max_objects < most:
            said, fewer = "the data's ", f"condition.max_objects={most}"
            if hasattr(data, "max_objects"):
                said, fewer = "data.max_objects=", f"data.max_objects={settings.max_objects}"
            expected = f"condition.max_objects of at least {said}{most}"
            raise UserError(expected, str(settings.max_objects), fewer)
        super().needs(settings, data, reader)

    def decode(self, prefix: Int64[Tensor, "b m"], grid: tuple[int, int] = (1, 1)) -> list[Scene]:
        """Return the things of each prefix, of a window of grid cells, at the places they were rounded to.

        "Nothing said" has none; of a map those whose top left cell is not covered. Labels are names where the
        classes have names and the thing no flags, else numbers.
        """
        if prefix.shape[1] != self.length(grid):
            remedy = "decode what encode gave, with the settings it was encoded with"
            raise UserError(f"prefixes of {self.length(grid)} tokens", str(prefix.shape[1]), remedy)
        return [self._scene(row, grid) for row in prefix.tolist()]

    def drop(self, context: Context, num: int, rng: torch.Generator) -> Context:
        """See Condition; things of a list come in a random order besides, as no order is right."""
        if self.map is not None:
            return super().drop(context, num, rng)
        assert isinstance(context, PartsContext), "encode made it"
        prefix = context.window(0, 0, *context.grid)
        slots = self.settings.max_objects
        things, crop = prefix[:, : slots * self.per_object], prefix[:, slots * self.per_object :]
        things = things.view(-1, slots, self.per_object)
        keys = torch.rand(things.shape[:2], generator=rng, device=rng.device).to(prefix.device)
        keys = keys.masked_fill(things[:, :, 0] == self.none, 2.0)  # empty slots come last
        order = keys.argsort(dim=1)
        things = things.gather(1, order[:, :, None].expand_as(things))
        return super().drop(SameContext(prefix=torch.cat((things.flatten(1), crop), 1)), num, rng)

    def from_option(self, given: Any, fit: Any) -> list[Any]:
        """Return the list of things in a JSON file."""
        remedy = 'write for example [["person", 0.1, 0.2, 0.5, 0.9]] into it'
        found: list[Any] = read_json(given, list, "a list of things", remedy)
        return found

    def count(self, value: Any) -> int | None:
        """Return how many lists of things there are."""
        is_one = not is_list(value) or all(_is_thing(one) for one in value)
        return None if is_one else len(value)

    def describe(self, value: Any, *, num: int) -> list[Any]:
        """Return the lists as they were given."""
        return [
            one.objects if isinstance(one, Scene) else [plain(thing) for thing in one]
            for one in self._each(value, num)
        ]

    def tokens(self, scene: Scene) -> list[int]:
        """Return the prefix of a scene whose labels are numbers."""
        found: list[int] = []
        for thing in scene.objects:
            if touches(thing.box, scene.crop):
                found += [int(thing.label), *self.where(self._shown(thing.box, scene))]
        found += [self.none] * (self.settings.max_objects * self.per_object - len(found))
        if self.settings.encode_crop:
            x0, y0, x1, y1 = scene.crop_as_shown
            found += [self.points.token(x0, y0), self.points.token(x1, y1)]
        return found

    def _shown(self, box: Box, scene: Scene) -> Box:
        if not self.settings.encode_crop:
            box = rescaled(box, scene.crop, clip_both_ends=self.settings.clip_both_ends)
        return flipped(box) if scene.is_flipped else box

    def _placed(self, scene: Scene) -> Scene:
        """Return it with what of its things is told."""
        return replace(scene, objects=tuple(Object(one.label, *self.place(one.box)) for one in scene.objects))

    def _scene(self, tokens: list[int], grid: tuple[int, int]) -> Scene:
        if tokens[0] == self.unsaid:
            return Scene(())
        if self.map is not None:
            found = self.map.things(tokens, grid)
            return Scene(tuple(one._replace(label=self._label(int(one.label))) for one in found))
        slots = self.settings.max_objects * self.per_object
        groups = [tokens[first : first + self.per_object] for first in range(0, slots, self.per_object)]
        things = [
            Object(self._label(group[0]), *self.box(group[1:])) for group in groups if group[0] != self.none
        ]
        if not self.settings.encode_crop:
            return Scene(tuple(things))
        crop = (*self.points.place(tokens[-2]), *self.points.place(tokens[-1]))
        return Scene(tuple(things), crop=crop)

    def _label(self, number: int) -> int | str:
        names = self.settings.names
        return names[number] if number < len(names) else number

    def _each(self, value: Any, num: int) -> list[Any]:
        """Return the value of each canvas: a Scene or a sequence of things."""
        if value is None:
            raise UserError(f"{self.argument}", "none", self._remedy())
        if not isinstance(value, Scene) and not is_list(value):
            raise UserError(f"a list of {self.form}", type(value).__name__, self._remedy())
        if self.count(value) is None:
            return [value] * num
        if len(value) != num:
            raise UserError(
                f"one list of things, or {num} of them", f"{len(value)}", "give one for each image"
            )
        return list(value)

    def _numbered(self, given: Any) -> Scene:
        """Return a scene whose labels are numbers, from a Scene or from a user's list."""
        if isinstance(given, Scene):
            scene = replace(given, objects=tuple(self._told(thing) for thing in given.objects))
        elif is_list(given):
            scene = Scene(tuple(self._checked(one) for one in given))
        else:
            raise UserError(f"a list of {self.form}", repr(given), self._remedy())
        count, most = len(scene.objects), self.settings.max_objects
        if count > most:
            raise UserError(f"at most {most} things in an image", str(count), "leave out the smallest")
        return scene

    def _checked(self, given: Any) -> Object:
        thing = self.thing(given) if is_list(given) and given else None
        if thing is None:
            raise UserError(self.form, repr(given), self._remedy())
        x0, y0, x1, y1 = thing.box
        if not (0 <= x0 <= x1 <= 1 and 0 <= y0 <= y1 <= 1):  # not a number fails too
            expected = f"{self.form}, all of them from 0 to 1, x0 <= x1 and y0 <= y1"
            raise UserError(expected, repr(given), "divide pixels by the image's width and height")
        return thing._replace(label=self._number(thing.label))

    def _number(self, label: Any) -> int:
        flagged = isinstance(label, Integral) and self.classes.count <= int(label) < self.settings.numbers
        if not flagged or self.classes.named(label) is not None:
            return self.classes.number(label)
        flags, number = divmod(int(label), self.classes.count)
        return number + self.classes.count * self._known_flags(flags, int(label))

    def _known_flags(self, flags: int, label: int) -> int:
        if flags & ~self.settings.bits:
            told = ", ".join(self.settings.flags)
            raise UserError(f"a class with flags among {told}", str(label), "leave the others out")
        return flags

    def _told(self, thing: Object) -> Object:
        """Return it with those flags only that the model is told."""
        if isinstance(thing.label, str):
            return thing._replace(label=self.classes.number(thing.label))
        flags, number = divmod(thing.label, self.classes.count)
        return thing._replace(label=number + self.classes.count * (flags & self.settings.bits))

    def _remedy(self) -> str:
        return f"give {self.argument}=[{self.form}, ...]; a class is {self.classes.known()}"


def _is_thing(given: Any) -> bool:
    """Return whether this can be meant as one thing, not as a list of them: it begins with no list."""
    if isinstance(given, Scene):
        return False
    return not is_list(given) or (len(given) > 0 and not is_list(given[0]))
