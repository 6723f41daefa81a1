"""What is held out by the hash of a name: the share stays what it is when others come."""

import hashlib
from typing import Any

import numpy as np


def of_name(name: str) -> int:
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
