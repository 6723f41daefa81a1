"""What token shards hold of a sample beside its codes: a member of it as rows of plain numbers, and back.

What has one size in every sample is an array with a row for each. What has not, as the things of a scene, is
two arrays: how many each row has (n), `name.counts`, and one with all of them, row behind row.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from smalti.conditions.box_tokens import Object, Scene
from smalti.conditions.coordinates import Part
from smalti.conditions.pose import Joint, Pose
from smalti.data.protocol import Sample

Array = Any  # of numpy, mapped; its types say no more to a checker
PRECOMPUTED = "condition."  # before the key of what a condition made of the crops


class Rows:
    """The arrays of one shard, mapped: a row, and where there are several things a row, those."""

    def __init__(self, arrays: Mapping[str, Array], joints: tuple[str, ...] = ()) -> None:
        """joints: the names of those of poses."""
        self.arrays, self.joints = arrays, joints
        self._ends: dict[str, Array] = {}

    def __len__(self) -> int:
        return len(self.arrays["codes"])

    def several(self, counts: str, array: str, row: int) -> Array:
        """Return those of an array's entries that belong to a row, by the array of counts."""
        if counts not in self._ends:
            self._ends[counts] = np.cumsum(self.arrays[counts], dtype=np.int64)
        ends = self._ends[counts]
        return np.asarray(self.arrays[array][ends[row - 1] if row else 0 : ends[row]])


class Column(ABC):
    """One member of a Sample in shards."""

    member: ClassVar[str]  # its name
    array: ClassVar[str]  # one that there is where there is this

    @abstractmethod
    def pack(self, values: Sequence[Any]) -> dict[str, Tensor]:
        """Return the arrays of a member of some samples, which join those of others along the first axis."""

    @abstractmethod
    def unpack(self, rows: Rows, row: int) -> Any:
        """Return the member of the sample in a row."""


class Label(Column):
    """The number of a class."""

    member = "label"
    array = "labels"

    def pack(self, values: Sequence[int]) -> dict[str, Tensor]:
        """See Column."""
        return {"labels": torch.tensor(values, dtype=torch.int32)}

    def unpack(self, rows: Rows, row: int) -> int:
        """See Column."""
        return int(rows.arrays["labels"][row])


class Place(Column):
    """Which part of its image a crop shows."""

    member = "part"
    array = "parts"

    def pack(self, values: Sequence[Part]) -> dict[str, Tensor]:
        """See Column."""
        return {"parts": torch.tensor(values, dtype=torch.int32)}

    def unpack(self, rows: Rows, row: int) -> Part:
        """See Column."""
        return Part(*map(int, rows.arrays["parts"][row]))


class Things(Column):
    """What stands where in the image, whole and as it lies, and the crop that is shown of it."""

    member = "scene"
    array = "scenes.counts"

    def pack(self, values: Sequence[Scene]) -> dict[str, Tensor]:
        """See Column. Places stay of 64 bits: rounded, a thing could get another token."""
        things = [thing for scene in values for thing in scene.objects]
        boxes = torch.tensor([thing.box for thing in things], dtype=torch.float64)
        return {
            "scenes.counts": torch.tensor([len(scene.objects) for scene in values], dtype=torch.int32),
            "scenes.labels": torch.tensor([int(thing.label) for thing in things], dtype=torch.int32),
            "scenes.boxes": boxes.view(-1, 4),
            "scenes.crops": torch.tensor([scene.crop for scene in values], dtype=torch.float64),
            "scenes.flipped": torch.tensor([scene.is_flipped for scene in values], dtype=torch.uint8),
        }

    def unpack(self, rows: Rows, row: int) -> Scene:
        """See Column."""
        labels = rows.several("scenes.counts", "scenes.labels", row).tolist()
        boxes = rows.several("scenes.counts", "scenes.boxes", row).tolist()
        x0, y0, x1, y1 = rows.arrays["scenes.crops"][row].tolist()
        return Scene(
            objects=tuple(Object(label, *box) for label, box in zip(labels, boxes, strict=True)),
            crop=(x0, y0, x1, y1),
            is_flipped=bool(rows.arrays["scenes.flipped"][row]),
        )


