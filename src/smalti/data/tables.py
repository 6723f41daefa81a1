"""Tables of what is said of images: .csv, .tsv and .jsonl files, read by the meanings of their columns."""

import csv
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from smalti.errors import UserError

COLUMNS = {  # of a table, by what they say: the first that is there counts
    "file": ("file", "file_name", "filename", "image", "path"),
    "caption": ("caption", "text", "captions", "texts"),
    "split": ("split",),
    "class": ("class", "label", "group", "category"),
    "map": ("map", "map_file", "mask", "depth", "conditioning_image"),
}
SUFFIXES = (".csv", ".tsv", ".jsonl")
METADATA = tuple(f"metadata{suffix}" for suffix in SUFFIXES)  # as Hugging Face's image folders have


def read_rows(
    file: Path, *, needed: Collection[str], called: Mapping[str, str | None] | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Give the rows of a table by the meanings of their columns, with their numbers from 1.

    needed: meanings, words of COLUMNS, without which UserError. called: names that columns have here, by
    their meanings; None: one of COLUMNS.
    """
    kind = file.suffix.lower()
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            if kind in (".csv", ".tsv"):
                table = csv.DictReader(lines, delimiter="," if kind == ".csv" else "\t")
                names = _columns(table.fieldnames or (), file, needed, called or {})
                found: Iterator[tuple[int, dict[str, Any]]] = enumerate(table, 1)
            elif kind == ".jsonl":
                objects = [json.loads(line) for line in lines if line.strip()]
                keys = dict.fromkeys(key for row in objects for key in (row if isinstance(row, dict) else ()))
                names = _columns(tuple(keys), file, needed, called or {})
                found = enumerate(objects, 1)
            else:
                raise UserError("a table as .csv, .tsv or .jsonl", str(file), "save it as one of them")
            for number, row in found:
                yield number, {meaning: row.get(name) for meaning, name in names.items()}
    except (OSError, ValueError, csv.Error, AttributeError, RecursionError) as problem:
        got = f"{file} ({' '.join(str(problem).split())})"
        raise UserError("a table in UTF-8, a row an image", got, "mend the file") from None


def metadata_in(folder: Path) -> Path | None:
    """Return the table that Hugging Face's image folders have beside the images; None where there is none."""
    return next((folder / name for name in METADATA if (folder / name).is_file()), None)


def meanings(names: Sequence[str]) -> dict[str, str]:
    """Return the names of columns, or of keys of an object, by what they say."""
    known = {name.strip().lower(): name for name in names}
    return {
        meaning: known[next(word for word in words if word in known)]
        for meaning, words in COLUMNS.items()
        if known.keys() & set(words)
    }


def cleaned(texts: Any) -> tuple[str, ...]:
    """Return captions in one line each, without empty ones."""
    texts = [texts] if isinstance(texts, str) else texts if isinstance(texts, list) else []
    return tuple(filter(None, (" ".join(text.split()) for text in texts if isinstance(text, str))))


def path_below(name: Any, folders: Sequence[Path], there: Collection[Path]) -> Path | None:
    """Return the path among those there that a name is below the first of some folders; None: none is."""
    return next((folder / str(name) for folder in folders if folder / str(name) in there), None)


def _columns(
    names: Sequence[str], file: Path, needed: Collection[str], called: Mapping[str, str | None]
) -> dict[str, str]:
    """Return the names of a table's columns by what they say; UserError without one that is needed."""
    said = {meaning: name for meaning, name in called.items() if name is not None}
    for meaning, name in said.items():
        if name not in names:
            expected = f"a column {name} in {file}, as the settings say"
            raise UserError(expected, ", ".join(names) or "none", f"name the column that is its {meaning}")
    columns = meanings(names) | said
    for meaning in needed:
        if meaning not in columns:
            remedy = f"call the column {' or '.join(COLUMNS[meaning][:2])}"
            raise UserError(f"a column {meaning} in {file}", ", ".join(names) or "none", remedy)
    return columns
