"""A folder of pictures: recursive, classes by sub-folder, a split that never moves."""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Literal

from smalti import images
from smalti.config import Share, settings
from smalti.data.pixels import PixelSettings
from smalti.data.protocol import Sample
from smalti.errors import UserError

_SPLITS = {"train", "val", "valid", "validation", "test"}  # names of folders that are no classes


@settings
class FolderSettings(PixelSettings):
    """Where the pictures lie, what the classes are, which are held out."""

    kind: Literal["folder"] = "folder"
    root: Path
    val: Path | None = None  # a folder with the same classes, held out in place of a share of root
    val_share: Share = 0.05  # of the pictures, by a hash of the path below root; 0: none
    classes: Literal["auto", "none"] = "auto"  # auto: the sub-folders, if all pictures lie in two or more


class Folder:
    """The pictures of a folder and those below it, sorted by path.

    A picture is held out if the hash of its path below the root says so: it stays where it is when others
    are added. Where the hash would leave one side of three or more pictures empty, one picture changes sides.
    """

    def __init__(self, settings: FolderSettings, split: Literal["train", "val"]) -> None:
        assert split in ("train", "val"), f"no split {split}"
        everything = images.find_pictures(settings.root)
        if settings.val is not None:  # which may lie inside root: what is held out is not trained on
            held_out_root = settings.val.resolve()
            everything = [p for p in everything if not p.resolve().is_relative_to(held_out_root)]
            if not everything:
                got = f"{settings.val}, in which all of {settings.root} lies"
                raise UserError("a data.val that leaves pictures to train on", got, "choose another data.val")
        self.classes = _classes(everything, settings.root) if settings.classes == "auto" else ()
        self.root, self.paths, self.pixels = settings.root, everything, settings
        if settings.val is not None and split == "val":
            self.root, self.paths = settings.val, images.find_pictures(settings.val)
            _check_classes(self.classes, self.paths, settings.val)
        elif settings.val is None:
            held_out = _held_out(everything, settings.root, settings.val_share)
            self.paths = [path for path in everything if (path in held_out) == (split == "val")]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Sample:
        """The picture with its class. UserError with the path where a file is no readable picture."""
        path = self.paths[index]
        return Sample(image=self.pixels.open(path), label=self.label(index), path=path)

    def counts(self) -> dict[str, int]:
        """How many pictures there are of each class; empty where there are no classes."""
        labels = Counter(self.label(index) for index in range(len(self)))
        return {name: labels[number] for number, name in enumerate(self.classes)}

    def label(self, index: int) -> int | None:
        """The number of a picture's class, without opening it; None where there are no classes."""
        return self.classes.index(_class(self.paths[index], self.root)) if self.classes else None


def _class(path: Path, root: Path) -> str:
    """The sub-folder of root in which a picture lies; empty for one that lies in root itself."""
    parts = path.relative_to(root).parts if path != root else ()
    return parts[0] if len(parts) > 1 else ""


def _classes(paths: list[Path], root: Path) -> tuple[str, ...]:
    names = sorted({_class(path, root) for path in paths})
    if set(names) <= _SPLITS:
        train = next((name for name in names if name.startswith("train")), names[0])
        other = next((name for name in names if name != train), train)
        held_out = f" data.val={root / other}" if other != train else ""
        remedy = f"data.root={root / train}{held_out}, or data.classes=none"
        raise UserError(f"pictures or folders of classes in {root}", f"the splits {names}", remedy)
    return tuple(names) if len(names) > 1 and "" not in names else ()


def _check_classes(classes: tuple[str, ...], paths: list[Path], root: Path) -> None:
    strange = sorted({_class(path, root) for path in paths} - set(classes)) if classes else []
    if strange:
        got = f"{strange[0] or 'pictures without one'} in {root}"
        raise UserError("the sub-folders of data.root in data.val", got, "name the sub-folders alike")


def _held_out(paths: list[Path], root: Path, share: float) -> set[Path]:
    if share == 0 or len(paths) < 3:
        return set()
    places = {path: _place(path, root) for path in paths}
    held_out = {path for path, place in places.items() if place < share}
    if not held_out:
        held_out = {min(places, key=places.__getitem__)}
    if len(held_out) == len(paths):
        held_out.discard(max(places, key=places.__getitem__))
    return held_out


def _place(path: Path, root: Path) -> float:
    """A number in [0, 1) that belongs to the path below root, on every machine."""
    name = path.relative_to(root).as_posix() if path != root else path.name
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest()) / 2**64
