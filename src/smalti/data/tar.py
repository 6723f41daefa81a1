"""Images in tar files, as WebDataset lays them: 000001.jpg, and beside it 000001.cls, .txt or .json."""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from smalti.config import settings
from smalti.data.archives import Archives, ArchiveSettings
from smalti.data.index import Found
from smalti.errors import UserError

_BLOCK = 512  # bytes: two of zeros end a tar


@settings
class TarSettings(ArchiveSettings):
    """See ArchiveSettings."""

    kind: Literal["tar"] = "tar"


class Tar(Archives):
    """The images of tar files; see Archives. Of one key each file lies anywhere in the same tar."""

    suffixes = (".tar",)

    @classmethod
    def scan(cls, path: Path) -> Iterator[Found]:
        """See Archives."""
        whole = f"a whole tar, not compressed: {path}"
        try:
            with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
                while (info := tar.next()) is not None:
                    getattr(tar, "members").clear()  # noqa: B009  # it would hold all of them
                    if info.isreg() and not info.issparse():
                        yield Found(_plain(info.name), info.offset_data, info.size, info.size)
                    elif not info.isdir():
                        remedy = "pack files alone: tar --dereference --hard-dereference"
                        raise UserError(whole, f"a link or another special file, {info.name}", remedy)
                _check_end(file, tar.offset)
        except (tarfile.TarError, EOFError, ValueError) as problem:
            program = kind(path)
            got = f"one compressed by {program}" if program else str(problem)
            remedy = f"unpack it by {program} -d, once: images are found by where they lie in it"
            if not program:
                remedy = "copy it again: it was cut off or damaged, or is being written"
            raise UserError(whole, got, remedy) from None


def _plain(name: str) -> str:
    return name.removeprefix("./").lstrip("/")


def _check_end(file: Any, end: int) -> None:
    """Raise ReadError where no end is marked behind the last file: tarfile stops at damage in silence."""
    file.seek(end)
    block = file.read(_BLOCK)
    if len(block) < _BLOCK:
        raise tarfile.ReadError(f"no end after byte {end}")
    if block.strip(b"\0"):
        raise tarfile.ReadError(f"no header at byte {end}")
    while more := file.read(2**20):
        if more.strip(b"\0"):
            raise tarfile.ReadError(f"more behind its end at byte {end}, as where two were joined by cat")


def kind(path: Path) -> str:
    """Return the program that compressed a file, by how it begins; "" for none."""
    with path.open("rb") as file:
        begin = file.read(6)
    known = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"(\xb5/\xfd": "zstd"}
    return next((program for magic, program in known.items() if begin.startswith(magic)), "")
