"""Patterns in space: how much of a second colour a surface has at a place.

All of it is sums, products, floors and table look-ups, which every processor rounds alike.
"""

import hashlib
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Pattern = Literal["plain", "striped", "checkered", "spotted", "marbled"]
Places = tuple[Tensor, Tensor, Tensor]  # x, y and z of each, of one shape

_SIDE = 16  # of the table of noise, which repeats
_CUBE = (
    torch.frombuffer(bytearray(hashlib.shake_256(b"noise of scenes").digest(_SIDE**3)), dtype=torch.uint8)
    .float()
    .div_(255)
    .view(_SIDE, _SIDE, _SIDE)
)
_TABLE, _STEP = _CUBE.flatten(), (_CUBE.roll(-1, 2) - _CUBE).flatten()  # and up to the next along z


def pattern(kind: Pattern, places: Places, size: float) -> Float[Tensor, " n"] | None:
    """Return the share of the second colour at some places; None: it has none.

    size: of a stripe, a field or a spot, in the places' unit.
    """
    if kind == "plain":
        return None
    x, y, z = (part * (1 / size) for part in places)
    if kind == "striped":
        return _odd(y.floor())
    if kind == "checkered":
        return _odd(x.floor() + y.floor() + z.floor())
    if kind == "spotted":  # a ball in each cell of a lattice, where a surface meets it
        a, b, c = (part - part.floor() - 0.5 for part in (x * 0.75, y * 0.75, z * 0.75))
        return (a * a + b * b + c * c < 0.16).float()
    far = noise((x * 2.3, y * 2.3, z * 2.3))
    return ((noise((x, y, z)) * 0.65 + far * 0.35 - 0.4) * 5).clamp(0, 1)


def noise(places: Places) -> Float[Tensor, " n"]:
    """Return smooth noise from 0 to 1: a number at each whole place, and between them what lies between."""
    low = [part.floor() for part in places]
    x, y, z = (_eased(part - floor) for part, floor in zip(places, low, strict=True))
    first = [floor.long() & (_SIDE - 1) for floor in low]
    rows = [first[0] * _SIDE**2, ((first[0] + 1) & (_SIDE - 1)) * _SIDE**2]
    columns = [first[1] * _SIDE + first[2], ((first[1] + 1) & (_SIDE - 1)) * _SIDE + first[2]]
    along = []
    for at in (row + column for row in rows for column in columns):
        along.append(_TABLE.index_select(0, at) + _STEP.index_select(0, at) * z)
    left, right = (along[at] + (along[at + 1] - along[at]) * y for at in (0, 2))
    return left + (right - left) * x


def _odd(whole: Tensor) -> Tensor:
    half = whole * 0.5
    return (half - half.floor()) * 2


def _eased(share: Tensor) -> Tensor:
    return share * share * (3 - 2 * share)
