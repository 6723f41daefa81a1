"""Images with what a model is told of them: maps, boxes or captions, read as its training had them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from smalti import config, imaging
from smalti.conditions.box_tokens import Object
from smalti.conditions.pose import Pose
from smalti.conditions.protocol import Condition
from smalti.conditions.skeleton import skeleton
from smalti.data import READERS
from smalti.data.folder import Folder, FolderSettings
from smalti.data.loader import Crops, collate
from smalti.data.protocol import Batch, Reader
from smalti.errors import UserError
from smalti.evaluation.sets import Cut, ImageSet, mark_of
from smalti.evaluation.settings import EvaluationSettings
from smalti.metrics.obeyed.boxes import visible
from smalti.pipeline import Pipeline
from smalti.reading.pixels import PixelReading
from smalti.tokenizer import Tokenizer
from smalti.training.folders import is_made
from smalti.training.holding import as_made, as_trained

_CLASSES = 64  # colours of boxes
_CHANNELS = 3  # of images that are made
_FOLDERS = ("pairs", "folder")  # readers that hold out a part of any folder by themselves


class Described(ImageSet):
    """The images of a reader, and what it says of each."""

    def __init__(self, reader: Reader, cut: Cut, name: str) -> None:
        self.name, self._paths = name, reader.summary().paths
        self._crops = Crops(reader, cut.size, cut.how.for_validation(), seed=0)
        if isinstance(reader, Folder) and reader.classes:
            self.classes = reader.classes
            self.labels = [reader.label(index) or 0 for index in range(len(reader))]

    def __len__(self) -> int:
        return len(self._crops.reader)

    def __getitem__(self, index: int) -> Float[Tensor, "c H W"]:
        """See ImageSet."""
        return self.batch([index])[0]

    def batch(self, rows: Sequence[int]) -> Float[Tensor, "b c H W"]:
        """See ImageSet."""
        found = self._read(rows).images
        assert found is not None, "needs has looked"
        return found

    def described(self, rows: Sequence[int]) -> Batch | None:
        """See ImageSet. UserError for what cannot be read."""
        return self._read(rows)

    def _read(self, rows: Sequence[int]) -> Batch:
        return collate([self._crops[0, row] for row in rows])

    def mark(self, index: int) -> int:
        """See ImageSet: of the image file's bytes; of an image that is made, of its pixels."""
        if self._paths:
            return mark_of(self._paths[index].read_bytes())
        return mark_of(self[index].numpy().tobytes())


T = TypeVar("T", bound=Described)


