"""Files: paths as they are given, some of many, texts, JSON; tensors written as any other file is."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor

from smalti.errors import UserError, shown

T = TypeVar("T")


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
    save_file(plain, path, metadata=None if metadata is None else dict(metadata))
    if path.stat().st_mode != rights:  # where it is so anyway the file system may know no rights
        path.chmod(rights)


def feed(digest: Any, tensors: Mapping[str, Tensor]) -> None:
    """Update a hash of hashlib with tensors: their names, types, shapes and values."""
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
