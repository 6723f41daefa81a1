"""Folders that are a split of the data by their names: Train, val2017, test_images, ... and no classes.

What is found is a list of folders below the root for each use, as paths in which * is any one folder: a class
that holds its own splits. So `Train` holds its classes, if any, and `*/train` lies in them.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from smalti.config import settings
from smalti.errors import UserError

Place = tuple[str, ...]  # the names on the way from the root to an image, its own last
Use = tuple[str, int]  # train, val or neither; and a rank: of each use the folders of the lowest one count

_WORDS: dict[str, Use] = {  # a split's word
    **dict.fromkeys(("train", "training", "trn", "tr"), ("train", 0)),
    "trainval": ("train", 1),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "development"), ("val", 0)),
    **dict.fromkeys(("eval", "evaluation", "holdout", "heldout"), ("val", 1)),
    **dict.fromkeys(("test", "testing", "tst", "ts"), ("val", 2)),
    **dict.fromkeys(("extra", "unlabeled", "unlabelled", "pred", "predict", "prediction"), ("neither", 0)),
}
# words that go with a split's and say nothing of their own, also written as one word with it: trainset
_BESIDE = {
    "image", "images", "img", "imgs", "picture", "pictures", "pic", "pics", "photo", "photos", "frame",
    "frames", "file", "files", "jpg", "jpeg", "png", "data", "dataset", "datasets", "ds", "set", "sets",
    "split", "splits", "sample", "samples", "part", "parts", "fold", "folder", "px", "crop", "crops",
    "cropped", "resized", "small", "full", "mini", "all", "new", "final", "the", "my", "of", "for",
}  # fmt: skip
_NAMES = re.compile(r"[^\W\d_]+")  # runs of letters
_NUMBERED = re.compile(r"[-_.]?\d+([-_.]?of[-_.]?\d+)?$")  # what tells the files of a split apart
_HUMPS = re.compile(r"(?<=[a-z])(?=[A-Z])")  # trainImages


@settings
class Splits:
    """Which folders below the root are trained on, and which are held out; none: all are trained on."""

    train: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    neither: tuple[str, ...] = ()  # of a split too, but not used: test images beside held-out ones

    def __bool__(self) -> bool:
        return bool(self.train)

    def text(self) -> str:
        """Say for a person what each folder is used for."""
        held_out = f"{_listed(self.val)} held out" if self.val else "a share of it held out"
        neither = f", {_listed(self.neither)} left alone" if self.neither else ""
        return f"splits by the names of folders: {_listed(self.train)} trained on, {held_out}{neither}"


def find(places: Sequence[Place]) -> Splits:
    """Return the splits of a folder with images at these places; empty where its folders are none.

    They are where all folders with images have a split's name, at least one that of what is trained on:
    in the root, in the one folder that it holds, or in every one of its folders, which are classes then.
    Only where there is no doubt: besides loose images, one folder down and in classes, there must be one
    to hold out too. Held-out folders whose classes are not those that are trained on are left alone.
    """
    return _chosen(_found((), places), places)


def of_files(names: Iterable[str]) -> list[Place]:
    """Return places of files that hold many images each: their folders, and what those of a split are called.

    train of train-00000-of-00002.tar. The last part stands for any image.
    """
    return [(*PurePosixPath(name).parts[:-1], _unnumbered(PurePosixPath(name).stem), "") for name in names]


def is_named(names: Iterable[str]) -> bool:
    """Return whether all of these names of folders are those of splits."""
    names = set(names)
    return bool(names) and _uses(names).keys() == names


def by_word(names: Iterable[str], where: str) -> dict[str, str]:
    """Return the use of each word that says a split: train, val or neither; UserError for one that says none.

    Of several that are held out the nearest to training counts: of train, val and test val. where: they
    stand, in words.
    """
    names = set(names)
    uses = _uses(names)
    strange = sorted(names - uses.keys())
    if strange:
        got = ", ".join(
            repr(name) for name in (sorted(name for name in names if not _words(name)) or strange)[:3]
        )
        raise UserError(f"words for splits in {where}, as train and val", got, "write train or val")
    least = {kind: min(rank for use, rank in uses.values() if use == kind) for kind, _ in uses.values()}
    return {name: use if rank == least[use] else "neither" for name, (use, rank) in uses.items()}


def mixed(names: Iterable[str]) -> list[str]:
    """Return names of splits, one to train on and one to hold out among them, that stand among others.

    Else none.
    """
    names = set(names)
    uses = _uses(names, strict=False)
    kinds = {use for use, _ in uses.values()}
    return sorted(uses) if {"train", "val"} <= kinds and uses.keys() != names else []


def below(place: Place, patterns: Iterable[str]) -> str | None:
    """Return the class of a place that lies in one of these folders, "" where it has none.

    None: it lies in none.
    """
    for pattern in patterns:
        names = tuple(pattern.split("/"))
        if len(place) > len(names) and all(
            want in ("*", have) for want, have in zip(names, place, strict=False)
        ):
            if "*" in names:
                return place[names.index("*")]
            return place[len(names)] if len(place) > len(names) + 1 else ""
    return None


def without_held_out(found: Splits) -> Splits:
    """Return the same, but what is held out comes from elsewhere."""
    return replace(found, val=(), neither=(*found.val, *found.neither))


def _unnumbered(stem: str) -> str:
    return _NUMBERED.sub("", stem) or stem


def _found(within: Place, places: Sequence[Place]) -> dict[Place, Use]:
    """Return folders that are splits, with their uses; within: the way to the folder in which places lie."""
    top = {place[0] for place in places if len(place) > 1}
    is_loose = any(len(place) == 1 for place in places)
    deeper: dict[Place, Use] = {}
    if len(top) == 1 and not is_loose:  # an archive's own folder, which may be called data_train
        deeper = _found((*within, *top), [place[1:] for place in places])
    uses = _uses(top)
    if not deeper and _are_splits(uses, sure=is_loose or bool(within)):
        return {(*within, name): use for name, use in uses.items()}
    if deeper or len(top) == 1 or any(len(place) < 3 for place in places):
        return deeper
    uses = _uses({place[1] for place in places})
    return {(*within, "*", name): use for name, use in uses.items()} if _are_splits(uses, sure=True) else {}


def _are_splits(uses: dict[str, Use], *, sure: bool) -> bool:
    kinds = {use for use, _ in uses.values()}
    return "train" in kinds and ("val" in kinds or not (sure or "neither" in kinds))


def _uses(names: set[str], *, strict: bool = True) -> dict[str, Use]:
    """Use of each name; strict: none at all where one of them is no split's."""
    words: dict[str, set[str]] = {}
    for name in names:
        found = _words(name)
        if found & _WORDS.keys():
            words[name] = found
        elif strict:
            return {}
    # what all of them are called besides: coco_train, coco_val
    common = set.intersection(*words.values()) - _WORDS.keys() if len(words) > 1 else set()
    uses = {}
    for name, found in words.items():
        told = found - common - _BESIDE
        told = {"trainval"} if told == {"train", "val"} else told
        if len(told) == 1 and told <= _WORDS.keys():
            uses[name] = _WORDS[told.pop()]
    return {} if strict and len(uses) < len(names) else uses


