"""A table that names images and says what belongs to each: .csv, .tsv or .jsonl, one row an image."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from smalti.config import Count, Share, settings
from smalti.data.folder import class_names
from smalti.data.hashes import hash_of, held_out
from smalti.data.maps import label_notes
from smalti.data.pairs import Mapped
from smalti.data.pixels import PixelSettings
from smalti.data.protocol import Reader, Sample, Summary
from smalti.data.splits import by_word
from smalti.data.tables import METADATA, cleaned, read_rows
from smalti.data.turned import Described, turned_notes
from smalti.errors import UserError
from smalti.opening import Header
from smalti.reading.labels import LabelReading


@settings
class TableSettings(PixelSettings):
    """Where the table lies, and what its columns are called."""

    kind: Literal["table"] = "table"
    root: Path  # the table; or a folder with one called metadata, or with folders that each have one
    images: Path | None = None  # the folder in which the images lie; None: that of the table
    image: str | None = None  # columns; None: one of the usual names
    label: str | None = None
    caption: str | None = None
    map: str | None = None
    split: str | None = None
    classes: Literal["auto", "none"] = "auto"  # auto: those of the column, if there are two or more
    val_share: Share = 0.05  # of the images, by a hash of the name in the table, where no column says it
    # of maps, as the reader of pairs has it; none: maps do not count
    content: Literal["none", "image", "depth", "segmentation"] = "none"
    merge: dict[Count, Count] | None = None
    shift: bool | None = None
    annotated: Described = "stored"

    @property
    def contents(self) -> dict[str, int]:
        """Return the maps, or the images, each with its channels; 0: as many as the network asks for."""
        maps = {"none": {}, "segmentation": {"segmentation": 0}, "depth": {"map": 1}, "image": {"map": 3}}
        return {**maps[self.content], "image": self.channels}


@dataclass
class _Row:
    """What a table says of an image."""

    name: str
    label: str | None = None
    texts: tuple[str, ...] = ()
    map: Path | None = None
    use: str = ""  # a word for a split


@dataclass
class _Rows:
    """What tables say of all images, by their paths."""

    held: dict[Path, _Row] = field(default_factory=dict)
    columns: set[str] = field(default_factory=set)


class Table(Reader):
    """The images that a table names, in its order; of several rows of one image each adds a caption."""

    def __init__(self, settings: TableSettings, split: Literal["train", "val"]) -> None:
        self.settings, self.root = settings, settings.root
        files, rows = _tables(settings.root), _Rows()
        for file in files:
            _take(rows, file, settings, named=len(files) > 1)
        if not rows.held:
            raise UserError(f"rows in {settings.root}", "none", "give a table that names images")
        labels = [row.label for row in rows.held.values()]
        wanted = settings.classes == "auto" and "class" in rows.columns
        self.classes = class_names(label or "" for label in labels) if wanted else ()
        chosen = _chosen(rows, settings, split)
        self.paths = [path for path, is_chosen in zip(rows.held, chosen, strict=True) if is_chosen]
        self._rows = [rows.held[path] for path in self.paths]
        self.maps = None if settings.content == "none" else Mapped(settings, settings.content)
        self._check_complete(rows)
        self._note = "the split column says what is held out" if _uses(rows) else ""
        has_text = bool(self._rows) and all(row.texts for row in self._rows)
        self._with_text = sum(bool(row.texts) for row in self._rows)
        held = {"image": True, "label": bool(self.classes), "text": has_text, "map": self.maps is not None}
        self.gives = frozenset(name for name, there in held.items() if there)
        self._numbers = {name: number for number, name in enumerate(self.classes)}

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Sample:
        """The image and what the table says of it. UserError with the path for what cannot be used."""
        path, row = self.paths[index], self._rows[index]
        label = self._numbers[row.label or ""] if self.classes else None
        texts = row.texts if "text" in self.gives else None
        if self.maps is None or row.map is None:
            return Sample(image=self.settings.open(path), label=label, texts=texts, path=path)
        return self.maps.sample(path, row.map, label=label, texts=texts)

    def summary(self) -> Summary:
        """See Reader."""
        partly = 0 < self._with_text < len(self)
        some = f"{self._with_text} of {len(self)} images have captions, which do not count: each must have"
        return Summary(
            count=len(self),
            root=self.root,
            paths=self.paths,
            pixels=self.settings,
            note="\n".join(filter(None, [self._note, some if partly else ""])),
            marks=[f"{row.name}\n{row.label}" for row in self._rows],
            captions=list(self.captions()),
        )

    def counts(self) -> dict[str, int]:
        """See Reader: images."""
        found = Counter(row.label for row in self._rows)
        return {name: found[name] for name in self.classes}

    def captions(self) -> Iterator[str]:
        """See Reader."""
        return (text for row in self._rows for text in row.texts if "text" in self.gives)

    def number_as(self, names: Sequence[str]) -> None:
        """See Reader."""
        if len(names) == len(self.classes) and self._numbers.keys() == set(names):
            self.classes = tuple(names)
            self._numbers = {name: number for number, name in enumerate(names)}

    @property
    def labels(self) -> LabelReading | None:
        """Return how class maps are read; a tokenizer of maps may know better, and sets it."""
        return None if self.maps is None else self.maps.labels

    @labels.setter
    def labels(self, how: LabelReading | None) -> None:
        if self.maps is not None:
            self.maps.labels = how

    def bound(self, classes: int) -> None:
        """See Reader."""
        if self.maps is not None:
            self.maps.most = classes

    def notes(self, headers: Sequence[Header]) -> list[str]:
        """See Reader."""
        if self.maps is None:
            return []
        paths = [row.map for row in self._rows if row.map is not None]
        lines = label_notes(self.maps.labels, paths) if self.settings.content == "segmentation" else []
        return [*lines, *turned_notes("maps", self.settings.annotated, True, headers)]

    def _check_complete(self, rows: _Rows) -> None:
        if self.maps is not None and any(row.map is None for row in self._rows):
            first = next(path for path, row in zip(self.paths, self._rows, strict=True) if row.map is None)
            remedy = "complete the column map, or data.content=none"
            raise UserError("a map of each image", f"none of {first} in {self.root}", remedy)
        if self.settings.label is not None and not self.classes and self.settings.classes == "auto":
            expected = f"two classes or more in the column {self.settings.label} of {self.root}"
            raise UserError(expected, "one, or images without", "complete it, or data.classes=none")


def _tables(root: Path) -> list[Path]:
    """Return the table that a path names, or those called metadata in a folder, or in its folders."""
    if root.is_file():
        return [root]
    for pattern in ("", "*/", "*/*/"):
        found = sorted(path for name in METADATA for path in root.glob(f"{pattern}{name}"))
        if found:
            return found
    got = str(root) if root.is_dir() else f"{root}, which is not there"
    remedy = "name the file: --data images.csv"
    raise UserError("a table (.csv, .tsv, .jsonl), or a folder with metadata.csv", got, remedy)


def _take(rows: _Rows, file: Path, how: TableSettings, *, named: bool) -> None:
    """Take in the rows of a table. named: its folder says which split they are."""
    root = how.images or file.parent
    called = {
        "file": how.image,
        "class": how.label,
        "caption": how.caption,
        "map": how.map,
        "split": how.split,
    }
    for number, said in read_rows(file, needed=("file",), called=called):
        name = str(said["file"] or "").strip()
        if not name:
            raise UserError("the name of an image in each row", f"none in row {number} of {file}", "mend it")
        rows.columns |= said.keys()
        path = root / name
        beside = path.relative_to(how.root).as_posix() if named else name
        row = rows.held.setdefault(path, _Row(beside))
        row.texts = (*row.texts, *cleaned(said.get("caption")))
        label = said.get("class")
        row.label = None if label is None else str(label).strip() or None
        row.map = root / str(said["map"]) if said.get("map") else row.map
        row.use = str(said.get("split") or (file.parent.name if named else "")).strip()


def _uses(rows: _Rows) -> dict[str, str]:
    """Return the use of each word for a split; nothing where none is said."""
    words = {row.use for row in rows.held.values()}
    return by_word(words, "the table") if words != {""} else {}


def _chosen(rows: _Rows, how: TableSettings, split: str) -> Any:
    """Return of each image whether it is in the split."""
    uses, held = _uses(rows), list(rows.held.values())
    if uses and "val" in uses.values():
        return np.array([uses[row.use] == split for row in held])
    hashed = np.array([hash_of(row.name) for row in held], np.uint64)
    within = np.array([not uses or uses[row.use] == "train" for row in held])
    chosen = np.zeros(len(held), bool)
    chosen[within] = held_out(hashed[within], how.val_share) == (split == "val")
    return chosen
