"""COCO's annotations: boxes of things and of stuff, in their JSON files."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from smalti.conditions.box_tokens import FLAGS, Object
from smalti.config import settings
from smalti.data.annotated import Annotated, AnnotatedSettings, inside
from smalti.data.turned import Size
from smalti.errors import UserError

FILES = {"things": "instances", "stuff": "stuff"}
KEYS = "data.parts and data.year"  # which choose the files
OTHER = "other"  # stuff that is nothing in particular: no class


@settings
class CocoSettings(AnnotatedSettings):
    """Layout of root: annotations/instances_train2017.json, stuff_train2017.json, train2017/; val alike."""

    kind: Literal["coco"] = "coco"
    year: str = "2017"  # in the names of files and folders
    parts: tuple[Literal["things", "stuff"], ...] = ("things", "stuff")


class Coco(Annotated):
    """Images of COCO with their boxes; crowds have the flag "group".

    A class's number is the rank of its id among the ids as words ("1", "10", "100", "11", ...), as in the
    models published in 2021. Stuff named "other" is left out. Boxes of images that EXIF turns are those of
    the size that the annotations say: of the raster in the file, or of the image as it is seen.
    """

    def __init__(self, settings: CocoSettings, split: Literal["train", "val"]) -> None:
        folder = f"{split}{settings.year}"
        paths = [settings.root / "annotations" / f"{FILES[part]}_{folder}.json" for part in settings.parts]
        files = {path: read(path, KEYS) for path in paths}
        categories: dict[str, str] = {}
        for path, file in files.items():
            with readable(path, KEYS):
                categories |= {str(one["id"]): str(one["name"]) for one in file["categories"]}
        ids = sorted(number for number, name in categories.items() if name != OTHER)
        ranks = {number: rank for rank, number in enumerate(ids)}
        things: dict[str, list[Object]] = {}
        sizes: dict[str, Size] = {}
        for path, file in files.items():
            with readable(path, KEYS):
                sizes |= {str(one["file_name"]): size_of(one) for one in file["images"] if "width" in one}
                for name, thing in _things(file, ranks):
                    things.setdefault(name, []).append(thing)
        classes = (categories[number] for number in ids)
        super().__init__(settings, settings.root / folder, classes, things, sizes)


def _things(file: dict[str, Any], ranks: dict[str, int]) -> Iterator[tuple[str, Object]]:
    """Return file name and thing of every annotation of a class that counts."""
    images = {one["id"]: one for one in file["images"]}
    for one in file["annotations"]:
        rank = ranks.get(str(one["category_id"]))
        if rank is None:
            continue
        image = images[one["image_id"]]
        width, height = image["width"], image["height"]
        x, y, w, h = one["bbox"]
        x0, y0 = x / width, y / height
        box = inside((x0, y0, x0 + w / width, y0 + h / height))
        flags = (1 << FLAGS.index("group")) * bool(one.get("iscrowd"))
        yield str(image["file_name"]), Object(rank + len(ranks) * flags, *box)


def size_of(image: dict[str, Any]) -> Size:
    """Return height and width that annotations of an image are for; ValueError for what is no size."""
    height, width = int(image["height"]), int(image["width"])
    if height < 1 or width < 1:
        raise ValueError(f"an image of {height} x {width} pixels")
    return height, width


def read(path: Path, keys: str) -> dict[str, Any]:
    """Return what an annotation file holds; UserError. keys: of settings that choose another file."""
    with readable(path, keys):
        return dict(json.loads(path.read_text(encoding="utf-8")))


@contextmanager
def readable(path: Path, keys: str) -> Iterator[None]:
    """Within, whatever a file of another layout makes Python say is a UserError with its path."""
    try:
        yield
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as problem:
        remedy = f"give as data.root the folder that holds annotations/, or choose {keys}"
        got = f"{path} ({type(problem).__name__}: {problem})"
        raise UserError("annotations in COCO's format", got, remedy) from None
