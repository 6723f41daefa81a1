"""The index of archives: where in them each image lies, and what is said of it; written once, then mapped.

One file in safetensors, beside the archives: a row an image, some 50 bytes and its name. What a training
holds of a million images are pages of this file, which several processes share.
"""

import hashlib
import json
import os
import zlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from tqdm import tqdm

from smalti import files, imaging, leftovers
from smalti.data.hashes import hash_of
from smalti.data.said import Told, read_told
from smalti.errors import UserError
from smalti.opening import Member, Unreadable

FORMAT = 1
ENDINGS = 255  # of names that are told apart, after the first dot: jpg, input.png, ...
MANY = 2**16  # archives
LARGEST = 2**30  # bytes of a file in one, inflated: more is a bomb, or no image
_SPOTS, _SPOT = 16, 4096  # places in an archive that are looked at to know it again, bytes of each

_KINDS = {  # columns of the index, with the letters of their types
    "archive": "H",
    "folder": "I",
    "ending": "B",
    "offset": "Q",
    "stored": "I",
    "size": "I",
    "deflated": "B",  # 1: the image, 2: its captions
    "label": "i",
    "text": "Q",
    "text_stored": "I",
    "text_size": "I",
    "text_kind": "B",  # see said.py; 0: none
    "hash": "Q",  # of the name, as folders have it: what is held out
    "end": "Q",  # of the name among all names
}


class Found(NamedTuple):
    """A file within an archive, as who scans it finds it."""

    name: str
    offset: int  # of what is stored, from the archive's begin
    stored: int  # bytes
    size: int  # bytes that come out; as many where they are not deflated
    deflated: bool = False


Scan = Callable[[Path], Iterator[Found]]


@dataclass(frozen=True)
class Packed(Member):
    """A file within an archive, of which the place is known."""

    archive: Path
    name: str
    found: Found

    def read_bytes(self) -> bytes:
        """See Member."""
        with self.archive.open("rb") as file:
            return taken(file, self.found)


def taken(file: Any, found: Found) -> bytes:
    """Return what a member of an opened archive holds; Unreadable for what is cut off or damaged."""
    file.seek(found.offset)
    data: bytes = file.read(found.stored)
    if len(data) < found.stored:
        raise Unreadable("cut off: the archive ends before it", "copy the archive again, then smalti index")
    if not found.deflated:
        return data
    return _inflated(data, found.size)


def _inflated(data: bytes, size: int) -> bytes:
    """Return what was deflated, never more than it says it is."""
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    found = engine.decompress(data, size + 1)
    if len(found) != size or not engine.eof:
        raise Unreadable(f"not the {size} bytes that the archive says", "pack the archive anew")
    return found


