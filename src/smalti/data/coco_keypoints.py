"""COCO's keypoints: a sample for each figure, of which the surroundings are shown."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le

from smalti.conditions.box_tokens import Box
from smalti.conditions.pose import NOWHERE, Figure, Joint, Pose, partners
from smalti.config import Positive, Share, settings
from smalti.data.annotated import alike, inside
from smalti.data.coco import read, readable, size_of
from smalti.data.pixels import PixelSettings
from smalti.data.protocol import Reader, Sample, Summary
from smalti.data.turned import Described, Size, in_words, turned_notes, turns_along
from smalti.errors import UserError
from smalti.exif import Turn
from smalti.opening import Header
from smalti.reading.huge import Huge

Aspect = Annotated[float, Ge(0.1), Le(10.0)]


@settings
class CocoKeypointsSettings(PixelSettings):
    """Layout of root: annotations/person_keypoints_train2017.json, train2017/; val alike."""

    kind: Literal["coco_keypoints"] = "coco_keypoints"
    root: Path
    year: str = "2017"  # in the names of files and folders
    min_joints: Positive = 8  # that are annotated of a figure, hidden ones too
    min_height: Positive = 96  # pixels of a figure's box
    aspect: Aspect | None = 1.0  # width over height of what is shown around a figure; None: the whole image
    margin: Share = 0.15  # of a figure's box, shown on each side of it
    annotated: Described = "stored"  # what joints describe of an image that EXIF turns, see `coco`


@dataclass(frozen=True)
class Figures:
    """The figures that are annotated in an image."""

    size: Size  # height and width, for which they are
    joints: tuple[Figure, ...]
    boxes: tuple[Box, ...]


class CocoKeypoints(Reader):
    """Figures of COCO, one a sample, in the order of the images; crowds are left out.

    The image is cut around a figure's box; where it reaches a border, what is shown lies to one side, or is
    less. All figures of the image are in the pose.
    """

    gives = frozenset({"image", "pose"})
    classes = ()

    def __init__(self, settings: CocoKeypointsSettings, split: Literal["train", "val"]) -> None:
        folder = f"{split}{settings.year}"
        self.settings, self.root = settings, settings.root / folder
        path = settings.root / "annotations" / f"person_keypoints_{folder}.json"
        file = read(path, "data.year")
        with readable(path, "data.year"):
            (category, *_) = [one for one in file["categories"] if "keypoints" in one]
            self.joints = tuple(map(str, category["keypoints"]))
            found = _figures(file, category["id"], len(self.joints))
        self._found = {name: figures for name, figures, _ in found}
        self._places = [
            (name, number)
            for name, figures, counts in found
            for number, count in enumerate(counts)
            if count >= settings.min_joints and _height(figures, number) >= settings.min_height
        ]
        self.paths = [self.root / name for name, _ in self._places]
        if not self._places:
            least = f"{settings.min_joints} joints and a height of {settings.min_height} pixels"
            got = f"none among {sum(len(counts) for _, _, counts in found)} that are annotated"
            raise UserError(f"figures with {least}", got, "change data.min_joints or data.min_height")

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Sample:
        """See Reader: the surroundings of a figure."""
        name, number = self._places[index]
        found, path = self._found[name], self.root / name
        image, turn = self.settings.open_turned(path)
        if isinstance(image, Huge):
            got = f"{image.shape[1]} x {image.shape[2]} in {path}"
            raise UserError("an image that is opened whole", got, "leave data.max_pixels out")
        upright = (image.shape[1], image.shape[2])
        along = turns_along(found.size, upright, turn, self.settings.annotated, alike)
        if along is None:
            got, remedy = "{} x {} in {}".format(*found.size, path), "mend the annotation, or take it away"
            raise UserError(f"joints for the image's size, {in_words(upright, turn)}", got, remedy)
        figures, box = found.joints, found.boxes[number]
        if along and turn:
            figures, box = tuple(_turned(one, turn, self.joints) for one in figures), turn.box(box)
        top, left, height, width = self._shown(box, upright)
        shown = (
            left / upright[1],
            top / upright[0],
            (left + width) / upright[1],
            (top + height) / upright[0],
        )
        pose = Pose(self.joints, figures).part(shown)
        return Sample(image=image[:, top : top + height, left : left + width], pose=pose, path=path)

    def sides(self) -> Iterator[Size | None]:
        """See Reader: of the surroundings."""
        for (name, number), header in zip(self._places, self.headers(), strict=True):
            if header is None:
                yield None
                continue
            found, upright = self._found[name], (header.height, header.width)
            along = turns_along(found.size, upright, header.turn, self.settings.annotated, alike)
            box = header.turn.box(found.boxes[number]) if along and header.turn else found.boxes[number]
            yield self._shown(box, upright)[2:]

    def summary(self) -> Summary:
        """See Reader."""
        return Summary(count=len(self), root=self.root, paths=self.paths, pixels=self.settings)

    def notes(self, headers: Sequence[Header]) -> list[str]:
        """See Reader."""
        return turned_notes("joints", self.settings.annotated, True, headers)

    def _shown(self, box: Box, size: Size) -> tuple[int, int, int, int]:
        """Return top, left, height and width of what is shown around a box, in pixels of an image."""
        if self.settings.aspect is None:
            return (0, 0, *size)
        x0, x1, y0, y1 = box[0] * size[1], box[2] * size[1], box[1] * size[0], box[3] * size[0]
        more, aspect = 1 + 2 * self.settings.margin, self.settings.aspect
        height = max((y1 - y0) * more, (x1 - x0) * more / aspect)
        top, tall = _within((y0 + y1) / 2, height, size[0])
        left, wide = _within((x0 + x1) / 2, height * aspect, size[1])
        return top, left, tall, wide


def _figures(file: dict[str, Any], category: Any, count: int) -> list[tuple[str, Figures, list[int]]]:
    """Return file name, figures and how many joints of each are annotated, of every image with some."""
    by_image: dict[Any, list[dict[str, Any]]] = {}
    for one in file["annotations"]:
        if one["category_id"] == category and not one.get("iscrowd") and any(one["keypoints"][2::3]):
            by_image.setdefault(one["image_id"], []).append(one)
    found = []
    for image in file["images"]:
        held, size = by_image.get(image["id"], []), size_of(image)
        joints = tuple(tuple(_joints(one["keypoints"], size, count)) for one in held)
        boxes = tuple(_box(one["bbox"], size) for one in held)
        counts = [sum(bool(joint.visibility) for joint in figure) for figure in joints]
        if held:
            found.append((str(image["file_name"]), Figures(size, joints, boxes), counts))
    return found


def _joints(numbers: Sequence[float], size: Size, count: int) -> Iterator[Joint]:
    """Give the joints of x, y and visibility each, one after the other, in pixels."""
    for _, x, y, visibility in zip(range(count), *(numbers[first::3] for first in range(3)), strict=True):
        x0, y0, _, _ = inside((x / size[1], y / size[0], 1.0, 1.0))
        yield Joint(x0, y0, int(visibility)) if visibility else NOWHERE


def _box(numbers: Sequence[float], size: Size) -> Box:
    x, y, width, height = numbers
    return inside((x / size[1], y / size[0], (x + width) / size[1], (y + height) / size[0]))


def _height(figures: Figures, number: int) -> float:
    box = figures.boxes[number]
    return (box[3] - box[1]) * figures.size[0]


def _turned(figure: Figure, turn: Turn, names: Sequence[str]) -> Figure:
    """Return a figure of the stored raster in the image as it is seen, where a mirror exchanges sides."""
    turned = [
        Joint(*turn.box((*one[:2], *one[:2]))[:2], one.visibility) if one.visibility else one
        for one in figure
    ]
    is_mirrored = turn.swapped ^ bool(len(turn.flipped) % 2)
    order = partners(names) if is_mirrored else range(len(names))
    return tuple(turned[number] for number in order)


def _within(middle: float, length: float, whole: int) -> tuple[int, int]:
    """Return first pixel and length of a stretch around a place, moved into an image."""
    long = max(min(round(length), whole), 1)
    return min(max(round(middle - long / 2), 0), whole - long), long
