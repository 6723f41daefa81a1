"""Scenes that are made as they are asked for, of which everything is known: nothing is read from a disk."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from smalti import config
from smalti.conditions.box_tokens import Box, Object, Scene
from smalti.conditions.pose import COCO, HIDDEN, NOWHERE, SEEN, Joint, Pose
from smalti.config import Count, Positive, Share, settings
from smalti.data.protocol import Reader, Sample, Summary
from smalti.errors import UserError
from smalti.scenes.chance import Chance
from smalti.scenes.compose import KINDS, Arrangement, Thing, compose
from smalti.scenes.render import GROUND, SKY, Rendering, render
from smalti.scenes.words import Said, captions
from smalti.sizes import Sides, Sizes, listed, plain, worded

VERSION = 1  # of what is made: raised with every change of a pixel or a word
SEGMENTS = ("sky", "ground", *KINDS)  # classes of segmentations, by number
NEAREST = 2.0  # metres: where a map of depths is 1
_VISIBLE = 1e-3  # of the image: of things that show less nothing is said
_SPOKEN = 4000  # images whose captions a vocabulary is learned of
_MOST = 8  # things that find a place


@settings
class ScenesSettings:
    """What is made: small scenes of spheres, boxes, capsules and people on a ground."""

    kind: Literal["scenes"] = "scenes"
    size: Sizes = 64  # pixels of an image: a side, or height and width; several: each has one of them
    count: Positive = 100_000  # images of a pass over those to train on
    val_count: Count = 1000  # of those held out, which are others
    seed: int = 0  # of all of them; each belongs to (seed, its number)
    min_objects: Positive = 1  # things that stand there; fewer where no more find a place
    max_objects: Positive = 4
    people: Share = 0.5  # of the images: those with a person, who is one of the things
    content: Literal["segmentation", "depth"] = "segmentation"  # what maps show

    # what class maps in files mean, see PairsSettings: these are none
    merge: ClassVar[None] = None
    shift: ClassVar[None] = None

    def __post_init__(self) -> None:
        if not self.min_objects <= self.max_objects <= _MOST:
            expected = f"data.min_objects and data.max_objects from 1 to {_MOST}, the smaller first"
            got = f"{self.min_objects} and {self.max_objects}"
            raise UserError(expected, got, "data.min_objects=1 data.max_objects=4")
        for height, width in self.sizes:
            if not 32 <= min(height, width) <= max(height, width) <= min(4 * min(height, width), 1024):
                expected = "data.size from 32 to 1024 pixels a side, one at most four times the other"
                raise UserError(expected, f"{height} x {width}", "data.size=64")

    @property
    def sizes(self) -> tuple[Sides, ...]:
        """Return height and width of an image in pixels, of each size that there is."""
        return listed(self.size)

    @property
    def root(self) -> str:
        """Return what stands for a folder where one is told of."""
        return "the scenes"

    @property
    def contents(self) -> dict[str, int]:
        """Return what can be rebuilt of such data, each with its channels."""
        maps = {"segmentation": len(SEGMENTS)} if self.content == "segmentation" else {"map": 1}
        return {"image": 3, **maps}


class Scenes(Reader):
    """Image n of a split is a function of the settings and n: whoever makes it, and whenever."""

    classes = KINDS  # of things; an image's label is that of which most is seen
    joints = COCO
    gives = frozenset({"image", "label", "scene", "pose", "map", "text"})

    def __init__(self, settings: ScenesSettings, split: Literal["train", "val"]) -> None:
        assert split in ("train", "val"), f"no split {split}"
        self.settings, self.split, self.labels = settings, split, None

    def __len__(self) -> int:
        return self.settings.count if self.split == "train" else self.settings.val_count

    def __getitem__(self, index: int) -> Sample:
        """The image of a number, with all that is known of it."""
        how, made = self.settings, self._made(index)
        seen = render(made.world)
        shown = _shown(made, seen)
        classes = [KINDS.index(thing.kind) for thing, _ in shown]
        depths = how.content == "depth"
        said = [_said(thing, box) for thing, box in shown]
        return Sample(
            image=seen.image,
            segmentation=None if depths else segmentation(made, seen),
            map=nearness(seen)[None] if depths else None,
            scene=Scene(tuple(Object(one, *box) for one, (_, box) in zip(classes, shown, strict=True))),
            pose=_pose(made, seen),
            label=classes[0] if classes else 0,
            texts=captions(said, made.ground),
            mirrored=captions([one._replace(x=1 - one.x) for one in said], made.ground),
        )

    def captions(self) -> Iterator[str]:
        """See Reader: those of some arrangements, as if nothing hid anything, which have all the words."""
        for index in range(min(len(self), _SPOKEN)):
            made = self._made(index)
            said = [_said(thing, thing.outline) for thing in made.things]
            yield from captions(said, made.ground)

    def _made(self, index: int) -> Arrangement:
        how = self.settings
        numbers = ("scenes", VERSION, how.seed, self.split, index)
        return compose(numbers, self._sides(index), (how.min_objects, how.max_objects), how.people)

    def sides(self) -> Iterator[Sides]:
        """See Reader."""
        return map(self._sides, range(len(self)))

    def _sides(self, index: int) -> Sides:
        """Return height and width of an image: of several sizes each is as likely."""
        how = self.settings
        if len(how.sizes) == 1:
            return how.sizes[0]
        return Chance("size", VERSION, how.seed, self.split, index).pick(how.sizes)

    def summary(self) -> Summary:
        """See Reader: what is made differs where a setting does, or what makes it."""
        how = self.settings
        said = {**config.dump(how), "size": plain(how.sizes), "count": len(self), "content": None}
        del said["val_count"]
        note = f"scenes made as they are asked for, {worded(how.sizes)} pixels"
        note += f": {how.min_objects} to {how.max_objects} things, a person in {how.people:.0%}; "
        note += f"seed {how.seed}"
        marks = (str(VERSION), self.split, json.dumps(said, sort_keys=True))
        return Summary(count=len(self), root=Path(how.root), note=note, marks=marks, sides=how.sizes)


def segmentation(made: Arrangement, seen: Rendering) -> Int64[Tensor, "H W"]:
    """Return the number of each pixel's class in SEGMENTS."""
    names = [*(thing.kind for thing in made.things), "ground", "sky"]
    assert (GROUND, SKY) == (-2, -1), "the last two"
    return torch.tensor([SEGMENTS.index(name) for name in names])[seen.things]


