"""Files of others' weights -> tensors by name, without running anything that is in them."""

import io
import pickle
import pickletools
import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from smalti.errors import UserError

_REMEDY = "get the file anew"
# what a damaged file makes torch and pickle say, both of which call nothing that it names
_DAMAGE = (
    pickle.UnpicklingError,
    SafetensorError,
    EOFError,
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    OverflowError,
    MemoryError,
    AssertionError,
    struct.error,
)


def read_tensors(path: Path, of: str) -> dict[str, Tensor]:
    """Return the named tensors that torch.save wrote into a file, on the CPU.

    of: whose they are, for messages. Raises UserError for a file that is missing or holds something else.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as problem:
        got = problem.strerror or str(problem)
        raise UserError(f"the tensors of {of} in {path}", got, "check the path") from None
    except _DAMAGE as problem:
        got = " ".join(str(problem).split())[:120] or type(problem).__name__
        raise UserError(f"the tensors of {of} in {path}", got, _REMEDY) from None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"the tensors of {of} in {path}", f"a {type(state).__name__}", _REMEDY)
    return dict(state)


def read_arrays(path: Path, of: str) -> dict[str, Tensor]:
    """Return the arrays of a pickle of dicts of numpy arrays, by their keys joined with dots.

    of: whose they are, for messages. Raises UserError for a file that is missing or names anything else.
    """
    try:
        data = path.read_bytes()
        _check_room(data)
        tree = _Arrays(io.BytesIO(data)).load()
        return {name: torch.from_numpy(np.array(_found(array))) for name, array in _leaves(tree, "", set())}
    except OSError as problem:
        got = problem.strerror or str(problem)
        raise UserError(f"the arrays of {of} in {path}", got, "check the path") from None
    except _DAMAGE as problem:
        got = " ".join(str(problem).split())[:120] or type(problem).__name__
        raise UserError(f"the arrays of {of} in {path}", got, _REMEDY) from None


def _check_room(data: bytes) -> None:
    """UnpicklingError for a pickle that asks for more room than it has bytes: Python's own would make it."""
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in ("FRAME", "PUT", "LONG_BINPUT") and not 0 <= (argument or 0) <= len(data):
            raise pickle.UnpicklingError(f"{opcode.name} {argument} in {len(data)} bytes")


class _Arrays(pickle.Unpickler):
    """Knows the three names of which a pickle makes numpy arrays, and can call nothing else.

    Not numpy's own, which trust the state that a file gives them.
    """

    def find_class(self, module: str, name: str) -> Any:
        asked = f"{module}.{name}".removeprefix("numpy.core.").removeprefix("numpy._core.")
        if asked not in _KNOWN:
            raise pickle.UnpicklingError(f"the name {module}.{name}, which is no array")
        return _KNOWN[asked]


class _Kind:
    """The kind of an array's numbers."""

    def __init__(self, code: Any) -> None:
        if not isinstance(code, str) or not _PLAIN.fullmatch(code):
            raise pickle.UnpicklingError(f"numbers of the kind {code!r:.40}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        if state[1] not in ("<", "|", "="):
            raise pickle.UnpicklingError("numbers in big-endian byte order")


class _Array:
    """An array, once its state is set."""

    found = np.zeros(0)

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, is_fortran, data = state
        if not isinstance(kind, _Kind) or not isinstance(data, bytes):
            raise pickle.UnpicklingError("an array of objects")
        self.found = np.frombuffer(data, kind.dtype).reshape(shape, order="F" if is_fortran else "C")


class _MakeKind:
    """Makes a kind: an object without attributes, which a pickle could set."""

    __slots__ = ()

    def __call__(self, code: Any, *rest: Any) -> _Kind:
        return _Kind(code)


class _MakeArray:
    """Makes an array alike."""

    __slots__ = ()

    def __call__(self, *rest: Any) -> _Array:
        return _Array()


_KNOWN = {"multiarray._reconstruct": _MakeArray(), "numpy.ndarray": _MakeArray(), "numpy.dtype": _MakeKind()}
_PLAIN = re.compile(r"[<|=]?[biuf][1248]|\?")  # numpy's kinds of numbers


def _leaves(tree: Any, above: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Give what is no mapping, by the keys that lead there. seen: the mappings so far."""
    if not isinstance(tree, dict):
        yield above, tree
        return
    if id(tree) in seen:
        raise pickle.UnpicklingError("a mapping that stands in two places")
    seen.add(id(tree))
    for key, value in tree.items():
        yield from _leaves(value, f"{above}.{key}" if above else str(key), seen)


def _found(leaf: Any) -> Any:
    """Return the array that a leaf is, or the number."""
    return leaf.found if isinstance(leaf, _Array) else leaf
