"""Bad inputs: bytes, texts and plain values, changed as a function of a number that a failure names."""

import copy
import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

_NUMBERS = (0, 1, 2, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
_VALUES = (
    *(None, True, False, 0, 1, -1, 2, 7, 2**31, 2**63, 2**64, -(2**63), 10**30, 0.5, -0.5, 1e308, 1e-308),
    *(math.nan, math.inf, -math.inf),
    *("", " ", "a", "0", "-1", "nan", "../../etc", "a/b", "\x00", "\ud800", "é\u202e\n", "x" * 3000, "kind"),
    *([], {}, [[]], [None], [0, 0], {"": 0}, {"kind": "vq"}, {"kind": None}, ["a", 1], [1.5, "x"]),
)
_SIGNS = "=.:{}[]'\"\\,#&*!|>-%@`?/ \t\n\x00\u2028\ufeff"


def chance(subject: str, number: int) -> random.Random:
    """The draws of an input: the same for the same number, whatever the machine."""
    return random.Random(f"{subject} {number}")


def changed_bytes(rng: random.Random, given: bytes, others: Sequence[bytes] = ()) -> bytes:
    """Bytes with one to four changes, most of them near an end, where headers and tables lie."""
    found = given
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        found = _edit(rng, found, others)
    return found


def cut(given: bytes) -> Iterator[bytes]:
    """Bytes cut off at every place."""
    return (given[:length] for length in range(len(given)))


def changed_text(rng: random.Random, given: str) -> str:
    """A text with one to four changes of characters or lines."""
    found = given
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(found) + 1)
        end = min(at + rng.choice((1, 1, 3, 20)), len(found))
        way = rng.randrange(5)
        if way == 0:
            found = found[:at] + found[end:]
        elif way == 1:
            found = found[:at] + rng.choice(_SIGNS) * rng.choice((1, 1, 2, 400)) + found[at:]
        elif way == 2:
            found = found[:at] + found[at:end] * 2 + found[end:]
        elif way == 3:
            found = found[:at] + _word(rng) + found[end:]
        else:
            lines = found.split("\n")
            lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
            found = "\n".join(lines)
    return found


def changed_value(rng: random.Random, given: Any) -> Any:
    """A plain value of dicts and lists with one to three parts changed."""
    found = copy.deepcopy(given)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = list(_places(found))
        if not places:
            return odd(rng)
        holder, key = rng.choice(places)
        way = rng.randrange(8)
        if way == 0:
            del holder[key]
        elif way == 1 and isinstance(holder, dict):
            holder[_word(rng)] = holder.pop(key)
        elif way == 2 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        elif way == 3:
            other, at = rng.choice(places)
            with_other = copy.deepcopy(other[at]) if at in _keys(other) else odd(rng)
            holder[key] = with_other
        elif way == 4 and isinstance(holder[key], int | float):
            holder[key] = _near(rng, holder[key])
        elif way == 5:
            holder[key] = [holder[key]]
        else:
            holder[key] = odd(rng)
    return found


def odd(rng: random.Random) -> Any:
    """A value that is seldom asked for."""
    if rng.random() < 0.03:
        return deep(rng.choice((30, 300)))
    return copy.deepcopy(rng.choice(_VALUES))


def deep(levels: int) -> Any:
    """Lists in lists."""
    found: Any = 1
    for _ in range(levels):
        found = [found]
    return found


def as_json(rng: random.Random, given: Any) -> bytes:
    """A plain value changed, or its text changed, as a JSON file holds it."""
    if rng.random() < 0.75:
        return json.dumps(changed_value(rng, given)).encode()
    return changed_bytes(rng, json.dumps(given).encode())


def soup(rng: random.Random, words: Sequence[Callable[[random.Random], bytes]], most: int) -> bytes:
    """Words of a language in any order."""
    return b"".join(rng.choice(words)(rng) for _ in range(rng.randrange(1, most)))


def _edit(rng: random.Random, given: bytes, others: Sequence[bytes]) -> bytes:
    if not given:
        return bytes([rng.randrange(256)])
    at = _place(rng, len(given))
    way = rng.randrange(9)
    if way == 0:
        return given[:at]
    if way in (1, 2):
        return given[:at] + bytes([given[at] ^ (1 << rng.randrange(8))]) + given[at + 1 :]
    if way == 3:
        return (
            given[:at] + bytes([rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))]) + given[at + 1 :]
        )
    if way in (4, 5):
        size = rng.choice((2, 4, 8))
        number = rng.choice(_NUMBERS) % 2 ** (8 * size)
        return given[:at] + number.to_bytes(size, rng.choice(("little", "big"))) + given[at + size :]
    end = at + rng.choice((1, 4, 16, 100))
    if way == 6:
        return given[:at] + given[end:]
    if way == 7:
        return given[:at] + given[at:end] * 2 + given[end:]
    other = rng.choice(others) if others else given
    start = _place(rng, len(other)) if other else 0
    return given[:at] + other[start : start + end - at] + given[end:]


def _place(rng: random.Random, length: int) -> int:
    """A place: near the beginning, near the end, anywhere."""
    near = min(int(rng.expovariate(1 / 60)), length - 1)
    return rng.choice((near, near, length - 1 - near, rng.randrange(length)))


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key in _keys(value):
        yield value, key
        yield from _places(value[key])


def _keys(value: Any) -> list[Any]:
    return (
        list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    )


def _near(rng: random.Random, number: float) -> Any:
    if isinstance(number, float) and not math.isfinite(number):
        return 0
    return rng.choice(
        (-number, number + 1, number - 1, number * 2, number * 1000, number / 2, float(number), str(number))
    )


def _word(rng: random.Random) -> str:
    value = odd(rng)
    return value if isinstance(value, str) else str(value)[:60]
