"""Images in columns of files of rows, as Hugging Face's datasets keep them: bytes, classes, captions."""

import json
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, overload

import numpy as np

from smalti.config import Share, settings
from smalti.data.folder import class_names
from smalti.data.hashes import digest_of, hashes_of_rows, held_out
from smalti.data.pixels import PixelSettings
from smalti.data.protocol import Reader, Sample, Summary
from smalti.data.splits import Splits, below, find, of_files
from smalti.data.tables import cleaned, meanings
from smalti.errors import UserError, optional
from smalti.files import evenly
from smalti.opening import Header, Member, Unreadable
from smalti.reading.values import read_header

HELD = 2**28  # bytes of blocks that are held, at least one block
_LOOKED = 8  # blocks whose images are looked at before a training
_IMAGES = ("image", "img", "jpg", "png", "pixel_values", "picture", "photo")


@settings
class ColumnarSettings(PixelSettings):
    """Where the files lie, and which columns count."""

    root: Path  # a file, or a folder of them and of folders below it
    image: str | None = None  # columns; None: what the files say of themselves, or one of the usual names
    label: str | None = None
    caption: str | None = None
    classes: Literal["auto", "none"] = "auto"  # auto: those of the column, if there are two or more
    val_share: Share = 0.05  # of the rows, by a hash of the file's name and the row's number; 0: none
    splits: Splits | None = (
        None  # files by their names without numbers, or their folders; as archives have it
    )


@dataclass(frozen=True)
class Block:
    """Rows of a file that are read together."""

    path: Path
    number: int
    rows: int
    size: int  # bytes, once read


@dataclass(frozen=True)
class Cell(Member):
    """An image in a row."""

    archive: Path
    name: str
    reader: "Columnar"
    row: int

    def read_bytes(self) -> bytes:
        """See Member."""
        found = self.reader.value(self.row, "image")
        if isinstance(found, dict):
            data, path = found.get("bytes"), found.get("path")
            found = data if data is not None or not path else (self.archive.parent / str(path)).read_bytes()
        if not isinstance(found, bytes):
            raise Unreadable("no bytes of an image in this row", "leave the row out, or write it again")
        return found


