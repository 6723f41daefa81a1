"""Which kind of data lies in a place: what `--data` means where it does not say so itself."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from smalti import imaging
from smalti.data.shards import is_shards
from smalti.data.tables import SUFFIXES
from smalti.errors import UserError

IMAGES = ("folder", "tar", "zip", "parquet", "arrow", "table")  # kinds that hold images by one setting, root
_ENDINGS = {
    ".tar": "tar",
    ".tar.gz": "tar",  # which says that it must be unpacked once
    ".tgz": "tar",
    ".zip": "zip",
    ".parquet": "parquet",
    ".arrow": "arrow",
    **dict.fromkeys(SUFFIXES, "table"),
}
_MOST = 1000  # entries of a folder that are looked at


def kind_of(place: Path) -> str:
    """Return the kind of the data in a place by names alone; of a folder those in it and in its folders.

    folder: where nothing says otherwise. UserError for a folder of two kinds.
    """
    if is_shards(place):
        return "shards"
    if not place.is_dir():
        return _kind(place.name) or "folder"
    if (place / "dataset_dict.json").is_file() or (place / "dataset_info.json").is_file():
        return "arrow"  # save_to_disk
    names = list(_names(place))
    if any(map(imaging.is_image, names)):
        return "folder"
    found = sorted({kind for kind in map(_kind, names) if kind} - {"table"})
    if len(found) > 1:
        got = f"{' and '.join(found)} in {place}"
        raise UserError("data of one kind", got, f"say which: data.kind={found[0]}")
    return found[0] if found else "folder"


def _kind(name: str) -> str | None:
    return next((kind for ending, kind in _ENDINGS.items() if name.lower().endswith(ending)), None)


def _names(folder: Path) -> Iterator[str]:
    """Give names in a folder and in its folders, of very many some."""
    try:
        entries = [entry for entry in islice(folder.iterdir(), _MOST) if not entry.name.startswith(".")]
        for entry in entries:
            inner = islice(entry.iterdir(), _MOST) if entry.is_dir() else [entry]
            yield from (one.name for one in inner)
    except OSError:  # who opens it says better what is wrong
        return
