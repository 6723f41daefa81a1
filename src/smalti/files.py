"""Files: paths as they are given, some of many, texts, JSON; tensors written as any other file is."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from smalti.errors import UserError, shown

T = TypeVar("T")

_TYPES = {
    "U8": np.uint8,
    "U16": np.uint16,
    "U32": np.uint32,
    "U64": np.uint64,
    "I32": np.int32,
    "I64": np.int64,
    "F64": np.float64,
}


def as_path(given: Any, name: str) -> Path:
    """Return a path given as text or as an object; UserError for anything else, and for no text at all."""
    if isinstance(given, os.PathLike | str) and str(given) and isinstance(os.fspath(given), str):
        return Path(given)
    expected = f"a path for {name}, as text or pathlib.Path"
    raise UserError(expected, shown(given), f"for example {name}='runs/first'")


def evenly(things: Sequence[T], most: int) -> list[T]:
    """Return at most so many of the things, evenly over all, in their order."""
    count = min(len(things), most)
    return [things[number * len(things) // count] for number in range(count)]


def read_texts(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Return text files of a folder by their names; UserError where one cannot be read."""
    try:
        return {name: (folder / name).read_text(encoding="utf-8") for name in names}
    except (OSError, UnicodeDecodeError) as problem:
        expected, remedy = f"{', '.join(names)} in {folder}", "copy the folder again, whole"
        raise UserError(expected, " ".join(str(problem).split()), remedy) from None


def read_json(path: Path, kinds: Any, what: str, remedy: str) -> Any:
    """Return what a JSON file holds; UserError where it is none, or holds another type than those of kinds.

    what: is expected in it, in words.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as problem:
        found = problem
    if not isinstance(found, kinds):
        raise UserError(f"a JSON file with {what}", f"{path} ({found})"[:200], remedy)
    return found


def save_tensors(
    tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file of tensors on any device, with the rights that `open` gives a new file.

    safetensors 0.8 writes a file of its own that only its owner may read, and renames it.
    """
    path.touch()
    rights = path.stat().st_mode  # asked of the file system: os.umask can be read only by changing it
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        save_file(plain, path, metadata=None if metadata is None else dict(metadata))
    except SafetensorError as problem:
        raise _as_of_system(problem, path) from None
    if path.stat().st_mode != rights:  # where it is so anyway the file system may know no rights
        path.chmod(rights)


def mapped(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the arrays of a safetensors file, mapped and not read, and its metadata.

    8 bytes of length, a JSON header, then the data. OSError, ValueError or KeyError for what is none.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            raise ValueError("no safetensors file")
        header = json.loads(file.read(length))
    arrays = {}
    for name in header.keys() - {"__metadata__"}:
        dtype, shape = _TYPES[header[name]["dtype"]], tuple(header[name]["shape"])
        offset = 8 + length + header[name]["data_offsets"][0]
        empty = 0 in shape  # which cannot be mapped
        whole = None if empty else np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape)
        arrays[name] = np.empty(shape, dtype) if whole is None else whole
    return arrays, header.get("__metadata__", {})


def _as_of_system(problem: SafetensorError, path: Path) -> Exception:
    """Return what the system said, as Python has it, where safetensors only tells of it."""
    said = re.search(r"\(os error (\d+)\)", str(problem))
    return problem if said is None else OSError(int(said[1]), os.strerror(int(said[1])), str(path))


def feed(digest: Any, tensors: Mapping[str, Tensor]) -> None:
    """Update a hash of hashlib with tensors: their names, types, shapes and values."""
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