class Figures(Column):
    """The joints of figures in the image, whole and as it lies, and the crop that is shown of it."""

    member = "pose"
    array = "poses.counts"

    def pack(self, values: Sequence[Pose]) -> dict[str, Tensor]:
        """See Column. Names of joints are those of the reader, one list for all."""
        figures = [figure for pose in values for figure in pose.figures]
        joints = torch.tensor(figures, dtype=torch.float64)
        return {
            "poses.counts": torch.tensor([len(pose.figures) for pose in values], dtype=torch.int32),
            "poses.joints": joints.view(-1, len(values[0].names), 3),
            "poses.crops": torch.tensor([pose.crop for pose in values], dtype=torch.float64),
            "poses.flipped": torch.tensor([pose.is_flipped for pose in values], dtype=torch.uint8),
        }

    def unpack(self, rows: Rows, row: int) -> Pose:
        """See Column."""
        figures = rows.several("poses.counts", "poses.joints", row).tolist()
        x0, y0, x1, y1 = rows.arrays["poses.crops"][row].tolist()
        return Pose(
            names=rows.joints,
            figures=tuple(tuple(Joint(x, y, int(seen)) for x, y, seen in figure) for figure in figures),
            crop=(x0, y0, x1, y1),
            is_flipped=bool(rows.arrays["poses.flipped"][row]),
        )


class Captions(Column):
    """All captions of the image, a line each, as bytes of UTF-8."""

    member = "texts"
    array = "caption_sizes"

    def pack(self, values: Sequence[tuple[str, ...] | None]) -> dict[str, Tensor]:
        """See Column."""
        rows = ["\n".join(texts or ()).encode() for texts in values]
        return {
            "captions": torch.frombuffer(bytearray(b"".join(rows)), dtype=torch.uint8),
            "caption_sizes": torch.tensor([len(row) for row in rows], dtype=torch.int32),
        }

    def unpack(self, rows: Rows, row: int) -> tuple[str, ...]:
        """See Column."""
        return tuple(rows.several("caption_sizes", "captions", row).tobytes().decode().split("\n"))


# by the word with which a reader says that its samples have it; part: every crop of an image
COLUMNS: dict[str, Column] = {
    "label": Label(),
    "part": Place(),
    "scene": Things(),
    "pose": Figures(),
    "text": Captions(),
}


def pack(samples: Sequence[Sample], names: Sequence[str]) -> dict[str, Tensor]:
    """Return the arrays of what is held of samples, words of COLUMNS."""
    found: dict[str, Tensor] = {}
    for column in (COLUMNS[name] for name in names):
        found |= column.pack([getattr(sample, column.member) for sample in samples])
    return found


def small(numbers: Sequence[Tensor | None], count: int) -> Tensor:
    """Return numbers of a row each, 0 .. count - 1, as the array of all, in as few bytes as they need."""
    there = [one for one in numbers if one is not None]
    return torch.stack(there).cpu().to(torch.uint16 if count <= 2**16 else torch.int32)


def unpack(rows: Rows, row: int, names: Sequence[str], keys: Sequence[str]) -> Sample:
    """Return the sample in a row: codes, what else is held, and what conditions made of it, by keys."""
    members = {COLUMNS[name].member: COLUMNS[name].unpack(rows, row) for name in names}
    made = {key: _whole(rows.arrays[PRECOMPUTED + key][row]) for key in keys}
    return Sample(codes=_whole(rows.arrays["codes"][row]), precomputed=made, **members)


def _whole(numbers: Array) -> Tensor:
    return torch.from_numpy(numbers.astype(np.int64))
