"""How quickly a folder takes files, and gives them back as they were."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

from smalti import memory
from smalti.doctor.protocol import Asked, Finding, judged

SIZE, PART = 64 * 2**20, 2**20  # bytes that are written; at one go
SLOW = 50 * 2**20  # bytes a second: a checkpoint of 100 million weights then takes half a minute


def disk_speed(asked: Asked) -> Iterator[Finding]:
    """Give a line for writing, until it lies on the disk, and one for reading."""
    part = os.urandom(PART)  # that no disk can press together
    with tempfile.TemporaryDirectory(dir=asked.folder, prefix=".smalti-doctor-") as folder:
        path = Path(folder) / "file"
        try:
            written = _write(path, part)
        except OSError as problem:
            remedy = "--out FOLDER on another disk"
            yield judged(f"writing into {asked.folder}", str(problem), remedy, right=False)
            return
        equal, read = _read(path, part)
    slow = "runs on a quicker disk; a larger checkpoint_every"
    value = f"{memory.size_of(int(written))} a second, until it lies there"
    yield judged(f"writing into {asked.folder}", value, slow, quick=written >= SLOW)
    value = f"{memory.size_of(int(read))} a second" if equal else "other bytes than were written"
    slow = "data on a quicker disk, or as token shards: smalti encode" if equal else "another disk"
    yield judged("reading from there", value, slow, right=equal, quick=read >= SLOW)


def _write(path: Path, part: bytes) -> float:
    began = perf_counter()
    with path.open("wb") as file:
        for _ in range(SIZE // PART):
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
    return SIZE / (perf_counter() - began)


def _read(path: Path, part: bytes) -> tuple[bool, float]:
    """Return whether all is as it was written, and bytes a second."""
    with path.open("rb", buffering=0) as file:
        if hasattr(os, "posix_fadvise"):  # else the system gives what it still has in memory
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        began, equal = perf_counter(), True
        for _ in range(SIZE // PART):
            equal = file.read(PART) == part and equal
    return equal, SIZE / (perf_counter() - began)