def nearness(seen: Rendering) -> Float[Tensor, "H W"]:
    """Return 2 NEAREST / depth - 1, at most 1, so that 2 NEAREST / (map + 1) is the depth; -1 is the sky."""
    return (2 * NEAREST / seen.depth - 1).clamp(-1, 1)


def _shown(made: Arrangement, seen: Rendering) -> list[tuple[Thing, Box]]:
    """Return the things that are seen, most of it first, each with the box around its pixels."""
    height, width = seen.things.shape
    found = []
    for number, thing in enumerate(made.things):
        mask = seen.things == number
        count = int(mask.sum())
        if count >= _VISIBLE * height * width:
            rows, columns = (mask.any(axis).nonzero()[:, 0].tolist() for axis in (1, 0))
            box = (columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height)
            found.append((-count, number, thing, box))
    return [(thing, box) for _, _, thing, box in sorted(found, key=lambda one: one[:2])]


def _said(thing: Thing, box: Box) -> Said:
    return Said(thing.name, (box[0] + box[2]) / 2, thing.placed.z)


def _pose(made: Arrangement, seen: Rendering) -> Pose:
    """Return the joints of the person, if there is one."""
    people = [number for number, thing in enumerate(made.things) if thing.figure is not None]
    return Pose(COCO, tuple(_joints(made, seen, number) for number in people))


def _joints(made: Arrangement, seen: Rendering, number: int) -> tuple[Joint, ...]:
    """Return joints: one is seen where its pixel shows the person no nearer than the body around it."""
    thing, camera = made.things[number], made.world.camera
    assert thing.figure is not None, "a person"
    height, width = camera.size
    found = []
    for point, radius in thing.figure.joints:
        x, y, depth = camera.seen(thing.placed.point(point))
        if not (0 <= x < 1 and 0 <= y < 1):
            found.append(NOWHERE)
            continue
        row, column = int(y * height), int(x * width)
        near = float(seen.depth[row, column]) > depth - 1.5 * radius - 0.02
        is_seen = near and int(seen.things[row, column]) == number
        found.append(Joint(x, y, SEEN if is_seen else HIDDEN))
    return tuple(found)
