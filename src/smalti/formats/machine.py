"""The stack machine that a pickle is a program for, without the parts that import and call."""

import pickletools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti.formats.builders import BUILDERS, key
from smalti.formats.storages import Corrupt, Placeholder, Storage

Step = tuple[pickletools.OpcodeInfo, Any, int | None]

COPIED = 2**28  # items and letters that calls may copy: a short pickle could ask for endless copies

_MARK = object()
_VALUES = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
    "EMPTY_TUPLE": tuple,
}
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_COPIED_WHOLE = (str, list, tuple, set, frozenset, dict)
_PUT, _GET = {"PUT", "BINPUT", "LONG_BINPUT"}, {"GET", "BINGET", "LONG_BINGET"}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Machine:
    """Runs one pickle, given as steps: `pickletools.genops`.

    What it can build is listed in BUILDERS. A call of anything else gives a Placeholder with that name;
    setting an object's state does nothing, but for numpy arrays, whose state is checked first.
    """

    def __init__(self, storage: Callable[[tuple[Any, ...]], Storage]) -> None:
        """storage: gives a storage of tensors, from what the pickle says of it."""
        self._storage = storage
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._copied = 0

    def run(self, steps: Iterable[Step]) -> Any:
        """Return the object that the pickle describes.

        Raises Corrupt, or what plain Python says of nonsense.
        """
        stack, memo = self._stack, self._memo
        for opcode, argument, _ in steps:  # millions of them in a large checkpoint
            name = opcode.name
            if name in _LITERALS:
                stack.append(argument)
            elif name in _VALUES:
                stack.append(_VALUES[name])
            elif name in _EMPTY:
                stack.append(_EMPTY[name]())
            elif name in _PUT:
                memo[argument] = stack[-1]
            elif name in _GET:
                stack.append(memo[argument])
            elif name in _TUPLES:
                stack[-_TUPLES[name] :] = [tuple(_last(stack, _TUPLES[name]))]
            elif name == "STOP":
                return stack.pop()
            else:
                work = getattr(self, f"_{name.lower()}", None)
                if work is None:
                    raise Corrupt(f"the instruction {name}, which no checkpoint needs")
                work(argument)
        raise Corrupt("a pickle without its end")

    def _proto(self, argument: Any) -> None:
        """Pass over the pickle's version and its frames, which change nothing."""

    _frame = _proto

    def _mark(self, argument: Any) -> None:
        self._stack.append(_MARK)

    def _pop(self, argument: Any) -> None:
        self._stack.pop()

    def _pop_mark(self, argument: Any) -> None:
        self._since_mark()

    def _dup(self, argument: Any) -> None:
        self._stack.append(self._stack[-1])

    def _memoize(self, argument: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _tuple(self, argument: Any) -> None:
        self._stack.append(tuple(self._since_mark()))

    def _list(self, argument: Any) -> None:
        self._stack.append(self._since_mark())

    def _dict(self, argument: Any) -> None:
        items = self._since_mark()
        self._stack.append({})
        self._set(items)

    def _frozenset(self, argument: Any) -> None:
        self._stack.append(frozenset(map(key, self._since_mark())))

    def _append(self, argument: Any) -> None:
        item = self._stack.pop()
        self._extend([item])

    def _appends(self, argument: Any) -> None:
        self._extend(self._since_mark())

    def _additems(self, argument: Any) -> None:
        items = self._since_mark()
        if isinstance(self._stack[-1], set):
            self._stack[-1].update(map(key, items))

    def _setitem(self, argument: Any) -> None:
        items = _last(self._stack, 2)
        del self._stack[-2:]
        self._set(items)

    def _setitems(self, argument: Any) -> None:
        self._set(self._since_mark())

    def _global(self, argument: Any) -> None:
        self._stack.append(Placeholder(argument.replace(" ", ".", 1)))

    def _stack_global(self, argument: Any) -> None:
        module, name = _last(self._stack, 2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise Corrupt("a name that is no text")
        self._stack[-2:] = [Placeholder(f"{module}.{name}")]

    def _reduce(self, argument: Any) -> None:
        what, arguments = _last(self._stack, 2)
        if isinstance(arguments, tuple):
            self._copied += sum(len(one) for one in arguments if isinstance(one, _COPIED_WHOLE))
        if self._copied > COPIED:
            raise Corrupt("a pickle that copies without end")
        self._stack[-2:] = [_made(what, arguments)]

    _newobj = _reduce

    def _newobj_ex(self, argument: Any) -> None:
        what, _, _ = _last(self._stack, 3)
        self._stack[-3:] = [_made(what, ())]

    def _inst(self, argument: Any) -> None:
        self._since_mark()
        self._stack.append(Placeholder(argument.replace(" ", ".", 1)))

    def _obj(self, argument: Any) -> None:
        what, *_ = self._since_mark()
        self._stack.append(_made(what, None))

    def _build(self, argument: Any) -> None:
        state = self._stack.pop()
        if isinstance(self._stack[-1], np.ndarray):
            _fill(self._stack[-1], state)

    def _binpersid(self, argument: Any) -> None:
        what = self._stack.pop()
        if not isinstance(what, tuple):
            raise Corrupt("a reference that is no storage of tensors")
        self._stack.append(self._storage(what))

    def _since_mark(self) -> list[Any]:
        place = len(self._stack) - 1
        while self._stack[place] is not _MARK:
            place -= 1
        items = self._stack[place + 1 :]
        del self._stack[place:]
        return items

    def _extend(self, items: list[Any]) -> None:
        if isinstance(self._stack[-1], list):  # else an object that takes items by itself, which is not here
            self._stack[-1].extend(items)

    def _set(self, items: list[Any]) -> None:
        if isinstance(self._stack[-1], dict):
            self._stack[-1].update(zip(map(key, items[::2]), items[1::2], strict=True))


def _made(what: Any, arguments: Any) -> Any:
    """Return what a call gives: something plain for a few names, else a Placeholder of the same name."""
    if not isinstance(what, Placeholder):
        raise Corrupt(f"a call of something that has no name: {type(what).__name__}")
    if what.name in BUILDERS and isinstance(arguments, tuple):
        return BUILDERS[what.name](*arguments)
    return Placeholder(what.name)


def _fill(array: NDArray[Any], state: Any) -> None:
    """Give an array its shape, kind and numbers, if these agree."""
    _, shape, kind, is_fortran, data = state
    if not isinstance(kind, np.dtype) or not isinstance(data, bytes) or kind.hasobject:
        raise Corrupt("an array of objects")
    if any(type(side) is not int or side < 0 for side in shape):
        raise Corrupt("an array whose shape is no shape")
    if int(np.prod(shape, dtype=object)) * kind.itemsize != len(data):
        raise Corrupt(f"an array of shape {shape} in {len(data)} bytes")
    whole: Any = (1, tuple(shape), kind, bool(is_fortran), data)
    array.__setstate__(whole)


def _last(stack: list[Any], count: int) -> list[Any]:
    if len(stack) < count or any(item is _MARK for item in stack[-count:]):
        raise Corrupt("a pickle that takes more than it has put")
    return stack[-count:]