def _words(name: str) -> set[str]:
    """Return the words of a name, in lower case; single letters, numbers and signs are none."""
    found = [word.lower() for word in _NAMES.findall(_HUMPS.sub(" ", name))]
    if found[:2] in (["hold", "out"], ["held", "out"]):
        found[:2] = ["holdout"]
    return {_unglued(word) for word in found if len(word) > 1}


def _unglued(word: str) -> str:
    """Return the split's word of one that is joined to another: trainset, imagestrain."""
    for split in _WORDS:
        if split in word and {word.removeprefix(split), word.removesuffix(split)} & _BESIDE:
            return split
    return word


def _chosen(uses: dict[Place, Use], places: Sequence[Place]) -> Splits:
    """Return folders by use: of each use those of the lowest rank; held out only where the classes fit."""
    trained = _of_rank(uses, "train")
    classes = _classes(trained, places)
    fitting: list[Place] = []
    for rank in sorted({rank for use, rank in uses.values() if use == "val"}):
        fitting = fitting or [
            name
            for name in _of_rank(uses, "val", rank)
            if not classes or _classes([name], places, alone=True) <= classes
        ]
    others = [name for name in uses if name not in (*trained, *fitting)]
    train, val, neither = (
        tuple(sorted("/".join(_same_again(name, places)) for name in names))
        for names in (trained, fitting, others)
    )
    return Splits(train=train, val=val, neither=neither)


def _of_rank(uses: dict[Place, Use], wanted: str, rank: int | None = None) -> list[Place]:
    if rank is None:
        rank = min((rank for use, rank in uses.values() if use == wanted), default=0)
    return [name for name, use in uses.items() if use == (wanted, rank)]


def _classes(folders: Iterable[Place], places: Sequence[Place], *, alone: bool = False) -> set[str]:
    """Return names of the classes in these folders; none where they hold none, unless each counts `alone`."""
    patterns = ["/".join(_same_again(folder, places)) for folder in folders]
    names = {below(place, patterns) for place in places} - {None}
    found = {name for name in names if name is not None}
    return found if alone or (len(found) > 1 and "" not in found) else set()


def _same_again(folder: Place, places: Sequence[Place]) -> Place:
    """Return a folder that holds nothing but one of its own name, as archives do, is that one."""
    depth = len(folder)
    held = {
        place[depth] if len(place) > depth + 1 else ""
        for place in places
        if below(place, ["/".join(folder)]) is not None
    }
    return (*folder, folder[-1]) if held == {folder[-1]} else folder


def _listed(patterns: Iterable[str]) -> str:
    return " and ".join(patterns)
