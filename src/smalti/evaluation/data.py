"""Which images an evaluation looks at: a part of a folder, an npz file, what a model learned from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from smalti import imaging, library
from smalti.data.folder import Folder, FolderSettings
from smalti.data.pixels import PixelSettings
from smalti.data.splits import Splits
from smalti.errors import UserError
from smalti.evaluation.described import open_made
from smalti.evaluation.sets import Cut, Files, ImageSet, Npz
from smalti.evaluation.settings import EvaluationSettings
from smalti.files import evenly
from smalti.metrics.obeyed.protocol import Judge
from smalti.pipeline import Pipeline
from smalti.tokenizer import Tokenizer
from smalti.training.folders import is_made
from smalti.training.holding import as_trained

MOST = 10_000  # images of a training that are looked at, unless asked for


@dataclass(frozen=True, kw_only=True)
class Data:
    """Real images to measure by, and those that the model learned from."""

    real: ImageSet
    train: ImageSet | None  # None where they are not known
    notes: tuple[str, ...]
    reading: str = ""  # in words, how values in files become pixels, where that is not the usual way


def is_images(path: Path) -> bool:
    """Return whether a path names images and no model; UserError for what holds neither."""
    if path.suffix == ".npz" or (path.is_file() and imaging.is_image(path)):
        return True
    if not path.exists():
        raise UserError("a model, or images to judge", f"{path}, which does not exist", "check the path")
    if path.suffix == ".npy":
        remedy = "write it with numpy.savez(path, images)"
        raise UserError("an npz file of images, or a model", f"the array {path}", remedy)
    ours = (library.CONFIG, "model", "settings.yaml")
    if not path.is_dir() or any((path / name).exists() for name in ours) or library.is_foreign(path):
        return False
    try:
        imaging.find_images(path)
    except UserError:
        raise UserError(
            "a model, or images to judge", f"{path}, which holds neither", "check the path"
        ) from None
    return True


def open_images(path: Path, cut: Cut | None, num: int | None) -> ImageSet:
    """Return the images that are judged, at most num evenly over them; cut: None: all are of one size."""
    if path.suffix == ".npz":
        return at_most(Npz(path, cut), num)
    folder = _folder(path, FolderSettings(root=path, val_share=0.0, splits=Splits()), "train")
    if cut is None:
        header = imaging.read_header(folder.paths[0])
        size = (header.height, header.width)
        cut = Cut(size=size, how=replace(EvaluationSettings().crop, resize="none"))
    return at_most(_files(folder, cut, str(path)), num)


def open_data(
    path: Path, cut: Cut, how: EvaluationSettings, model: Tokenizer | Pipeline | None, num: int | None
) -> Data:
    """Return the images to measure by, at most num evenly over them, and what is known of the training's."""
    if is_made(path):
        return _made(path, cut, how, model, num)
    trained = _trained(model)
    pixels = _reading(model.tokenizer if isinstance(model, Pipeline) else model)
    if path.suffix == ".npz":
        real: ImageSet = Npz(path, cut)
        return Data(
            real=at_most(real, num),
            train=_train(how, trained, cut, pixels),
            notes=(),
            reading=_told(pixels),
        )
    settings = next(filter(None, (as_trained(path, one) for one in trained)), None)
    parted = settings is not None
    if settings is None or how.split == "all":
        splits = Splits() if how.split == "all" else None
        settings = FolderSettings(root=path, val_share=0.0, splits=splits)
    first = _folder(path, settings, "train")
    has_val = how.split != "all" and (parted or bool(first.splits.val))
    if how.split == "val" and not has_val:
        got = f"{path}, of which no part is held out"
        raise UserError("a folder with a part that is held out", got, "--split all")
    is_val = has_val and how.split != "train"
    chosen = _folder(path, settings, "val") if is_val else first
    part = "held out" if is_val else "trained on" if has_val else "all"
    found = _files(chosen, cut, f"{path} ({part})", pixels)
    train = None if is_val and parted and how.train is None else _train(how, trained, cut, pixels)
    if train is None and is_val:  # the other part of this folder, where the model tells of none
        train = at_most(_files(first, cut, str(path), pixels), how.train_num or MOST)
    whole, real = len(first) + (len(chosen) if is_val else 0), at_most(found, num)
    some = f"{len(real)} evenly out of " if len(real) < len(found) else ""
    notes = (f"{some}{len(found)} of {whole} images of {path}: {part}",)
    return Data(real=real, train=train, notes=notes, reading=_told(pixels))


