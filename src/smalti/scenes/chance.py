"""Chance that belongs to some numbers: the same on every machine and in every version of Python."""

import hashlib
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Chance:
    """Draws in a row. Made of `Random.random` alone, which is all that Python keeps between its versions."""

    def __init__(self, *numbers: int | str) -> None:
        """numbers: to which the draws belong, and to no others in practice."""
        text = ",".join(map(str, numbers)).encode()
        self._next = random.Random(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())).random

    def between(self, least: float, most: float) -> float:
        """Return a number between two, all alike likely."""
        return least + (most - least) * self._next()

    def whole(self, least: int, most: int) -> int:
        """Return a whole number from least to most, both included."""
        return least + int((most - least + 1) * self._next())

    def happens(self, share: float) -> bool:
        """Return whether something happens that does so in this share of cases."""
        return self._next() < share

    def pick(self, things: Sequence[T]) -> T:
        """Return one of some things."""
        return things[int(len(things) * self._next())]