class Labels(Sequence[int]):
    """The class of each image of a reader that makes them: known once one is made."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def __len__(self) -> int:
        return len(self._reader)

    def __getitem__(self, index: Any) -> Any:
        return self._reader[index].label


class Made(Described):
    """The images of a reader that makes them, of which models are told their classes or nothing."""

    def __init__(self, reader: Reader, cut: Cut, name: str, *, labelled: bool) -> None:
        super().__init__(reader, cut, name)
        if labelled:
            self.classes, self.labels = reader.classes, Labels(reader)

    def described(self, rows: Sequence[int]) -> None:
        """See ImageSet."""
        return None


def open_described(
    path: Path, cut: Cut, how: EvaluationSettings, model: Pipeline
) -> tuple[Described, Described | None]:
    """Return real images with what the model is told of them, and those that its training learned from.

    Of the folder that it was trained on what was held out; of another one all, and nothing is known of the
    training's. UserError where data have nothing for such a condition.
    """
    settings: Any = _made(path, cut, model) if is_made(path) else _settings(path, how, model)
    readers = _readers(settings, how)
    condition: Any = model.condition
    type(condition).needs(model.settings.condition, settings, readers["train"])
    condition.agree(settings, readers.values())
    if _of_kind(condition, "label"):
        _number_alike(readers, model, path)
    return _sides({split: Described(one, cut, f"{path} ({split})") for split, one in readers.items()}, how)


def open_made(
    kind: Path, cut: Cut, how: EvaluationSettings, model: Tokenizer | Pipeline | None
) -> tuple[Made, Made | None]:
    """Return images of data that are made and the classes that they show, and those to train on.

    As for the model's training if that was on such. UserError for a tokenizer of other images.
    """
    tokenizer = model.tokenizer if isinstance(model, Pipeline) else model
    if tokenizer is not None and tokenizer.channels != _CHANNELS:
        got = f"one of {tokenizer.channels} channels"
        raise UserError(f"a tokenizer of RGB images, as {kind} are", got, "give the folder of its images")
    readers = _readers(_made(kind, cut, model), how)
    labelled = isinstance(model, Pipeline) and bool(model.condition.named)
    named = {split: (one, cut, f"{kind} ({split})") for split, one in readers.items()}
    return _sides({split: Made(*one, labelled=labelled) for split, one in named.items()}, how)


def _readers(settings: Any, how: EvaluationSettings) -> dict[str, Reader]:
    """Return readers by split, of which all images that are there have one."""
    made = READERS[settings.kind][1]
    return {
        split: made(settings, split) for split in ("train", "val") if split == "train" or how.split != "all"
    }


def _sides(found: Mapping[str, T], how: EvaluationSettings) -> tuple[T, T | None]:
    """Return real images to measure by, and those of the training where they are others."""
    train = found["train"]
    if how.split == "train" or not len(found.get("val", ())):
        if how.split == "val":
            got = f"{train.name}, of which no part is held out"
            raise UserError("data with a part that is held out", got, "--split all")
        return train, None
    return found["val"], train if len(train) else None


def value(model: Pipeline, batch: Batch | None) -> Any:
    """Return what a batch says, as judges take it: class maps by number, all else as the condition has it.

    Of several conditions by the name of each.
    """
    assert batch is not None, "these images have conditions"
    found = {
        name: batch.segmentations
        if getattr(one, "of_classes", False) and batch.segmentations is not None
        else one.from_batch(batch)
        for name, one in model.condition.named.items()
    }
    return found if is_joint(model.condition) else next(iter(found.values()))


def is_joint(condition: Condition) -> bool:
    """Return whether a condition joins several, so that what it is told is kept by the name of each."""
    return condition.argument is None and bool(condition.named)


def drawn(conditions: Any, size: tuple[int, int]) -> Float[Tensor, "b 3 H W"]:
    """Return images of conditions as judges take them, in [-1, 1]: maps in colours, boxes, poses."""
    if not isinstance(conditions, Tensor):
        return torch.stack(
            [
                skeleton(one, size) if isinstance(one, Pose) else _boxes(visible(one), size)
                for one in conditions
            ]
        )
    if not conditions.is_floating_point():
        return imaging.to_float(imaging.colour_labels(conditions))
    maps = conditions if conditions.dim() == 4 else 2 * conditions[:, None] - 1  # shares: coordinates
    return maps[:, :3].expand(-1, 3, -1, -1).clamp(-1, 1)


def _settings(path: Path, how: EvaluationSettings, model: Pipeline) -> Any:
    """Return how the data are read: of the folder that the model was trained on as its training did."""
    told: Any = model.provenance.get("data") or {}
    is_own = isinstance(told.get("root"), str) and Path(told["root"]).resolve() == path.resolve()
    condition: Any = model.condition
    maps = [one for one in _of_kind(condition, "map") if one.compute is None]
    if how.maps is not None and not maps:
        raise UserError("no --maps for a model whose maps are computed", str(how.maps), "leave it out")
    own = str(told["kind"]) if is_own and (condition.compute is not None or is_joint(condition)) else None
    kind, given = own or _kind_of(path, condition, with_maps=bool(maps)), dict[str, Any]()
    if kind == "folder" and _of_kind(condition, "text"):
        return _captioned(path, how, model)
    if maps:
        takes = {1: "depth"}.get(maps[0].tokenizer.channels, "image")
        given = {"content": "segmentation" if maps[0].of_classes else takes}
    given |= told if told.get("kind") == kind else {}
    given |= {"captions": how.captions} if how.captions is not None else {}
    given |= {"kind": kind, "root": str(path)}
    if kind == "pairs":
        given |= {"maps": str(how.maps)} if how.maps else {}
        if not how.maps and not (is_own and "maps" in given):
            raise UserError("the folder of the maps of these images", "none", "--maps FOLDER")
        given |= {} if is_own else {"val_maps": None}
    if kind in _FOLDERS and not is_own:
        given |= {"val": None, "val_share": 0.0, "splits": None}
    given = {name: one for name, one in given.items() if one is not None}
    given.pop("kind")
    return config.parse(given, READERS[kind][0])


def _number_alike(readers: Mapping[str, Reader], model: Pipeline, path: Path) -> None:
    """Let classes have the model's numbers; UserError where they are others."""
    names = [str(name) for name in model.classes]
    for reader in readers.values():
        reader.number_as(names)
        if [str(name) for name in reader.classes] != names:
            few, got = (", ".join(list(map(str, some))[:5]) for some in (names, reader.classes))
            raise UserError(
                f"the model's classes ({few}, ...)", f"{got or 'none'} in {path}", "name them alike"
            )


