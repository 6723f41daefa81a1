"""In which order the cells of a grid are laid: a permutation of their row-major numbers."""

from collections.abc import Callable
from math import isqrt

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from smalti.errors import UserError


def order(name: str, h: int, w: int) -> Int64[Tensor, " n"]:
    """The permutation p of a grid of h x w cells: sequence = row_major[p].

    UserError for an unknown name, and for a grid for which the order is not defined.
    """
    if name not in ORDERS:
        raise UserError("the name of an order", repr(name), f"one of {', '.join(ORDERS)}")
    return ORDERS[name](h, w)


def inverse(permutation: Int64[Tensor, " n"]) -> Int64[Tensor, " n"]:
    """The way back: row_major = sequence[inverse(p)]."""
    return permutation.argsort()


def row(h: int, w: int) -> Int64[Tensor, " n"]:
    """Row by row, each from left to right."""
    return torch.arange(h * w)


def alternate(h: int, w: int) -> Int64[Tensor, " n"]:
    """Row by row, even rows from left to right and odd ones back."""
    cells = row(h, w).view(h, w)
    cells[1::2] = cells[1::2].flip(1)
    return cells.flatten()


def random(h: int, w: int) -> Int64[Tensor, " n"]:
    """An arbitrary order, the same in every run: numpy's RandomState(1), as in the 2021 code."""
    return torch.from_numpy(np.random.RandomState(1).permutation(h * w)).long()


def z_curve(h: int, w: int) -> Int64[Tensor, " n"]:
    """By Morton code: quarters one after the other, each of them in quarters again."""
    if not (_is_power_of_two(h) and w in (h, 2 * h)):
        raise _undefined("z_curve", "squares of side 1, 2, 4, 8, ... and two of them side by side", h, w)
    rows, columns = _places(h, w)
    bits = range(w.bit_length())
    return sum(_bit(columns, at) * 4**at + _bit(rows, at) * 2 * 4**at for at in bits).argsort()


def subsample(h: int, w: int) -> Int64[Tensor, " n"]:
    """From coarse to fine: every second cell both ways first, in this order again, then those between."""
    if not (_is_power_of_two(h) and h == w):
        raise _undefined("subsample", "squares of side 1, 2, 4, 8, ...", h, w)
    rows, columns = _places(h, w)
    depth = h.bit_length() - 1  # the lowest bits decide first
    keys = [(2 * _bit(rows, at) + _bit(columns, at)) * 4 ** (depth - 1 - at) for at in range(depth)]
    return sum(keys, torch.zeros(h * w, dtype=torch.int64)).argsort()


def spiral_out(h: int, w: int) -> Int64[Tensor, " n"]:
    """From the middle outwards: up, right, down, left in legs that grow."""
    if h != w or (h % 2 and h > 1):
        raise _undefined("spiral_out and spiral_in", "squares of even side, and 1 x 1", h, w)
    i, j = h // 2, max(h // 2 - 1, 0)
    path = [(i, j)]
    legs = [direction for direction in range(2 * h) for _ in range(direction // 2 + 1)]
    for direction in legs[: h * w - 1]:  # the last leg ends at the corner
        i, j = i + (-1, 0, 1, 0)[direction % 4], j + (0, 1, 0, -1)[direction % 4]
        path.append((i, j))
    return torch.tensor([i * w + j for i, j in path])


def spiral_in(h: int, w: int) -> Int64[Tensor, " n"]:
    """From the border inwards: spiral_out backwards."""
    return spiral_out(h, w).flip(0)


def _is_power_of_two(side: int) -> bool:
    return side > 0 and side & (side - 1) == 0


def _places(h: int, w: int) -> tuple[Tensor, Tensor]:
    return row(h, w) // w, row(h, w) % w


def _bit(numbers: Tensor, at: int) -> Tensor:
    return numbers >> at & 1


def _undefined(name: str, grids: str, h: int, w: int) -> UserError:
    remedy = f"choose order=row, or for example a grid of {_near(h, w)} x {_near(h, w)}"
    return UserError(
        f"for the order {name} a grid of cells that it is defined for: {grids}", f"{h} x {w}", remedy
    )


def _near(h: int, w: int) -> int:
    """A power of two near the grid's side: every order is defined for its square."""
    return 1 << max(isqrt(h * w).bit_length() - 1, 0)


ORDERS: dict[str, Callable[[int, int], Int64[Tensor, " n"]]] = {
    "row": row,
    "subsample": subsample,
    "z_curve": z_curve,
    "spiral_out": spiral_out,
    "spiral_in": spiral_in,
    "random": random,
    "alternate": alternate,
}
