"""In which order the cells of a grid are generated: a permutation of their row-major numbers."""

from collections.abc import Callable, Iterable
from math import isqrt

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from smalti.errors import UserError


def order(name: str, h: int, w: int) -> Int64[Tensor, " n"]:
    """Return the permutation p of a grid of h x w cells: sequence = row_major[p].

    UserError for an unknown name, and for a grid for which the order is not defined.
    """
    if name not in ORDERS:
        raise UserError("the name of an order", repr(name), f"one of {', '.join(ORDERS)}")
    with torch.device("cpu"):  # numbers that Python reads, also where a model is built without any
        return ORDERS[name](h, w)


def inverse(permutation: Int64[Tensor, " n"]) -> Int64[Tensor, " n"]:
    """Return the way back: row_major = sequence[inverse(p)]."""
    return permutation.argsort()


def row(h: int, w: int) -> Int64[Tensor, " n"]:
    """Order row by row, each from left to right."""
    return torch.arange(h * w)


def alternate(h: int, w: int) -> Int64[Tensor, " n"]:
    """Order row by row, even rows from left to right and odd ones back."""
    cells = row(h, w).view(h, w)
    cells[1::2] = cells[1::2].flip(1)
    return cells.flatten()


def random(h: int, w: int) -> Int64[Tensor, " n"]:
    """Return an arbitrary order, the same in every run: numpy's RandomState(1), as in the 2021 code."""
    return torch.from_numpy(np.random.RandomState(1).permutation(h * w)).long()


def z_curve(h: int, w: int) -> Int64[Tensor, " n"]:
    """Order by Morton code: quarters one after the other, each of them in quarters again."""
    if not (_is_power_of_two(h) and w in (h, 2 * h)):
        raise _undefined("z_curve", "squares of side 1, 2, 4, 8, ..., alone or two side by side", h, w)
    return _interleaved(h, w, powers=range(w.bit_length())).argsort()


def subsample(h: int, w: int) -> Int64[Tensor, " n"]:
    """Order from coarse to fine.

    Every second cell both ways first, in this order again, then those between.
    """
    if not (_is_power_of_two(h) and h == w):
        raise _undefined("subsample", "squares of side 1, 2, 4, 8, ...", h, w)
    return _interleaved(h, w, powers=reversed(range(h.bit_length() - 1))).argsort()


def spiral_out(h: int, w: int) -> Int64[Tensor, " n"]:
    """Order from the middle outwards: up, right, down, left in legs that grow."""
    if h != w or (h % 2 and h > 1):
        raise _undefined("spiral_out or spiral_in", "squares of even side or of side 1", h, w)
    i, j = h // 2, max(h // 2 - 1, 0)
    path = [(i, j)]
    legs = [direction for direction in range(2 * h) for _ in range(direction // 2 + 1)]
    for direction in legs[: h * w - 1]:  # the last leg ends at the corner
        i, j = i + (-1, 0, 1, 0)[direction % 4], j + (0, 1, 0, -1)[direction % 4]
        path.append((i, j))
    return torch.tensor([i * w + j for i, j in path])


def spiral_in(h: int, w: int) -> Int64[Tensor, " n"]:
    """Order from the border inwards: spiral_out backwards."""
    return spiral_out(h, w).flip(0)


def _is_power_of_two(side: int) -> bool:
    return side > 0 and side & (side - 1) == 0


def _interleaved(h: int, w: int, powers: Iterable[int]) -> Tensor:
    """Return a key a cell.

    Digits to base 4, each of one bit of the row and one of the column, bit 0 first.
    """
    cells = row(h, w)
    keys = torch.zeros_like(cells)
    for bit, power in enumerate(powers):
        keys += (2 * (cells // w >> bit & 1) + (cells % w >> bit & 1)) * 4**power
    return keys


def _undefined(name: str, grids: str, h: int, w: int) -> UserError:
    side = 1 << max(isqrt(h * w).bit_length() - 1, 0)  # every order is defined for its square
    remedy = f"choose order=row, or for example a grid of {side} x {side} cells"
    return UserError(f"for the order {name} a grid that is one of the {grids}", f"{h} x {w} cells", remedy)


ORDERS: dict[str, Callable[[int, int], Int64[Tensor, " n"]]] = {
    "row": row,
    "subsample": subsample,
    "z_curve": z_curve,
    "spiral_out": spiral_out,
    "spiral_in": spiral_in,
    "random": random,
    "alternate": alternate,
}