def _kind_of(path: Path, condition: Any, *, with_maps: bool) -> str:
    """Return as what a folder is read: as what tells of the condition that fewest kinds of data tell."""
    if _of_kind(condition, "keypoints"):
        return "coco_keypoints"
    if _of_kind(condition, "boxes") or _of_kind(condition, "points"):
        return "coco" if (path / "annotations").is_dir() else "open_images"
    return "pairs" if with_maps else "folder"


def _made(kind: Path, cut: Cut, model: Tokenizer | Pipeline | None) -> Any:
    """Return how data are made: as for the training of the model, or of its tokenizer, if on such."""
    if not isinstance(model, Pipeline):
        return as_made(str(kind), cut.size, [model])
    maps = _of_kind(model.condition, "map")
    content = {"content": "segmentation" if any(one.of_classes for one in maps) else "depth"} if maps else {}
    return as_made(str(kind), cut.size, [model, model.tokenizer], **content)


def _of_kind(condition: Any, argument: str) -> list[Any]:
    """Return those of a model's conditions that are given so."""
    return [one for one in condition.named.values() if one.argument == argument]


def _captioned(path: Path, how: EvaluationSettings, model: Pipeline) -> FolderSettings:
    """Return how captioned images are read: as the model's training had them, or its tokenizer's, if any."""
    found = next(filter(None, (as_trained(path, one) for one in (model, model.tokenizer))), None)
    settings = FolderSettings(root=path, val_share=0.0) if found is None else found
    read = model.tokenizer.settings.pixels or PixelReading()
    settings = replace(settings, range=read.range, bands=read.bands)
    settings = replace(settings, captions=how.captions or settings.captions)
    if settings.captions is None:
        raise UserError("the captions of these images", "none", "--captions FILE.csv, sidecar or names")
    return settings


def _boxes(things: Sequence[Object], size: tuple[int, int]) -> Float[Tensor, "3 H W"]:
    height, width = size
    labels = torch.zeros(1, height, width, dtype=torch.int64)
    for thing in things:
        top, left = round(thing.y0 * (height - 1)), round(thing.x0 * (width - 1))
        bottom, right = round(thing.y1 * (height - 1)), round(thing.x1 * (width - 1))
        number = 1 + int(thing.label) % _CLASSES
        labels[0, [top, bottom], left : right + 1] = number
        labels[0, top : bottom + 1, [left, right]] = number
    return imaging.to_float(imaging.colour_labels(labels))[0].masked_fill(labels == 0, -1.0)
