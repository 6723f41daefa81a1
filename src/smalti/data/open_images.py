"""Open Images' annotations: boxes in CSV files."""

import csv
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import Literal

from smalti.conditions.box_tokens import FLAGS, Object
from smalti.config import settings
from smalti.data.annotated import Annotated, AnnotatedSettings, inside
from smalti.errors import UserError

NAMES = "class-descriptions-boxable.csv"
BOXES = {"train": "oidv6-train-annotations-bbox.csv", "val": "validation-annotations-bbox.csv"}
IMAGES = {"train": "train", "val": "validation"}
_COLUMNS = dict(zip(FLAGS, ("IsGroupOf", "IsOccluded", "IsDepiction", "IsInside"), strict=True))


@settings
class OpenImagesSettings(AnnotatedSettings):
    """Layout of root: the CSV files of the publisher, train/ID.jpg and validation/ID.jpg."""

    kind: Literal["open_images"] = "open_images"
    names: tuple[str, ...] = ()  # of the classes that count, by number; empty: all, by their ids as words
    merge: dict[str, str] = field(default_factory=dict)  # class -> the one that it counts as (Woman: Person)
    unknown_flags: bool = False  # what a flag of -1, unknown, counts as; the 2021 code took it as set


class OpenImages(Annotated):
    """Images of Open Images with their boxes and all four flags.

    Boxes are those of the rasters in the files: the publisher turns boxes as images ("that the image
    and boxes should be rotated", openimages/web/2018-05-17-rotation-information.html).
    """

    def __init__(self, settings: OpenImagesSettings, split: Literal["train", "val"]) -> None:
        described = _described(settings.root / NAMES)
        names = settings.names or [
            name for _, name in sorted(described.items()) if name not in settings.merge
        ]
        strange = [name for name in [*names, *settings.merge] if name not in described.values()]
        if strange:
            remedy = "correct data.names and data.merge"
            raise UserError(f"names of classes in {settings.root / NAMES}", strange[0], remedy)
        ranks = {name: rank for rank, name in enumerate(names)}
        things: dict[str, list[Object]] = {}
        for row in _table(settings.root / BOXES[split]):
            name = described.get(row["LabelName"], "")
            rank = ranks.get(settings.merge.get(name, name))
            if rank is not None:
                thing = _thing(row, rank, len(ranks), settings.unknown_flags)
                things.setdefault(f"{row['ImageID']}.jpg", []).append(thing)
        super().__init__(settings, settings.root / IMAGES[split], names, things)


def _thing(row: dict[str, str], rank: int, classes: int, unknown: bool) -> Object:
    try:
        values = [int(row[column]) for column in _COLUMNS.values()]
        x0, y0, x1, y1 = (float(row[column]) for column in ("XMin", "YMin", "XMax", "YMax"))
        box = inside((x0, y0, x0 + (x1 - x0), y0 + (y1 - y0)))
    except ValueError as problem:
        got = f"{problem} for {row['ImageID']}"
        raise UserError("numbers in the columns of boxes", got, "download the CSV file anew") from None
    flags = sum((unknown if value < 0 else value > 0) << bit for bit, value in enumerate(values))
    return Object(rank + classes * flags, *box)


def _rows(path: Path) -> Iterator[list[str]]:
    """Return rows of a CSV file; UserError where there is none."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            yield from csv.reader(file)
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        remedy = "give as data.root the folder that holds the publisher's CSV files, train/ and validation/"
        raise UserError("annotations of Open Images", f"{path} ({problem})", remedy) from None


def _described(path: Path) -> dict[str, str]:
    """Return names of classes by their ids."""
    rows = list(_rows(path))
    if not all(len(row) == 2 for row in rows):
        raise UserError(f"an id and a name in every line of {path}", "something else", "download it anew")
    return {number: name for number, name in rows}


def _table(path: Path) -> Iterator[dict[str, str]]:
    """Return rows by the names of the columns."""
    rows = _rows(path)
    columns = next(rows, [])
    missing = {"ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax", *_COLUMNS.values()} - set(columns)
    if missing:
        raise UserError(f"columns of boxes in {path}", f"none named {min(missing)}", "download it anew")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(columns):
            expected, got = f"{len(columns)} columns in every line of {path}", f"{len(row)} in line {number}"
            raise UserError(expected, got, "download it anew")
        yield dict(zip(columns, row, strict=True))
