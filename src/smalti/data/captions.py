"""Captions of the images in a folder: their names, side-car files or a table, which may say more."""

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smalti.data.splits import by_word
from smalti.errors import UserError

_COLUMNS = {  # of a table, by what they say: the first that is there counts
    "file": ("file", "file_name", "filename", "image", "path"),
    "caption": ("caption", "text", "captions", "texts"),
    "split": ("split",),
    "class": ("class", "label", "group", "category"),
}
_NO_WORD = re.compile(r"[\W_]+")


@dataclass(frozen=True, kw_only=True)
class Captions:
    """What is said of images, by their paths."""

    texts: Mapping[Path, tuple[str, ...]] = field(default_factory=dict)
    uses: Mapping[Path, str] = field(default_factory=dict)  # train, val or neither; empty: it is not said
    classes: Mapping[Path, str] = field(default_factory=dict)  # empty: it is not said
    note: str = ""  # for a person


def captions_of(how: str | None, root: Path, paths: Sequence[Path]) -> Captions:
    """Return what is said of the images with these paths below a root; UserError for one without a caption.

    how: names: the words of the file's name; sidecar: a .txt file beside it, a caption a line; or a table,
    .csv, .tsv or .jsonl, in the root or elsewhere, whose files lie below the root. None: nothing is said.
    """
    if how is None:
        return Captions()
    if how == "names":
        found = Captions(texts={path: (_named(path),) for path in paths})
    elif how == "sidecar":
        found = Captions(texts={path: _lines(path.with_suffix(".txt")) for path in paths})
    else:
        found = _table(_file(how, root), root, paths)
    _check(found.texts, paths, how)
    return found


def _named(path: Path) -> str:
    """Return the words of a file's name, without numbers after them: red_car-012.jpg is "red car"."""
    words = _NO_WORD.sub(" ", path.stem).split()
    while len(words) > 1 and words[-1].isdecimal():
        words.pop()
    return " ".join(words)


def _lines(path: Path) -> tuple[str, ...]:
    try:
        return _clean(path.read_text(encoding="utf-8").splitlines())
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as problem:
        raise UserError("captions in UTF-8", f"{path} ({problem})", "mend the file") from None


def _clean(texts: Any) -> tuple[str, ...]:
    """Return captions in one line each, without empty ones."""
    texts = [texts] if isinstance(texts, str) else texts if isinstance(texts, list) else []
    return tuple(filter(None, (" ".join(text.split()) for text in texts if isinstance(text, str))))


def _file(how: str, root: Path) -> Path:
    for path in (root / how, Path(how)):
        if path.is_file():
            return path
    expected = "data.captions as names, sidecar, or a .csv, .tsv or .jsonl file in the folder of the images"
    raise UserError(expected, f"{how}, which is not there", "check the name of the file")


def _table(file: Path, root: Path, paths: Sequence[Path]) -> Captions:
    """Return what the rows of a table say of the images that are there; several rows are several captions."""
    there = set(paths)
    texts: dict[Path, tuple[str, ...]] = {}
    said: dict[str, dict[Path, str]] = {"split": {}, "class": {}}
    others = 0
    for number, row in _rows(file):
        path = _found(row["file"], (root, file.parent), there)
        if path is None:
            others += 1
            continue
        found = _clean(row["caption"])
        if not found:
            got = f"an empty one for {row['file']} in row {number} of {file}"
            raise UserError("a caption in each row", got, "write one, or take the row and the image away")
        texts[path] = (*texts.get(path, ()), *found)
        for name, held in said.items():
            if name in row:
                held[path] = str(row[name] or "").strip()
    column = f"the split column of {file}"
    uses = by_word(set(said["split"].values()), column)
    notes = [f"{column} says what is held out"] if uses else []
    notes += [f"{file} has {others} rows of files that are not there"] if others else []
    return Captions(
        texts=texts,
        uses={path: uses[word] for path, word in said["split"].items()},
        classes=said["class"],
        note="\n".join(notes),
    )


def _found(name: Any, folders: Sequence[Path], there: set[Path]) -> Path | None:
    return next((folder / str(name) for folder in folders if folder / str(name) in there), None)


def _rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Give the rows of a table by the meanings of their columns, with their numbers from 1."""
    kind = file.suffix.lower()
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            if kind in (".csv", ".tsv"):
                table = csv.DictReader(lines, delimiter="," if kind == ".csv" else "\t")
                names = _columns(table.fieldnames or (), file)
                rows: Iterator[tuple[int, dict[str, Any]]] = enumerate(table, 1)
            elif kind == ".jsonl":
                objects = [json.loads(line) for line in lines if line.strip()]
                keys = dict.fromkeys(key for row in objects for key in (row if isinstance(row, dict) else ()))
                names, rows = _columns(tuple(keys), file), enumerate(objects, 1)
            else:
                raise UserError(
                    "captions in a .csv, .tsv or .jsonl file", str(file), "save it as one of them"
                )
            for number, row in rows:
                yield number, {meaning: row.get(name) for meaning, name in names.items()}
    except (OSError, ValueError, csv.Error, AttributeError, RecursionError) as problem:
        got = f"{file} ({' '.join(str(problem).split())})"
        raise UserError("a table of captions in UTF-8", got, "mend the file") from None


def _columns(names: Sequence[str], file: Path) -> dict[str, str]:
    """Return the names of a table's columns by what they say; UserError without file or caption."""
    known = {name.strip().lower(): name for name in names}
    found = {
        meaning: known[next(word for word in words if word in known)]
        for meaning, words in _COLUMNS.items()
        if known.keys() & set(words)
    }
    for meaning in ("file", "caption"):
        if meaning not in found:
            remedy = f"call the column {' or '.join(_COLUMNS[meaning][:2])}"
            raise UserError(f"a column {meaning} in {file}", ", ".join(names) or "none", remedy)
    return found


def _check(texts: Mapping[Path, tuple[str, ...]], paths: Sequence[Path], how: str) -> None:
    without = [path for path in paths if not texts.get(path)]
    if without:
        got = f"{len(without)} of {len(paths)} images without one, the first {without[0]}"
        remedy = "complete the captions, or take these images away"
        raise UserError(f"a caption of each image, by data.captions={how}", got, remedy)