class Columnar(Reader):
    """The rows of some files. Who reads a row holds the block in which it lies."""

    def __init__(self, settings: ColumnarSettings, split: Literal["train", "val"]) -> None:
        self.settings, self.root, files = settings, settings.root, self.files(settings.root)
        self._blocks = [block for path in files for block in self.blocks(path)]
        self._ends = np.array([0, *accumulate(block.rows for block in self._blocks)])
        self._cache: OrderedDict[int, Any] = OrderedDict()
        self._most = max(1, HELD // max((block.size for block in self._blocks), default=1))
        schema = self.schema(files[0])
        self._columns = _columns(schema, settings, files[0])
        for path in files:
            if not {*self._columns.values()} <= {*self.schema(path).names}:
                expected = f"columns {', '.join(self._columns.values())} in each file, as in {files[0]}"
                raise UserError(expected, f"{', '.join(self.schema(path).names)} in {path}", "take it away")
        self.classes, labels = self._labels(schema, files)
        self.splits, self.rows = self._parts(files, split)
        self._numbers = labels[self.rows]
        held = {"image": True, "label": bool(self.classes), "text": "caption" in self._columns}
        self.gives = frozenset(name for name, there in held.items() if there)

    @classmethod
    @abstractmethod
    def files(cls, root: Path) -> list[Path]:
        """Return the files at a place, sorted; UserError where there are none."""

    @abstractmethod
    def schema(self, path: Path) -> Any:
        """Return names, types and metadata of a file's columns; UserError for what is no such file."""

    @abstractmethod
    def blocks(self, path: Path) -> list[Block]:
        """Return the blocks of a file, without reading them."""

    @abstractmethod
    def read(self, block: Block, columns: Sequence[str]) -> Any:
        """Return columns of a block as a table of pyarrow's."""

    @abstractmethod
    def column(self, path: Path, name: str) -> Any:
        """Return a column of a whole file."""

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        """The image with its class and captions. UserError with file and row for what cannot be read."""
        path, row = self._cell(int(self.rows[index])), int(self.rows[index])
        label = int(self._numbers[index])
        if self.classes and label < 0:
            raise UserError("a class of each image", f"none of {path}", "complete it, or data.classes=none")
        image = self.settings.open(path)
        texts = cleaned(self.value(row, "caption")) if "text" in self.gives else None
        if texts == ():
            raise UserError("a caption of each image", f"none of {path}", "write one, or leave the row out")
        return Sample(image=image, label=label if self.classes else None, texts=texts, path=path)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": OrderedDict()}

    def value(self, row: int, what: str) -> Any:
        """Return what a row, of all files, has in a column: image, label or caption."""
        number = int(np.searchsorted(self._ends, row, side="right")) - 1
        if number not in self._cache:
            while len(self._cache) >= self._most:
                self._cache.popitem(last=False)
            wanted = [name for meaning, name in self._columns.items() if meaning != "label"]
            self._cache[number] = self.read(self._blocks[number], wanted)
        self._cache.move_to_end(number)
        return self._cache[number].column(self._columns[what])[row - int(self._ends[number])].as_py()

    def summary(self) -> Summary:
        """See Reader."""
        names = [f"{self._name(block.path)} {block.number} {block.rows}" for block in self._blocks]
        near = [number for number in evenly(range(len(self._blocks)), _LOOKED)]
        inside = np.isin(np.searchsorted(self._ends, self.rows, side="right") - 1, near)
        return Summary(
            count=len(self),
            root=self.root,
            paths=_Cells(self, self.rows),
            looked=_Cells(self, self.rows[inside]),
            pixels=self.settings,
            splits=self.splits,
            note=self.splits.text() if self.splits else "",
            marks=[*names, digest_of(self.rows), digest_of(self._numbers)],
        )

    def headers(self) -> Iterator[Header | None]:
        """See Reader."""
        bands = self.settings.bands if isinstance(self.settings.bands, tuple) else None
        for row in self.rows:
            try:
                yield read_header(self._cell(int(row)), bands, self.settings.max_pixels)
            except UserError:
                yield None

    def counts(self) -> dict[str, int]:
        """See Reader: images."""
        found = np.bincount(self._numbers[self._numbers >= 0], minlength=len(self.classes))
        return dict(zip(self.classes, found.tolist(), strict=True))

    def captions(self) -> Iterator[str]:
        """See Reader."""
        if "text" not in self.gives:
            return
        wanted, begin = np.zeros(int(self._ends[-1]), bool), 0
        wanted[self.rows] = True
        for path in dict.fromkeys(block.path for block in self._blocks):
            column = self.column(path, self._columns["caption"])
            chosen = np.flatnonzero(wanted[begin : begin + len(column)])
            begin += len(column)
            for row in chosen:
                yield from cleaned(column[int(row)].as_py())

    def number_as(self, names: Sequence[str]) -> None:
        """See Reader."""
        if len(names) == len(self.classes) and set(names) == set(self.classes):
            table = np.array([*(names.index(name) for name in self.classes), -1], np.int32)
            self.classes, self._numbers = tuple(names), table[self._numbers]

    def blocks_of(self, members: Sequence[int]) -> Any:
        """Return the number of the block in which each of these samples lies, n whole numbers."""
        return np.searchsorted(self._ends, self.rows[np.asarray(members)], side="right") - 1

    def _cell(self, row: int) -> Cell:
        number = int(np.searchsorted(self._ends, row, side="right")) - 1
        return Cell(self._blocks[number].path, f"row {row - self._begin(number)}", self, row)

    def _begin(self, number: int) -> int:
        """Return the first row of the file in which a block lies."""
        return int(self._ends[number - self._blocks[number].number])

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix() if path != self.root else path.name

    def _labels(self, schema: Any, files: Sequence[Path]) -> tuple[tuple[str, ...], Any]:
        """Return the classes, and the number of each row's; -1 where there is none."""
        count = int(self._ends[-1])
        if "label" not in self._columns or self.settings.classes == "none":
            return (), np.full(count, -1, np.int32)
        name = self._columns["label"]
        arrow = optional("pyarrow", extra="parquet")
        found = arrow.chunked_array([chunk for path in files for chunk in self.column(path, name).chunks])
        known = _features(schema).get(name, {}).get("names")
        if arrow.types.is_integer(found.type):
            numbers = found.fill_null(-1).to_numpy().astype(np.int64)
            most = int(numbers.max(initial=-1))
            classes = tuple(map(str, known or range(most + 1)))
            if most >= len(classes) or numbers.min(initial=0) < -1 or most >= 2**16:
                got = f"{most} in the column {name} of {self.root}"
                raise UserError(f"class numbers from 0 to {len(classes) - 1}", got, "data.classes=none")
            return (classes, numbers.astype(np.int32)) if len(classes) > 1 else ((), numbers.astype(np.int32))
        encoded = found.cast("string").combine_chunks().dictionary_encode()
        names = [str(one) for one in encoded.dictionary.to_pylist()]
        classes = class_names(names)
        table = np.array([*(classes.index(one) if classes else -1 for one in names), -1], np.int32)
        return classes, table[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]

    def _parts(self, files: Sequence[Path], split: str) -> tuple[Splits, Any]:
        """Return the splits by name, and the rows of one of them."""
        places = of_files(map(self._name, files))
        splits = self.settings.splits if self.settings.splits is not None else find(places)
        patterns = splits.val if split == "val" and splits.val else splits.train
        chosen = {
            path
            for path, place in zip(files, places, strict=True)
            if not splits or below(place, patterns) is not None
        }
        ranges = zip(self._blocks, self._ends, self._ends[1:], strict=False)
        parts = [np.arange(begin, end) for block, begin, end in ranges if block.path in chosen]
        rows = np.concatenate(parts) if parts else np.zeros(0, np.int64)
        if not splits.val:
            is_held_out = held_out(self._hashes()[rows], self.settings.val_share)
            rows = rows[is_held_out == (split == "val")]
        return splits, rows

    def _hashes(self) -> Any:
        """Return 64 bits of each row, which belong to its file's name and its number there."""
        parts = [
            hashes_of_rows(self._name(block.path), int(self._ends[number]) - self._begin(number), block.rows)
            for number, block in enumerate(self._blocks)
        ]
        return np.concatenate(parts)


class _Cells(Sequence[Cell]):
    """The images of a reader, made as they are asked for."""

    def __init__(self, reader: Columnar, rows: Any) -> None:
        self._reader, self._rows = reader, rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, at: int) -> Cell: ...
    @overload
    def __getitem__(self, at: slice) -> "_Cells": ...
    def __getitem__(self, at: int | slice) -> "Cell | _Cells":
        if isinstance(at, slice):
            return _Cells(self._reader, self._rows[at])
        return self._reader._cell(int(self._rows[at]))


