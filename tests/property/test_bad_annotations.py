"""Annotations and captions with anything in them: a reader of what is sound, or one line."""

import csv
import io
import json
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import mutations
import pytest
import trials
from trials import refused

from smalti.data import READERS
from smalti.data.captions import captions_of

_KINDS = ("coco", "coco_keypoints", "open_images")
_SETTINGS = {"coco_keypoints": {"min_height": 4}}
_TABLES = (
    (
        "captions.csv",
        'file,caption,split\n0.jpg,a tree,train\n1.jpg,a house,val\n0.jpg,"two, of them",train\n',
    ),
    ("captions.tsv", "file_name\ttext\n0.jpg\ta tree\n1.jpg\ta house\n"),
    (
        "captions.jsonl",
        '{"file": "0.jpg", "caption": ["a", "b"]}\n{"file": "1.jpg", "caption": "c", "class": "d"}\n',
    ),
)


@pytest.fixture
def sound(coco, coco_keypoints, open_images) -> dict[str, Path]:
    """A data set of each kind."""
    return {"coco": coco, "coco_keypoints": coco_keypoints, "open_images": open_images}


def annotations(root: Path) -> list[Path]:
    """The files of a data set that describe its images, of the split that is read."""
    paths = sorted([*root.rglob("*.json"), *root.rglob("*.csv")])
    return [path for path in paths if "val" not in path.name]


def changed(rng: Random, path: Path, sound: bytes) -> bytes:
    """What an annotation file holds, with changes."""
    if path.suffix == ".json":
        return mutations.as_json(rng, json.loads(sound))
    if rng.random() < 0.5:
        return mutations.changed_text(rng, sound.decode()).encode("utf-8", "surrogatepass")
    rows = mutations.changed_value(rng, list(csv.reader(io.StringIO(sound.decode()))))
    out = io.StringIO()
    for row in rows if isinstance(rows, list) else [rows]:
        out.write(",".join(map(str, row if isinstance(row, list) else [row])) + "\n")
    return out.getvalue().encode("utf-8", "surrogatepass")


def take(kind: str, root: Path) -> None:
    """Read a data set as a training does: all that it says of itself, and its samples."""
    settings, reader = READERS[kind]
    found = reader(settings(kind=kind, root=root, **_SETTINGS.get(kind, {})), "train")
    found.summary()
    list(found.sides())
    for index in range(len(found)):
        refused(partial(found.__getitem__, index))


@trials.counts(quick=100, slow=1500)
def test_changed_annotations(count, sound, record_property):
    files = [(kind, path, path.read_bytes()) for kind in _KINDS for path in annotations(sound[kind])]

    def work(number: int) -> None:
        rng = mutations.chance("annotations", number)
        kind, path, data = rng.choice(files)
        path.write_bytes(changed(rng, path, data))
        try:
            take(kind, sound[kind])
        finally:
            path.write_bytes(data)

    trials.survive("annotations", (partial(work, number) for number in range(count)), record_property)


@trials.counts(quick=60, slow=1500)
def test_changed_tables_of_captions(count, tmp_path, record_property):
    paths = [tmp_path / f"{number}.jpg" for number in range(2)]

    def work(number: int) -> None:
        rng = mutations.chance("captions", number)
        name, text = rng.choice(_TABLES)
        data: Any = mutations.changed_text(rng, text).encode("utf-8", "surrogatepass")
        (tmp_path / name).write_bytes(data if rng.random() < 0.7 else mutations.changed_bytes(rng, data))
        found = captions_of(name, tmp_path, paths)
        assert all(isinstance(text, str) for texts in found.texts.values() for text in texts)

    trials.survive("captions", (partial(work, number) for number in range(count)), record_property)


@trials.corpus("annotations")
def test_what_once_failed(path, coco):
    (coco / "annotations" / "instances_train2017.json").write_bytes(path.read_bytes())
    assert refused(partial(take, "coco", coco)) is not None
