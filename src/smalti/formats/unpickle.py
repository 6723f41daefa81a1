"""Checkpoints that torch.save wrote, read without running anything that they ask for.

A checkpoint is a pickle: a program for a small stack machine, which may name any function of any package and
have it called. The machine here has no way to import or to call. It knows tensors, plain containers and
numpy's numbers; every other name becomes a Placeholder, and so does whatever such a name is called with.
"""

import mmap
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from smalti.errors import UserError
from smalti.formats.machine import Machine
from smalti.formats.storages import Corrupt, Region, Storage, numbers

_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of a file as torch wrote it before 1.6
_PROTOCOL = 1001  # the second one
# whatever a damaged or hostile file makes plain Python or torch say, once nothing of it is run
DAMAGE = (
    Corrupt,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    AttributeError,
    EOFError,
    OverflowError,
    RuntimeError,
    MemoryError,
    NotImplementedError,
    struct.error,
    zipfile.BadZipFile,
    pickle.UnpicklingError,
)


def read(path: Path) -> dict[str, Any]:
    """Return what a torch checkpoint holds, zip or legacy; tensors lie in the file until they are used.

    Tensors of a GPU come as tensors of the CPU. Names that are no tensor, container or number are
    Placeholders. Raises UserError for a file that is no checkpoint, is truncated, or contradicts itself.
    """
    try:
        with path.open("rb") as file:
            zipped = zipfile.is_zipfile(file)
            file.seek(0)
            contents = _read_zip(file) if zipped else _read_legacy(file)
    except OSError as problem:
        raise UserError(f"the file {path}", problem.strerror or str(problem), "check the path") from None
    except DAMAGE as problem:
        got = " ".join(str(problem).split())[:160] or type(problem).__name__
        remedy = "the file is damaged or incomplete, or no checkpoint: get it anew"
        raise UserError(f"a whole torch checkpoint in {path}", got, remedy) from None
    if not isinstance(contents, dict):
        remedy = "save the model's state_dict() instead"
        raise UserError(f"a checkpoint with named tensors in {path}", _kind(contents), remedy)
    return contents


def by_torch(path: Path) -> bool:
    """Return whether torch.save wrote a pickle or a zip file, or Python's pickle did."""
    with path.open("rb") as file:
        return file.read(2) == b"PK" or _magic(file)


def _magic(file: BinaryIO) -> bool:
    file.seek(0)
    return _MAGIC.to_bytes(10, "little") in file.read(16)


def _read_zip(file: BinaryIO) -> Any:
    """Return the format since torch 1.6.

    NAME/data.pkl, and each storage as a file NAME/data/KEY, not compressed.
    """
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
    pickles = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise Corrupt("a zip file without data.pkl")
    root = pickles[0].removesuffix("data.pkl")
    # a private copy of the mapping: tensors can be written to, and the file stays as it is
    memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)

    def region(name: str) -> Region:
        if name not in entries:
            raise Corrupt(f"no {name} in the zip file")
        return _locate(memory, entries[name])

    if f"{root}byteorder" in entries and region(f"{root}byteorder").bytes() != b"little":
        raise Corrupt("tensors in big-endian byte order")

    def storage(what: tuple[Any, ...]) -> Storage:
        kind, key, count = numbers(what)
        return Storage(kind, count, region(f"{root}data/{key}"))

    return Machine(storage).run(pickletools.genops(region(pickles[0]).bytes()))


def _locate(memory: mmap.mmap, entry: zipfile.ZipInfo) -> Region:
    """Return where an entry's bytes lie."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
        raise Corrupt(f"{entry.filename} compressed or encrypted, which torch does not do")
    head = memory[entry.header_offset : entry.header_offset + 30]
    if len(head) < 30 or head[:4] != b"PK\x03\x04":
        raise Corrupt(f"no {entry.filename} where the zip file says")
    skip = 30 + int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
    return Region(memory, entry.header_offset + skip, entry.file_size)


def _read_legacy(file: BinaryIO) -> Any:
    """Return the format before torch 1.6: pickles one after the other, then the storages' numbers."""
    start = file.read(64)
    file.seek(0)
    if not start.startswith(b"\x80"):
        raise Corrupt(_guess(start))
    pickles: Any = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # gives no room to more than is there
    first = Machine(_no_storage).run(pickletools.genops(pickles))
    if isinstance(first, dict):  # of Python alone: numbers and arrays, no tensors
        return first
    if first != _MAGIC:
        raise Corrupt("a pickle that torch did not write")
    if Machine(_no_storage).run(pickletools.genops(pickles)) != _PROTOCOL:
        raise Corrupt("a torch file of an unknown version")
    system = Machine(_no_storage).run(pickletools.genops(pickles))
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise Corrupt("tensors in big-endian byte order")
    begin = pickles.tell()
    found: dict[str, Storage] = {}

    def declared(what: tuple[Any, ...]) -> Storage:
        kind, key, count = numbers(what)
        return found.setdefault(key, Storage(kind, count, None))

    Machine(declared).run(pickletools.genops(pickles))  # which storages there are: they lie behind the pickle
    keys = Machine(_no_storage).run(pickletools.genops(pickles))
    regions = _regions(file, pickles.tell(), keys, found)

    def storage(what: tuple[Any, ...]) -> Storage:
        kind, key, count = numbers(what)
        return Storage(kind, count, regions[key])

    pickles.seek(begin)
    return Machine(storage).run(pickletools.genops(pickles))


def _regions(file: BinaryIO, place: int, keys: Any, found: Mapping[str, Storage]) -> dict[str, Region]:
    """Return where each storage lies.

    One after the other from a place on, in the order of keys, each after its length.
    """
    if not isinstance(keys, list) or set(keys) != set(found) or len(set(keys)) != len(keys):
        raise Corrupt("storages other than those that the tensors name")
    memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    regions = {}
    for key in keys:
        length = int.from_bytes(memory[place : place + 8], "little")
        if length != found[key].count:
            raise Corrupt(f"a storage of {length} numbers where {found[key].count} are declared")
        size = length * found[key].itemsize
        regions[key] = Region(memory, place + 8, size)
        place += 8 + size
    return regions


def _no_storage(what: tuple[Any, ...]) -> Storage:
    raise Corrupt("a tensor where none can be")


def _guess(start: bytes) -> str:
    if not start:
        return "an empty file"
    if start.startswith(b"PK"):
        return "the beginning of a zip file, without its end"
    if start.startswith(b"version https://git-lfs"):
        return "the note that git LFS leaves in place of a file"
    if start.lstrip()[:1] in (b"<", b"{"):
        return f"text: {start[:24]!r}"
    return f"bytes that are no torch file: {start[:8]!r}"


def _kind(contents: Any) -> str:
    return f"a {type(contents).__name__}"