def found_in(root: Path, suffix: str) -> list[Path]:
    """Return the files of a suffix in a folder and those below it, sorted; or the one that a path names."""
    if root.is_file():
        return [root]
    found = sorted(path for path in root.rglob(f"*{suffix}") if not path.name.startswith("."))
    if not found:
        got = str(root) if root.exists() else f"{root}, which is not there"
        raise UserError(f"a {suffix} file, or a folder of such", got, "check the path")
    return found


def _features(schema: Any) -> dict[str, Any]:
    """Return what Hugging Face's datasets note of columns; nothing where they did not write the file."""
    try:
        noted = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        found = noted["info"]["features"]
        return {name: one for name, one in found.items() if isinstance(one, dict)}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _columns(schema: Any, how: ColumnarSettings, path: Path) -> dict[str, str]:
    """Return the names of the columns by what they say: image, and if there are such label and caption."""
    types, features = optional("pyarrow", extra="parquet").types, _features(schema)
    usual, found = meanings(schema.names), {}
    images = [name for name in schema.names if _holds_image(schema.field(name).type, types)]
    noted = [name for name in images if features.get(name, {}).get("_type") == "Image"]
    named = [name for name in images if name.lower() in _IMAGES]
    found["image"] = how.image or next((many[0] for many in (noted, named, images) if len(many) == 1), "")
    labels = [name for name, one in features.items() if one.get("_type") == "ClassLabel"]
    found["label"] = how.label or (labels[0] if len(labels) == 1 else usual.get("class", ""))
    found["caption"] = how.caption or usual.get("caption", "")
    asked = {"image": how.image, "label": how.label, "caption": how.caption}
    for meaning, name in found.items():
        there = name in schema.names and _fits(meaning, schema.field(name).type, types)
        if there:
            continue
        if asked[meaning] or meaning == "image":
            got = ", ".join(f"{one.name} ({one.type})" for one in schema)[:200]
            raise UserError(f"a column of {meaning}s in {path}", got, f"name it: data.{meaning}=COLUMN")
        found[meaning] = ""
    return {meaning: name for meaning, name in found.items() if name}


def _holds_image(kind: Any, types: ModuleType) -> bool:
    """Return whether a column holds bytes, or what Hugging Face has for an image: {bytes, path}."""
    if types.is_struct(kind):
        return "bytes" in {kind.field(at).name for at in range(kind.num_fields)}
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _fits(meaning: str, kind: Any, types: ModuleType) -> bool:
    is_text = types.is_string(kind) or types.is_large_string(kind)
    if meaning == "image":
        return _holds_image(kind, types)
    if meaning == "label":
        return bool(is_text or types.is_integer(kind) or types.is_dictionary(kind))
    return bool(is_text or types.is_list(kind) or types.is_large_list(kind))
