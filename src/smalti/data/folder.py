"""A folder of images: recursive, classes by sub-folder, a split that never moves."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from smalti import imaging
from smalti.config import Share, settings
from smalti.data.captions import captions_of
from smalti.data.hashes import hash_of, held_out
from smalti.data.pixels import PixelSettings
from smalti.data.protocol import Reader, Sample, Summary
from smalti.data.splits import Place, Splits, below, find, is_named, mixed, without_held_out
from smalti.data.tables import metadata_in
from smalti.errors import UserError

_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?", re.ASCII)


@settings
class FolderSettings(PixelSettings):
    """Where the images lie, what the classes are, which are held out."""

    kind: Literal["folder"] = "folder"
    root: Path
    val: Path | None = None  # a folder with the same classes, held out in place of a share of root
    val_share: Share = 0.05  # of the images, by a hash of the path below root; 0: none
    classes: Literal["auto", "none"] = "auto"  # auto: the sub-folders, if all images lie in two or more
    # folders below root by their use, which come before val_share; None: those that are named as splits, as a
    # run finds them when it begins; {}: none
    splits: Splits | None = None
    # of the images: names, the words of their files' names; sidecar, a .txt file beside each, one a line; or
    # a .csv, .tsv or .jsonl file with columns file and caption, where columns split and class count too
    captions: str | None = None


class Folder(Reader):
    """The images of a folder and those below it, sorted by path.

    Folders that are splits by their names are used as such. Else an image is held out if the hash of its
    path below the root says so: it stays where it is when others are added. Where the hash would leave one
    side of three or more images empty, one image changes sides.
    """

    def __init__(self, settings: FolderSettings, split: Literal["train", "val"]) -> None:
        assert split in ("train", "val"), f"no split {split}"
        self.root, self.pixels = settings.root, settings
        everything = _without(imaging.find_images(settings.root), settings)
        places = {path: _place(path, settings.root) for path in everything}
        said = captions_of(settings.captions, settings.root, everything)
        self.splits = Splits() if said.uses else _splits(settings, list(places.values()))
        names = _parted(places, self.splits.train, settings) if self.splits else _by_top(places)
        names = {path: said.classes[path] for path in names} if said.classes else names
        self.classes = class_names(names.values()) if settings.classes == "auto" else ()
        if settings.splits is None and not (self.splits or said.uses) and settings.classes == "auto":
            _check_splits(names.values(), settings.root)
        if settings.val is not None and split == "val":
            self.root = settings.val
            found = imaging.find_images(settings.val)
            names = _by_top({path: _place(path, settings.val) for path in found})
            said = captions_of(settings.captions, settings.val, found)
            names = {path: said.classes[path] for path in names} if said.classes else names
        elif said.uses:
            wanted = {"train", "neither"} if settings.val is not None else {split}
            names = {path: name for path, name in names.items() if said.uses[path] in wanted}
        elif self.splits.val and split == "val":
            names = _parted(places, self.splits.val, settings)
        elif settings.val is None and not self.splits.val:
            held_out = _held_out({path: places[path] for path in names}, settings.val_share)
            names = {path: name for path, name in names.items() if (path in held_out) == (split == "val")}
        _check_classes(self.classes, names.values(), self.root)
        self.paths, self._names = list(names), list(names.values())
        self._table = None if settings.captions else metadata_in(self.root)
        self._numbers = _numbers(self.classes)
        self._texts, self._said = said.texts, said.note
        held = {"image": True, "label": bool(self.classes), "text": bool(said.texts)}
        self.gives = frozenset(name for name, there in held.items() if there)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Sample:
        """The image with its class. UserError with the path where a file is no readable image."""
        path = self.paths[index]
        texts = self.texts(index)
        return Sample(image=self.pixels.open(path), label=self.label(index), texts=texts, path=path)

    def summary(self) -> Summary:
        """See Reader."""
        return Summary(
            count=len(self),
            root=self.root,
            paths=self.paths,
            pixels=self.pixels,
            splits=self.splits,
            note="\n".join(filter(None, (self._note(), self._said, self._beside()))),
            captions=list(self.captions()),
        )

    def counts(self) -> dict[str, int]:
        """See Reader: images."""
        found = Counter(self._names) if self.classes else Counter[str]()
        return {name: found[name] for name in self.classes}

    def label(self, index: int) -> int | None:
        """Return the number of an image's class, without opening it; None where there are no classes."""
        return self._numbers[self._names[index]] if self.classes else None

    def texts(self, index: int) -> tuple[str, ...] | None:
        """Return an image's captions, without opening it; None where there are none."""
        return self._texts.get(self.paths[index])

    def captions(self) -> Iterator[str]:
        """See Reader."""
        return (text for path in self.paths for text in self._texts.get(path, ()))

    def number_as(self, names: Sequence[str]) -> None:
        """See Reader."""
        if len(names) == len(self.classes) and self._numbers.keys() == set(names):
            self.classes, self._numbers = tuple(names), _numbers(names)

    def _note(self) -> str:
        """Return which folders are splits, or are called so and are not; "" where there are none."""
        if self.splits:
            return self.splits.text()
        doubtful = mixed(self.classes)
        if not doubtful:
            return ""
        among = f"{', '.join(doubtful)} are taken for classes, as other folders with images lie beside them"
        return f"{among}; if they are splits, give data.root and data.val"

    def _beside(self) -> str:
        """Return how to read the table beside the images; "" where there is none."""
        said = f"{self._table} is not read: data.kind=table takes captions, classes and splits from it"
        return said if self._table else ""