class Index:
    """An index that lies in a file. Another process opens it again: its pages are shared."""

    def __init__(self, path: Path, root: Path) -> None:
        """UserError for a file that is no index. root: of the archives, whose names stand in it."""
        self.path, self.root = path, root
        try:
            self.columns, held = files.mapped(path)
            self.about = json.loads(held["smalti"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as problem:
            got = f"{path} ({' '.join(str(problem).split()) or type(problem).__name__})"
            raise UserError("an index of archives", got, indexing(root)) from None
        if self.about.get("format") != FORMAT or not {*_KINDS, "names"} <= self.columns.keys():
            got = f"format {self.about.get('format')} in {path}"
            raise UserError(f"an index of format {FORMAT}", got, indexing(root))

    def __len__(self) -> int:
        return len(self.columns["offset"])

    def __getstate__(self) -> tuple[Path, Path]:
        return self.path, self.root

    def __setstate__(self, state: tuple[Path, Path]) -> None:
        self.__init__(*state)  # type: ignore[misc]  # an index is what lies in its file

    @cached_property
    def archives(self) -> list[Path]:
        """Return the archives' paths."""
        return [place_of(self.root, name) for name in self.about["archives"]]

    def name(self, row: int) -> str:
        """Return the name of an image within its archive."""
        ends, folder = self.columns["end"], self.about["folders"][self.columns["folder"][row]]
        begin = int(ends[row - 1]) if row else 0
        own = self.columns["names"][begin : int(ends[row])].tobytes().decode("utf-8", "surrogateescape")
        return f"{folder}/{own}" if folder else own

    def member(self, row: int) -> Packed:
        """Return an image, to be opened."""
        column = self.columns
        found = Found(
            self.name(row),
            int(column["offset"][row]),
            int(column["stored"][row]),
            int(column["size"][row]),
            bool(column["deflated"][row] & 1),
        )
        return Packed(self.archives[column["archive"][row]], found.name, found)

    def texts(self, row: int) -> tuple[str, ...]:
        """Return the captions of an image, read where they lie; none where there are none. UserError."""
        column = self.columns
        kind = int(column["text_kind"][row])
        if not kind:
            return ()
        stored, size = int(column["text_stored"][row]), int(column["text_size"][row])
        where = self.member(row)
        found = Found(where.name, int(column["text"][row]), stored, size, bool(column["deflated"][row] & 2))
        try:
            with where.archive.open("rb") as file:
                return read_told(kind, taken(file, found)).texts
        except (OSError, ValueError) as problem:
            raise UserError(
                "captions as they were indexed", f"{where} ({problem})", indexing(self.root)
            ) from None

    def check(self) -> None:
        """Raise UserError where the archives are others than those that the index was made of."""
        now, then = find(self.root, tuple(self.about["suffixes"])), self.archives
        for path in sorted({*now} ^ {*then}):
            what = "new" if path in now else "gone"
            raise UserError(f"the archives of {self.path}", f"{path}, which is {what}", indexing(self.root))
        for path, (size, changed, spots) in zip(then, self.about["marks"], strict=True):
            status = path.stat()
            if status.st_size == size and (status.st_mtime_ns == changed or _spots(path) == spots):
                continue
            got = f"{path}, which has changed since"
            raise UserError(f"the archives as {self.path} was made of them", got, indexing(self.root))


def indexing(root: Path) -> str:
    """Return what to type to make the index of some archives anew."""
    return f"smalti index {root}"


def index_place(root: Path) -> Path:
    """Return where the index of an archive, or of a folder of them, lies."""
    return root / "smalti.index" if root.is_dir() else root.with_name(f"{root.name}.index")


def place_of(root: Path, name: str) -> Path:
    """Return the path of an archive by its name below a root; that of a root that is the archive itself."""
    return root / name if name else root


def find(root: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Return the archives of a folder and those below it, sorted; or the one that a path names. UserError."""
    if root.is_file() and root.name.lower().endswith(suffixes):
        return [root]
    there = [root] if root.is_file() else []
    there += [Path(folder) / name for folder, _, names in os.walk(root) for name in names]
    for path in sorted(there):
        if path.name.lower().endswith(_compressed(suffixes)):
            remedy = "unpack it once (gzip -d): images are found by where they lie in it"
            raise UserError(f"{' or '.join(suffixes)} files that are not compressed", str(path), remedy)
    shown = (path for path in there if not path.name.startswith("."))
    found = sorted(path for path in shown if path.name.lower().endswith(suffixes))
    if not found:
        kinds = " or ".join(suffixes)
        got = str(root) if root.exists() else f"{root}, which is not there"
        raise UserError(f"a {kinds} file, or a folder of such", got, "check the path")
    if len(found) > MANY:
        raise UserError(f"at most {MANY} archives", str(len(found)), "pack more images into each")
    return found


def _compressed(suffixes: tuple[str, ...]) -> tuple[str, ...]:
    return (".tgz", *(one + by for one in suffixes for by in (".gz", ".bz2", ".xz", ".zst")))


def write_index(root: Path, out: Path, suffixes: tuple[str, ...], scan: Scan) -> Index:
    """Make the index of archives, whole or not at all; gives it. UserError for one that cannot be read."""
    archives, rows = find(root, suffixes), _Rows()
    bar = tqdm(archives, desc="indexing", unit="archive", disable=None, leave=False)
    marks = []
    for number, path in enumerate(bar):
        try:
            status = path.stat()
            rows.add(path, number, scan)
            marks.append((status.st_size, status.st_mtime_ns, _spots(path)))
        except OSError as problem:
            remedy = "check its permissions and the disk"
            raise UserError("archives that can be read", f"{path} ({problem.strerror})", remedy) from None
    if not len(rows):
        raise UserError(f"images in {root}", "none", "give archives that hold some")
    about = {
        "format": FORMAT,
        "suffixes": suffixes,
        "archives": ["" if path == root else path.relative_to(root).as_posix() for path in archives],
        "marks": marks,
        **rows.about(),
    }
    fresh = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        leftovers.clear(out.parent, f".{out.name}.*")
        files.save_tensors(rows.tensors(), fresh, {"smalti": json.dumps(about)})
        fresh.replace(out)
    except (OSError, SafetensorError) as problem:
        remedy = f"smalti index {root} --out FILE, then data.index=FILE"
        raise UserError(f"an index of {root}", f"none: {out} cannot be written ({problem})", remedy) from None
    finally:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
    return Index(out, root)


class _Rows:
    """The index while it is made: numbers and bytes in arrays, not objects."""

    def __init__(self) -> None:
        self._columns = {name: array(kind) for name, kind in _KINDS.items()}
        self._names = bytearray()
        self._folders: dict[str, int] = {}
        self._endings: dict[str, int] = {}
        self._labels: dict[str, int] = {}
        self._digest = hashlib.blake2b(digest_size=8)
        self._several = 0  # keys with several images

    def __len__(self) -> int:
        return len(self._columns["offset"])

    def add(self, path: Path, number: int, scan: Scan) -> None:
        """Take in an archive: its images in its order, and what other files in it say of them."""
        told: dict[str, list[tuple[int, Found, Told]]] = {}
        images, there = [], set[str]()
        with path.open("rb") as file:
            for found in scan(path):
                folder, _, own = found.name.rpartition("/")
                if own.startswith(".") or any(part.startswith(".") for part in folder.split("/")):
                    continue
                kind = Told.kind(own)
                if found.name in there:
                    got = f"{found.name} twice in {path}"
                    raise UserError("each file of an archive once", got, "pack it anew")
                if (kind or imaging.is_image(own)) and max(found.size, found.stored) > LARGEST:
                    got = f"{found.size} in {path}: {found.name}"
                    raise UserError(f"files of at most {LARGEST} bytes", got, "pack the archive without it")
                if kind:
                    there.add(found.name)
                    one = _read(file, path, found, kind)
                    told.setdefault(found.name.rpartition(".")[0], []).append((kind, found, one))
                elif imaging.is_image(own):
                    there.add(found.name)
                    images.append(found)
        keys = set[str]()
        for found in images:
            self._several += found.name.split(".")[0] in keys
            keys.add(_key(found.name))
            self._add(
                found, number, told.get(found.name.rpartition(".")[0]) or told.get(_key(found.name), [])
            )

    def _add(self, found: Found, number: int, told: Sequence[tuple[int, Found, Told]]) -> None:
        folder, _, own = found.name.rpartition("/")
        ending = own.partition(".")[2].lower()
        if len(self._endings) < ENDINGS:
            self._endings.setdefault(ending, len(self._endings))
        label = next((one.label for _, _, one in told if one.label is not None), None)
        text = next(((kind, where, one) for kind, where, one in told if one.texts), None)
        self._names += own.encode("utf-8", "surrogateescape")
        row = {
            "archive": number,
            "folder": self._folders.setdefault(folder, len(self._folders)),
            "ending": self._endings.get(ending, ENDINGS),
            "offset": found.offset,
            "stored": found.stored,
            "size": found.size,
            "deflated": found.deflated + 2 * (text is not None and text[1].deflated),
            "label": -1 if label is None else self._labels.setdefault(label, len(self._labels)),
            "text": 0 if text is None else text[1].offset,
            "text_stored": 0 if text is None else text[1].stored,
            "text_size": 0 if text is None else text[1].size,
            "text_kind": 0 if text is None else text[0],
            "hash": hash_of(found.name),
            "end": len(self._names),
        }
        for name, value in row.items():
            self._columns[name].append(value)
        said = "" if text is None else "\n".join(text[2].texts)
        line = f"{found.name}\n{label}\n{said}\n"
        self._digest.update(line.encode("utf-8", "surrogateescape"))

    def about(self) -> dict[str, Any]:
        """Return what the index says beside its columns."""
        return {
            "folders": list(self._folders),
            "endings": list(self._endings),
            "labels": list(self._labels),
            "several": self._several,
            "digest": self._digest.hexdigest(),
        }

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the columns, and all names."""
        found = {}
        for name, held in self._columns.items():
            kind = f"{'i' if held.typecode == 'i' else 'u'}{held.itemsize}"
            found[name] = torch.from_numpy(np.array(np.frombuffer(held, kind)))
        return found | {"names": torch.frombuffer(self._names, dtype=torch.uint8)}


def _key(name: str) -> str:
    """Return what files of one sample share: the name up to its first dot."""
    folder, slash, own = name.rpartition("/")
    return folder + slash + own.partition(".")[0]


def _read(file: Any, path: Path, found: Found, kind: int) -> Told:
    try:
        return read_told(kind, taken(file, found))
    except (OSError, ValueError) as problem:
        got = f"{path}: {found.name} ({' '.join(str(problem).split())})"
        raise UserError("labels and captions in UTF-8 or JSON", got, "mend it and pack it anew") from None


def _spots(path: Path) -> str:
    """Return what changes where a file of the same size becomes another, but for small changes."""
    size, digest = path.stat().st_size, hashlib.blake2b(digest_size=8)
    with path.open("rb") as file:
        for spot in range(_SPOTS):
            file.seek(max(0, size - _SPOT) * spot // (_SPOTS - 1))
            digest.update(file.read(_SPOT))
    return digest.hexdigest()
