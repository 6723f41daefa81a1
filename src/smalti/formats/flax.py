"""Flax's files: a tree of tensors in MessagePack, read without JAX. Nothing in such a file can run."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from smalti.errors import UserError

_ARRAY, _SCALAR = 1, 3  # flax's extension types; 2 is a complex number, which no weights are
_KINDS = {
    "float64": torch.float64,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "int64": torch.int64,
    "int32": torch.int32,
    "uint8": torch.uint8,
}
_CHUNKED = "__msgpack_chunked_array__"  # the mark of a tensor that is too large for one piece


class Corrupt(ValueError):
    """A file that contradicts itself."""


def read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file, by the names of the tree's branches with dots between.

    Raises UserError for a file that is truncated, contradicts itself or holds anything else than tensors.
    """
    import msgpack  # only where such a file is read

    try:
        tree = msgpack.unpackb(path.read_bytes(), raw=False, strict_map_key=True, ext_hook=_tensor)
        return dict(_flat(tree, ""))
    except OSError as problem:
        raise UserError(f"the file {path}", problem.strerror or str(problem), "check the path") from None
    except (ValueError, RecursionError, msgpack.UnpackException) as problem:
        got = " ".join(str(problem).split())[:160] or type(problem).__name__
        remedy = "the file is damaged or incomplete, or of another kind: get it anew"
        raise UserError(f"a whole flax file of tensors in {path}", got, remedy) from None


def _tensor(code: int, data: bytes) -> Tensor:
    """Return an array as flax packs it: its shape, the name of its numbers' kind, and their bytes."""
    import msgpack

    if code not in (_ARRAY, _SCALAR):
        raise Corrupt(f"an extension of type {code}, which is no tensor")
    what = msgpack.unpackb(data, raw=False, strict_map_key=True)
    if not isinstance(what, list) or len(what) != 3 or not isinstance(what[2], bytes):
        raise Corrupt("an array without a shape, a kind of numbers and their bytes")
    shape, kind = _shape(what[0]), what[1]
    if not isinstance(kind, str) or kind not in _KINDS:
        raise Corrupt(f"numbers of the kind {kind!r:.40}")
    needed = math.prod(shape) * _KINDS[kind].itemsize
    if len(what[2]) != needed:
        raise Corrupt(f"{len(what[2])} bytes for an array {shape} of {kind}, which takes {needed}")
    if not needed:
        return torch.empty(shape, dtype=_KINDS[kind])
    return torch.frombuffer(bytearray(what[2]), dtype=_KINDS[kind]).view(shape)


def _flat(tree: Any, name: str) -> list[tuple[str, Tensor]]:
    if isinstance(tree, Tensor):
        return [(name, tree)]
    if not isinstance(tree, Mapping):
        raise Corrupt(f"{name or 'the top'} is a {type(tree).__name__}, neither a tensor nor a branch")
    if tree.get(_CHUNKED):
        return [(name, _joined(tree))]
    branches = [(f"{name}.{key}" if name else str(key), branch) for key, branch in tree.items()]
    return [leaf for path, branch in branches for leaf in _flat(branch, path)]


def _joined(tree: Mapping[str, Any]) -> Tensor:
    """Return a tensor of several pieces, numbered from "0", each flat.

    So is its shape a mapping by number.
    """
    shape, pieces = (_in_order(tree.get(key)) for key in ("shape", "chunks"))
    if not pieces or not all(isinstance(piece, Tensor) for piece in pieces):
        raise Corrupt("a tensor in pieces without its pieces")
    whole = torch.cat([piece.flatten() for piece in pieces])
    if whole.numel() != math.prod(_shape(shape)):
        raise Corrupt(f"pieces of {whole.numel()} numbers for a tensor {shape}")
    return whole.view(_shape(shape))


def _in_order(numbered: Any) -> list[Any]:
    if not isinstance(numbered, Mapping) or sorted(numbered) != sorted(map(str, range(len(numbered)))):
        raise Corrupt("a tensor in pieces that are not numbered")
    return [numbered[str(number)] for number in range(len(numbered))]


def _shape(sides: Any) -> tuple[int, ...]:
    if not isinstance(sides, list) or not all(type(side) is int and side >= 0 for side in sides):
        raise Corrupt(f"the shape {sides!r:.40}")
    return tuple(sides)