def _made(
    kind: Path, cut: Cut, how: EvaluationSettings, model: Tokenizer | Pipeline | None, num: int | None
) -> Data:
    """Return the same of data that are made."""
    pixels = _reading(model.tokenizer if isinstance(model, Pipeline) else model)
    found, others = open_made(kind, cut, how, model)
    train = None if others is None else at_most(others, how.train_num or Judge.most)
    if how.train is not None:
        train = _train(how, (), cut, pixels)
    real = at_most(found, num)
    return Data(real=real, train=train, notes=(f"{len(real)} images of {found.name}",))


def numbered(found: ImageSet, classes: Sequence[Any], of: str) -> list[int]:
    """Return the classes of images by the numbers that a model has for them; UserError for unknown ones.

    Empty for images without classes. classes: the model's, by number; of: whose images, for the message.
    """
    if not found.labels:
        return []
    by_name = {str(name): number for number, name in enumerate(classes)}
    names = [str(found.classes[label]) for label in found.labels]
    strange = next((name for name in names if name not in by_name), None)
    if strange is not None:
        known = ", ".join(list(by_name)[:5])
        raise UserError(
            f"the model's classes ({known}, ...)", f"{strange} in {of}", "name the sub-folders alike"
        )
    return [by_name[name] for name in names]


def _trained(model: Tokenizer | Pipeline | None) -> list[Tokenizer | Pipeline]:
    """Return the parts of a model whose trainings tell of images, first the one that saw them last.

    A prior that learned on token shards tells of no images: these are its tokenizer's.
    """
    if not isinstance(model, Pipeline):
        return [] if model is None else [model]
    told: Any = model.provenance.get("data") or {}
    return [model, model.tokenizer] if told.get("kind") == "folder" else [model.tokenizer]


def _train(
    how: EvaluationSettings, trained: Sequence[Tokenizer | Pipeline], cut: Cut, pixels: PixelSettings
) -> ImageSet | None:
    """Return the training images: those that a user names, or that the model's folder says it learned on."""
    told: Any = trained[0].provenance.get("data") or {} if trained else {}
    if how.train is not None:
        if how.train.suffix == ".npz":
            return at_most(Npz(how.train, cut), how.train_num or MOST)
        given = _folder(how.train, FolderSettings(root=how.train, val_share=0.0), "train")
        return at_most(_files(given, cut, str(how.train), pixels), how.train_num or MOST)
    root = told.get("root") if told.get("kind") == "folder" else None
    if root is None or not Path(root).is_dir():
        return None
    settings = as_trained(Path(root), trained[0])
    assert settings is not None, "it is the same folder"
    return at_most(_files(Folder(settings, "train"), cut, str(root), pixels), how.train_num or MOST)


def _reading(tokenizer: Tokenizer | None) -> PixelSettings:
    """Return how a tokenizer's images are read; UserError for one of maps or segmentations."""
    if tokenizer is None:
        return PixelSettings()
    if tokenizer.settings.content != "image":
        remedy = "smalti reconstruct says how near each one comes"
        raise UserError("a tokenizer of images", f"one of {tokenizer.settings.content}s", remedy)
    how = tokenizer.settings.pixels
    if how is not None:
        return PixelSettings(range=how.range, bands=how.bands)
    return PixelSettings(bands="gray" if tokenizer.channels == 1 else None)


def _told(pixels: PixelSettings) -> str:
    given = {"range": pixels.range, "bands": pixels.bands}
    return "".join(f", {name} {value}" for name, value in given.items() if value is not None)


def _folder(path: Path, settings: FolderSettings, split: Any) -> Folder:
    if not path.exists():
        raise UserError(
            "a folder of images, or an npz file of them", f"{path}, which does not exist", "check it"
        )
    return Folder(settings, split)


def _files(folder: Folder, cut: Cut, name: str, pixels: PixelSettings | None = None) -> Files:
    labels = [folder.label(index) or 0 for index in range(len(folder))] if folder.classes else []
    return Files(folder.paths, cut, name, labels=labels, classes=folder.classes, pixels=pixels)


def at_most(found: ImageSet, num: int | None) -> ImageSet:
    """Return at most num of the images, evenly over all; None: all."""
    return found if num is None or num >= len(found) else found.some(evenly(range(len(found)), num))
