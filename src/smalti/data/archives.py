"""Images within archives: by number, as those of a folder are, and read where they lie."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, overload

import numpy as np

from smalti import strategy
from smalti.config import Share, settings
from smalti.data.folder import class_names
from smalti.data.hashes import digest_of, held_out
from smalti.data.index import Found, Index, Packed, index_place, indexing, write_index
from smalti.data.pixels import PixelSettings
from smalti.data.protocol import Reader, Sample, Summary
from smalti.data.splits import Place, Splits, below, find, mixed, of_files, without_held_out
from smalti.errors import UserError

MANY_NUMBERS = 2**16  # classes by number, those without an image among them


@settings
class ArchiveSettings(PixelSettings):
    """Where the archives lie, what the classes are, which images are held out."""

    root: Path  # an archive, or a folder of them and of folders below it
    val: Path | None = None  # archives that are held out in place of a share of root
    val_share: Share = 0.05  # of the images, by a hash of the name within the archive; 0: none
    # auto: what is said beside each image (.cls, .json), else the folders within, if all images lie in two
    # or more
    classes: Literal["auto", "none"] = "auto"
    # archives by their names without numbers (train-000.tar), or folders within; None: those that are named
    # as splits, as a run finds them when it begins; {}: none
    splits: Splits | None = None
    index: Path | None = None  # where the index of root lies; None: beside it
    ending: str | None = None  # of images' names after the first dot, as input.png; None: each image counts


class Archives(Reader):
    """The images of archives, in the order of these and of what lies in each, split as those of a folder."""

    suffixes: ClassVar[tuple[str, ...]]  # of the archives' names

    @classmethod
    @abstractmethod
    def scan(cls, path: Path) -> Iterator[Found]:
        """Give the files in an archive; UserError for what cannot be read."""

    @classmethod
    def indexed(cls, root: Path, out: Path | None = None) -> Index:
        """Make the index of an archive, or of a folder of them; beside it, unless `out` names a file."""
        return write_index(root, out or index_place(root), cls.suffixes, cls.scan)

    def __init__(self, settings: ArchiveSettings, split: Literal["train", "val"]) -> None:
        self.settings, own = settings, self._opened(settings.root, settings.index)
        self.splits = _splits(own, settings)
        self.classes, labels = _labels(own, settings, self.splits)
        if settings.val is not None and split == "val":
            own = self._opened(settings.val, None)
            names, labels = _labels(own, settings, Splits())
            labels = _as_known(labels, names, self.classes, settings.val)
            self.rows = np.flatnonzero(_ending(own, settings))
        else:
            self.rows = _chosen(own, settings, self.splits, split)
        self.index, self._numbers = own, labels[self.rows]
        if self.classes and (self._numbers < 0).any():
            first = own.member(int(self.rows[self._numbers < 0][0]))
            remedy = "complete the classes, or data.classes=none"
            raise UserError("a class of each image", f"none of {first}", remedy)
        self._with_text = int((own.columns["text_kind"][self.rows] > 0).sum())
        has_text = 0 < len(self.rows) == self._with_text
        held = {"image": True, "label": bool(self.classes), "text": has_text}
        self.gives = frozenset(name for name, there in held.items() if there)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        """The image with its class and captions. UserError with archive and name for what cannot be read."""
        path, label = self.index.member(int(self.rows[index])), int(self._numbers[index])
        return Sample(
            image=self.settings.open(path),
            label=label if self.classes else None,
            texts=self.index.texts(int(self.rows[index])) if "text" in self.gives else None,
            path=path,
        )

    def summary(self) -> Summary:
        """See Reader."""
        return Summary(
            count=len(self),
            root=self.index.root,
            paths=_Members(self.index, self.rows),
            pixels=self.settings,
            splits=self.splits,
            note="\n".join(self._notes()),
            marks=[self.index.about["digest"], digest_of(self.rows)],
        )

    def counts(self) -> dict[str, int]:
        """See Reader: images."""
        found = np.bincount(self._numbers[self._numbers >= 0], minlength=len(self.classes))
        return dict(zip(self.classes, found.tolist(), strict=True))

    def captions(self) -> Iterator[str]:
        """See Reader. They are read where they lie, one after the other."""
        for row in self.rows if "text" in self.gives else ():
            yield from self.index.texts(int(row))

    def number_as(self, names: Sequence[str]) -> None:
        """See Reader."""
        if len(names) == len(self.classes) and set(names) == set(self.classes):
            self._numbers = _as_known(self._numbers, self.classes, names, self.index.root)
            self.classes = tuple(names)

    def _opened(self, root: Path, where: Path | None) -> Index:
        """Return the index of archives; makes it where there is none, and says so."""
        path = where or index_place(root)
        if not path.is_file():
            self._made(root, path)
        found = Index(path, root)
        if tuple(found.about["suffixes"]) != self.suffixes:
            got = f"{path}, of {', '.join(found.about['suffixes'])}"
            raise UserError(f"an index of {', '.join(self.suffixes)} files", got, indexing(root))
        found.check()
        return found

    def _made(self, root: Path, path: Path) -> None:
        strategy.current().say(f"indexed: {len(self.indexed(root, path))} images, see {path}")

    def _notes(self) -> Iterator[str]:
        """Give lines for a person: which splits there are, and what is not as it may have been meant."""
        if self.splits:
            yield self.splits.text()
        elif doubtful := mixed(self.classes):
            yield f"{', '.join(doubtful)} are taken for classes, as other folders lie beside them"
        if self.index.about["several"] and self.settings.ending is None:
            known = ", ".join(self.index.about["endings"][:8])
            yield f"several images share a name: each counts, unless data.ending says which, of {known}"
        if 0 < self._with_text < len(self):
            yield f"{self._with_text} of {len(self)} images have captions, which do not count: each must have"


class _Members(Sequence[Packed]):
    """The images of a reader, made as they are asked for."""

    def __init__(self, found: Index, rows: Any) -> None:
        self._index, self._rows = found, rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, at: int) -> Packed: ...
    @overload
    def __getitem__(self, at: slice) -> "_Members": ...
    def __getitem__(self, at: int | slice) -> "Packed | _Members":
        if isinstance(at, slice):
            return _Members(self._index, self._rows[at])
        return self._index.member(int(self._rows[at]))


def _places(own: Index, splits: Splits | None = None) -> tuple[list[Place], str]:
    """Return the places that are splits, and the column that says in which of them an image lies.

    Archives where these are of several names, and named by the splits; else the folders within. The last
    part of a place stands for any image.
    """
    files = of_files(own.about["archives"])
    named = (*splits.train, *splits.val, *splits.neither) if splits else ()
    if len({*files}) > 1 and (
        all(below(file, named) is not None for file in files) if named else find(files)
    ):
        return files, "archive"
    return [(*names, "") for names in _folders(own)], "folder"


def _folders(own: Index) -> list[Place]:
    """Return the folders within archives, without one in which all others lie: of a folder packed whole."""
    folders = [tuple(folder.split("/")) if folder else () for folder in own.about["folders"]]
    while len({names[:1] for names in folders}) == 1 and folders[0]:
        folders = [names[1:] for names in folders]
    return folders


def _splits(own: Index, how: ArchiveSettings) -> Splits:
    """Return the splits that the settings name, or those by name: of archives, else of folders within."""
    if how.splits is not None:
        return how.splits
    found = find(_places(own)[0])
    return found if how.val is None else without_held_out(found)


def _ending(own: Index, how: ArchiveSettings) -> Any:
    """Return of each image whether its name ends as it is asked for."""
    if how.ending is None:
        return np.ones(len(own), bool)
    known, wanted = own.about["endings"], how.ending.lower().lstrip(".")
    if wanted not in known:
        raise UserError(f"data.ending among {', '.join(known[:20])}", how.ending, "choose one of these")
    return own.columns["ending"] == known.index(wanted)


def _chosen(own: Index, how: ArchiveSettings, splits: Splits, split: str) -> Any:
    """Return the rows of a split."""
    kept, column = _ending(own, how), own.columns
    if how.val is not None:
        held = how.val.resolve()
        kept &= ~np.array([path.resolve().is_relative_to(held) for path in own.archives])[column["archive"]]
    patterns = splits.val if split == "val" and splits.val else splits.train
    if splits:
        places, name = _places(own, splits)
        kept &= np.array([below(place, patterns) is not None for place in places])[column[name]]
    rows = np.flatnonzero(kept)
    if how.val is None and not splits.val:
        is_held_out = held_out(column["hash"][rows], how.val_share)
        rows = rows[is_held_out == (split == "val")]
    if not len(rows) and split == "train":
        expected = f"images to train on in {own.root}"
        raise UserError(expected, "none", "give more, or another data.splits, data.ending or data.val")
    return rows


def _labels(own: Index, how: ArchiveSettings, splits: Splits) -> tuple[tuple[str, ...], Any]:
    """Return the classes, and of each image the number of its own; -1 where there is none."""
    none, said = np.full(len(own), -1, np.int32), own.columns["label"]
    if how.classes == "none":
        return (), none
    kept = _ending(own, how)
    if own.about["labels"] and (said[kept] >= 0).any():
        names, column = own.about["labels"], said
        classes = _numbered(names) or class_names(names)
    else:
        inner = splits if _places(own, splits)[1] == "folder" else Splits()
        names = [_class(names, inner) for names in _folders(own)]
        used = np.unique(own.columns["folder"][kept])
        classes = class_names(names[folder] for folder in used if names[folder] is not None)
        column = own.columns["folder"]
    if not classes:
        return (), none
    numbers = {name: number for number, name in enumerate(classes)}
    table = np.array([*(numbers.get(name, -1) for name in names), -1], np.int32)  # the last: of none
    return classes, table[column.astype(np.int64)]


def _class(folder: Place, splits: Splits) -> str | None:
    """Return the class of images in a folder, "" where it has none; None: it is in no split that is used."""
    if splits:
        return below((*folder, ""), (*splits.train, *splits.val))
    return folder[0] if folder else ""


def _numbered(names: Sequence[str]) -> tuple[str, ...]:
    """Return all numbers from 0 where the classes are numbers: they stay those of whoever gave them."""
    if not all(name.isdecimal() and len(name) < 6 and str(int(name)) == name for name in names):
        return ()
    most = max(map(int, names))
    return tuple(map(str, range(most + 1))) if 0 < most < MANY_NUMBERS else ()


def _as_known(labels: Any, names: Sequence[str], known: Sequence[str], root: Path) -> Any:
    """Return labels by other numbers of the same names. UserError for names that are not known."""
    strange = sorted(set(names) - set(known)) if known else []
    if strange:
        raise UserError(f"classes of the images trained on in {root}", strange[0], "name the classes alike")
    table = np.array([*(known.index(name) if known else -1 for name in names), -1], np.int32)
    return table[labels.astype(np.int64)]
