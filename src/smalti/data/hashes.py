"""What is held out by the hash of a name: the share stays what it is when others come."""

import hashlib
from typing import Any

import numpy as np


def hash_of(name: str) -> int:
    """Return 64 bits that belong to the name of an image below its root, on every machine."""
    data = name.encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest())


def held_out(hashed: Any, share: float) -> Any:
    """Return which of images with these hashes (n uint64) are held out: n booleans.

    Where the hashes would leave one side of three or more images empty, one image changes sides.
    """
    chosen = np.zeros(len(hashed), bool)
    if share == 0 or len(hashed) < 3:
        return chosen
    chosen = hashed / 2.0**64 < share
    if not chosen.any():
        chosen[hashed.argmin()] = True
    if chosen.all():
        chosen[hashed.argmax()] = False
    return chosen


def hashes_of_rows(name: str, first: int, count: int) -> Any:
    """Return 64 bits for each row of a file, from a number on: count uint64."""
    with np.errstate(over="ignore"):  # splitmix64: products are meant to wrap around
        bits = np.arange(first, first + count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        bits = bits + np.uint64(hash_of(name))
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def digest_of(numbers: Any) -> str:
    """Return what changes when one of some numbers does."""
    return hashlib.blake2b(numbers.tobytes(), digest_size=8).hexdigest()
