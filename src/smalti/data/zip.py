"""Images in zip files, stored or deflated, with classes by their folders; read without unpacking."""

import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from smalti.config import settings
from smalti.data.archives import Archives, ArchiveSettings
from smalti.data.index import Found
from smalti.errors import UserError

_HEADER = struct.Struct("<4s22xHH")  # before a file's data: a mark, then lengths of its name and of more


@settings
class ZipSettings(ArchiveSettings):
    """See ArchiveSettings."""

    kind: Literal["zip"] = "zip"


class Zip(Archives):
    """The images of zip files; see Archives."""

    suffixes = (".zip",)

    @classmethod
    def scan(cls, path: Path) -> Iterator[Found]:
        """See Archives."""
        whole = f"a whole zip file: {path}"
        try:
            with path.open("rb") as file, zipfile.ZipFile(file) as packed:
                for info in packed.infolist():
                    if not info.is_dir():
                        yield _found(file, info, path)
        except (zipfile.BadZipFile, struct.error, NotImplementedError, ValueError) as problem:
            remedy = "copy it again: it was cut off or damaged, or is being written"
            raise UserError(whole, str(problem), remedy) from None


def _found(file: Any, info: zipfile.ZipInfo, path: Path) -> Found:
    deflated = info.compress_type == zipfile.ZIP_DEFLATED
    if info.flag_bits & 1 or not (deflated or info.compress_type == zipfile.ZIP_STORED):
        how = "encrypted" if info.flag_bits & 1 else f"compressed by method {info.compress_type}"
        got = f"{path}: {info.filename}, {how}"
        raise UserError("files that are stored or deflated", got, "pack it anew, by zip")
    file.seek(info.header_offset)
    mark, name, more = _HEADER.unpack(file.read(_HEADER.size))
    if mark != b"PK\3\4":
        raise zipfile.BadZipFile(f"{info.filename} is not where it should be")
    offset = info.header_offset + _HEADER.size + name + more
    return Found(info.filename.lstrip("/"), offset, info.compress_size, info.file_size, deflated)
