"""Rotary positions in two dimensions: attention sees how many rows and columns two cells lie apart."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def turns(
    cells: tuple[tuple[int, int], ...], *, prefix_length: int, width: int, base: float
) -> tuple[Float[Tensor, "t 2 1 e"], Float[Tensor, "t 2 1 e"]]:
    """Return cosines and signed sines for `rotate`, for every place of a prefix and the codes of cells.

    A place's query (0 of the axis of 2) stands at the cell that is asked for there, its key (1) at the cell
    whose code it holds; positions of the prefix hold, and but for the last ask, nothing: no turn. The first
    half of the pairs of channels turns by row, the second by column, pair i of a half of p by
    base ** (-i / p) radians a cell (arXiv:2104.09864, once for each axis).

    width: channels of a head, a multiple of 4.
    """
    nothing = ((0, 0),)
    asked = torch.tensor(nothing * (prefix_length - 1) + cells)
    held = torch.tensor(nothing * prefix_length + cells[:-1])
    return _turns(torch.stack((asked, held), 1), width, base)


def turns_where_held(
    cells: tuple[tuple[int, int], ...], *, prefix_length: int, width: int, base: float
) -> tuple[Float[Tensor, "t 2 1 e"], Float[Tensor, "t 2 1 e"]]:
    """Return what `turns` does, but a place's query stands where its key stands.

    At the cell whose code the place holds.

    Places of the prefix get zeros: `rotate` makes their queries and keys vanish, so that they attend evenly
    and are seen with a score of 0 (the public code of arXiv:2406.06525).
    """
    held = torch.tensor(((0, 0),) * prefix_length + cells[:-1])
    cosines, sines = _turns(held[:, None].expand(-1, 2, -1), width, base)
    cosines[:prefix_length] = 0.0
    sines[:prefix_length] = 0.0
    return cosines, sines


def turns_of(
    cells: Int64[Tensor, "t 2"], *, width: int, base: float
) -> tuple[Float[Tensor, "t 2 1 e"], Float[Tensor, "t 2 1 e"]]:
    """Return what `turns` does, for positions without prefix whose query and key stand at their cell."""
    return _turns(cells[:, None].expand(-1, 2, -1), width, base)


def rotate(
    x: Float[Tensor, "b t 2 k e"], cosines: Float[Tensor, "*b t 2 1 e"], sines: Float[Tensor, "*b t 2 1 e"]
) -> Float[Tensor, "b t 2 k e"]:
    """Turn each pair (a, b) of adjacent channels to (a cos - b sin, b cos + a sin)."""
    swapped = x.view(*x.shape[:-1], -1, 2).flip(-1).flatten(-2)
    return x * cosines + swapped * sines


def _turns(positions: Tensor, width: int, base: float) -> tuple[Tensor, Tensor]:
    """Return cosines and signed sines for positions t 2 2: query or key, row or column."""
    speeds = base ** -(torch.arange(width // 4, device=positions.device) / (width // 4))
    angles = positions[..., None] * speeds  # t 2 2 p
    angles = angles.flatten(2).repeat_interleave(2, -1)[:, :, None]  # t 2 1 e
    signs = torch.arange(width, device=positions.device) % 2 * 2 - 1  # -1, 1, -1, 1, ...
    return angles.cos(), angles.sin() * signs