def share_for(paths: Sequence[Path], root: Path, least: int) -> float | None:
    """Return the least val_share, of two digits, that holds out so many images; None for one above a half."""
    hashed = sorted(_hash(_place(path, root)) / 2**64 for path in paths)
    if len(hashed) < 2 * least:
        return None
    share = (math.floor(100 * hashed[least - 1]) + 1) / 100
    return share if share <= 0.5 else None


def _without(paths: list[Path], settings: FolderSettings) -> list[Path]:
    """Return the images outside data.val, which may lie inside root: what is held out is not trained on."""
    if settings.val is None:
        return paths
    held_out_root = settings.val.resolve()
    kept = [path for path in paths if not path.resolve().is_relative_to(held_out_root)]
    if not kept:
        got = f"{settings.val}, in which all of {settings.root} lies"
        raise UserError("a data.val that leaves images to train on", got, "choose another data.val")
    return kept


def _splits(settings: FolderSettings, places: list[Place]) -> Splits:
    if settings.splits is not None:
        return settings.splits
    found = find(places)
    return found if settings.val is None else without_held_out(found)


def _parted(places: dict[Path, Place], folders: tuple[str, ...], settings: FolderSettings) -> dict[Path, str]:
    """Return the images of some of the splits, each with its class. UserError where there are none."""
    found = {path: below(place, folders) for path, place in places.items()}
    kept = {path: name for path, name in found.items() if name is not None}
    if not kept:
        expected = f"images in {' and '.join(folders)} of {settings.root}, as data.splits has it"
        raise UserError(expected, "none", "give the folder that holds all splits as data.root")
    return kept


def _by_top(places: dict[Path, Place]) -> dict[Path, str]:
    """Return the images, each with the sub-folder in which it lies; "" for those that lie in none."""
    return {path: place[0] if len(place) > 1 else "" for path, place in places.items()}


def _place(path: Path, root: Path) -> Place:
    return path.relative_to(root).parts if path != root else (path.name,)


def class_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return classes in the order of their numbers: by value where all names are numbers, else by name."""
    found = sorted(set(names))
    if all(_NUMBER.fullmatch(name) for name in found):
        found.sort(key=float)
    return tuple(found) if len(found) > 1 and "" not in found else ()


def _numbers(classes: Sequence[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(classes)}


def _check_splits(names: Iterable[str], root: Path) -> None:
    found = sorted(set(names))
    if is_named(found):
        remedy = f"name {root / found[0]} itself to train on it, or data.classes=none to train on all"
        raise UserError(f"images to train on, or folders of classes, in {root}", f"splits {found}", remedy)


def _check_classes(classes: tuple[str, ...], names: Iterable[str], root: Path) -> None:
    strange = sorted(set(names) - set(classes)) if classes else []
    if strange:
        got = f"{strange[0] or 'images without one'} in {root}"
        raise UserError("the sub-folders of data.root in data.val", got, "name the sub-folders alike")


def _held_out(places: dict[Path, Place], share: float) -> set[Path]:
    hashed = np.array([_hash(place) for place in places.values()], np.uint64)
    chosen = held_out(hashed, share)
    return {path for path, is_held_out in zip(places, chosen.tolist(), strict=True) if is_held_out}


def _hash(place: Place) -> int:
    return hash_of("/".join(place))
