"""What a run settles about folders of images when it begins: their splits."""

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from smalti import config
from smalti.data import READERS
from smalti.data.protocol import Reader


def with_splits() -> set[str]:
    """Return the kinds of data in which folders or files may be splits by their names."""
    return {kind for kind, (how, _) in READERS.items() if "splits" in {one.name for one in fields(how)}}


def made() -> set[str]:
    """Return the kinds of data that lie nowhere, as they are made."""
    return {kind for kind, (how, _) in READERS.items() if "root" not in {one.name for one in fields(how)}}


def is_made(data: str | Path) -> bool:
    """Return whether the kind of data that are made is given in place of a folder."""
    return str(data) in made() and not Path(data).exists()


def all_images(mapping: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's mapping, without splits by name where the user himself says data.classes=none.

    A recipe that says so says it of classes alone.
    """
    return _without_splits(mapping) if asked.get("data.classes") == "none" else dict(mapping)


def as_begun(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Return the mapping of a run that is there: one of before there were splits by name has none."""
    return _without_splits(mapping)


def settled(training: Any, readers: Mapping[str, Reader]) -> Any:
    """Return settings with the splits that were found by name: they stay when other folders come."""
    found = readers["train"].summary().splits
    return training if found is None else replace(training, data=replace(training.data, splits=found))


def held_out(data: Any) -> dict[str, Any]:
    """Return what settings of data say of images that are held out, and of their maps and boxes.

    For a model to keep.
    """
    wanted = {"kind", "root", "val", "val_share", "classes", "splits", "captions", "ending"}
    wanted |= {"maps", "val_maps", "content", "year", "parts", "annotated"}  # what describes them
    wanted |= {"min_area", "min_objects", "max_objects"}  # which boxes count
    wanted |= {"size", "count", "val_count", "seed", "people"}  # of images that are made: which they are
    wanted |= {"min_joints", "min_height", "aspect", "margin"}  # which figures, and what is shown around them
    return {name: value for name, value in config.dump(data).items() if name in wanted}


def _without_splits(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with none by name, unless the data say which there are, or are of a kind without."""
    data = mapping.get("data")
    if not isinstance(data, Mapping) or data.get("kind", "folder") not in with_splits():
        return dict(mapping)
    return {**mapping, "data": {"splits": {}, **data}}
