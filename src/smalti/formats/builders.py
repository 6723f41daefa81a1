"""What a checkpoint's pickle may build: each name with the plain function that stands for it."""

import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smalti.formats.storages import Corrupt, Placeholder, Storage

_SCALARS = (str, bytes, int, float, bool, type(None), Placeholder, np.generic)
_PLAIN = re.compile(
    r"[<|=]?([biufc]\d{1,2}|\?|[SU][1-9]\d{0,8})"
)  # numpy's kinds without objects, little-endian


def key(value: Any) -> Any:
    """Return the value, if it can be a key: tuples in tuples would take exponential time to hash."""
    flat = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(part, _SCALARS) for part in flat):
        raise Corrupt(f"a key that is a {type(value).__name__}")
    return value


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Tensor | Placeholder:
    if not isinstance(storage, Storage) or not isinstance(size, tuple) or not isinstance(stride, tuple):
        raise Corrupt("a tensor without a storage")
    return storage.view(offset, size, stride)


def _tensor_of_kind(
    storage: Any, offset: Any, size: Any, stride: Any, gradient: Any, hooks: Any, kind: Any, *rest: Any
) -> Tensor | Placeholder:
    """Return the newest form: bytes, and what to read them as."""
    name = kind.name.removeprefix("torch.") if isinstance(kind, Placeholder) else ""
    dtype = getattr(torch, name) if name in _KINDS else None
    if not isinstance(storage, Storage) or not isinstance(size, tuple) or not isinstance(stride, tuple):
        raise Corrupt("a tensor without a storage")
    if dtype is None:
        raise Corrupt(f"a tensor of the kind {name or 'unknown'}")
    return storage.view(offset, size, stride, dtype)


def _parameter(data: Any, *rest: Any) -> Any:
    """Return the tensor: what else a parameter is, its module knows."""
    return data


def _mapping(*arguments: Any) -> dict[Any, Any]:
    pairs: Iterable[Any] = arguments[-1] if arguments and not isinstance(arguments[-1], Placeholder) else ()
    return {key(name): value for name, value in (pairs.items() if isinstance(pairs, dict) else pairs)}


def _sequence(kind: Callable[[Iterable[Any]], Any]) -> Callable[..., Any]:
    def build(items: Any = ()) -> Any:
        if not isinstance(items, list | tuple | set | frozenset):
            raise Corrupt("a container of no items")
        return kind(items)

    return build


def _hashed(kind: Callable[[Iterable[Any]], Any]) -> Callable[..., Any]:
    return _sequence(lambda items: kind(map(key, items)))


def _dtype(code: Any, *rest: Any) -> np.dtype[Any] | Placeholder:
    """Return a kind of plain numbers.

    A Placeholder for others, with which no array and no number can be built.
    """
    if not isinstance(code, str) or not _PLAIN.fullmatch(code):
        return Placeholder("numpy.dtype")
    return np.dtype(code)


def _scalar(kind: Any, data: Any = b"") -> Any:
    if not isinstance(kind, np.dtype) or not isinstance(data, bytes) or kind.itemsize != len(data):
        return Placeholder("numpy.generic")
    return np.frombuffer(data, kind)[0] if data else Placeholder("numpy.generic")


def _array(*rest: Any) -> NDArray[Any]:
    """Return an empty one: the state that follows fills it."""
    return np.zeros(0)


def _encode(text: Any, coding: Any = "utf-8") -> bytes:
    """Return bytes, as pickles of version 2 write them."""
    if not isinstance(text, str) or coding not in ("latin1", "latin-1", "utf-8", "ascii"):
        raise Corrupt("text in an unknown coding")
    return text.encode(coding)


_KINDS = {
    *("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "complex64", "complex128"),
    *("int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64", "bool"),
}

BUILDERS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_kind,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.Size": _sequence(tuple),
    "collections.OrderedDict": _mapping,
    "collections.defaultdict": _mapping,
    "_codecs.encode": _encode,
    "numpy.dtype": _dtype,
    **{
        f"{package}.multiarray.{name}": build
        for package in ("numpy.core", "numpy._core")
        for name, build in {"scalar": _scalar, "_reconstruct": _array}.items()
    },
    **{
        f"{package}.{name}": build
        for package in ("builtins", "__builtin__")
        for name, build in {
            "dict": _mapping,
            "list": _sequence(list),
            "tuple": _sequence(tuple),
            "set": _hashed(set),
            "frozenset": _hashed(frozenset),
        }.items()
    },
}
