"""A folder of pictures, with or without classes: `smalti train RECIPE data.root=my_pictures`."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from smalti import images
from smalti.config import Share, settings
from smalti.data.protocol import Sample
from smalti.errors import UserError

SPLIT_NAMES = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})


@settings
class FolderSettings:
    """Where the pictures lie and which of them are kept for validation."""

    kind: Literal["folder"] = "folder"
    root: Path  # with all the folders below it
    val: Path | None = None  # a folder of its own for validation; else val_share of root is taken
    val_share: Share = 0.05  # chosen by a hash of each path below root
    classes: Literal["auto", "none"] = (
        "auto"  # auto: the folders directly below root, if all pictures lie in them
    )


class Folder:
    """Pictures below a folder, in the order of their paths.

    A picture is of the validation split when a hash of its path below root says so: files that are added
    later, or another machine, do not move it. Of two pictures or more at least one is for validation (the one
    with the smallest hash) and at least one for training, as long as val_share is neither 0 nor 1; one alone
    is for training, and the validation split may then be empty.

    Classes are the names of the folders directly below root, sorted, if every picture lies in one of at least
    two; otherwise there are none. Raises UserError for a folder that is missing, empty or holds splits.
    """

    def __init__(self, settings: FolderSettings, split: Literal["train", "val"]) -> None:
        root = _directory(settings.root)
        paths = images.find_pictures(root)
        self.classes = _class_names(root, paths) if settings.classes == "auto" else ()
        if settings.val is not None:
            val = _directory(settings.val)
            _refuse_overlap(root, val)
            root, paths = (root, paths) if split == "train" else (val, images.find_pictures(val))
        elif 0 < settings.val_share < 1:
            held_out = _held_out(root, paths, settings.val_share)
            paths = [path for path in paths if (path in held_out) == (split == "val")]
        else:
            paths = paths if (split == "val") == (settings.val_share == 1) else []
        self.paths = paths
        self._labels = _labels(root, paths, self.classes)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Sample:
        path = self.paths[index]
        return Sample(image=images.open_rgb(path), label=self.label(index), path=path)

    def label(self, index: int) -> int | None:
        """The number of a picture's class, without opening it; None where there are no classes."""
        return self._labels[index] if self.classes else None


def _directory(path: Path) -> Path:
    path = path.expanduser()
    if not path.is_dir():
        got = f"the file {path}" if path.exists() else f"{path}, which does not exist"
        raise UserError("a folder of pictures", got, "check data.root and data.val")
    return path


def _class_names(root: Path, paths: Sequence[Path]) -> tuple[str, ...]:
    parts = [path.relative_to(root).parts for path in paths]
    names = sorted({part[0] for part in parts})
    if len(names) < 2 or any(len(part) == 1 for part in parts):
        return ()
    if {name.lower() for name in names} <= SPLIT_NAMES:
        raise UserError(
            f"pictures or class folders in {root}",
            f"the splits {', '.join(names)}",
            f"data.root={root / names[-1]} data.val={root / names[0]}, or data.classes=none for one set of all",
        )
    return tuple(names)


def _labels(root: Path, paths: Sequence[Path], classes: tuple[str, ...]) -> list[int]:
    if not classes:
        return []
    numbers = {name: number for number, name in enumerate(classes)}
    labels = []
    for path in paths:
        name = path.relative_to(root).parts[0]
        if name not in numbers:
            raise UserError(
                f"{root} with the class folders of data.root", str(path), "move it, or data.classes=none"
            )
        labels.append(numbers[name])
    return labels


def _refuse_overlap(root: Path, val: Path) -> None:
    inner, outer = sorted([val.resolve(), root.resolve()], key=lambda path: -len(path.parts))
    if inner.is_relative_to(outer):
        raise UserError(
            "two folders, none inside the other, as data.root and data.val",
            f"{root} and {val}",
            "move one: pictures for validation must not be trained on",
        )


def _held_out(root: Path, paths: Sequence[Path], share: float) -> set[Path]:
    """Pictures whose hash is below the share of all hashes; neither none nor all, if there are two."""
    ranked = sorted((_hash(path.relative_to(root)), path) for path in paths)
    below = sum(number < share * 2**64 for number, _ in ranked)
    count = min(max(below, 1), len(ranked) - 1)
    return {path for _, path in ranked[:count]}


def _hash(path: Path) -> int:
    return int.from_bytes(hashlib.sha256(os.fsencode(path.as_posix())).digest()[:8])
