"""Every order lays each cell of a grid once, and the way back is the way back."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from smalti.errors import UserError
from smalti.orders import ORDERS, inverse, order

SIDES = st.integers(1, 17)


def is_defined(name, height, width):
    square, powers = height == width, {1, 2, 4, 8, 16}
    return {
        "subsample": square and height in powers,
        "z_curve": height in powers and width in (height, 2 * height),
        "spiral_out": square and (height == 1 or height % 2 == 0),
        "spiral_in": square and (height == 1 or height % 2 == 0),
    }.get(name, True)


@given(name=st.sampled_from(list(ORDERS)), height=SIDES, width=SIDES)
def test_a_permutation_and_its_inverse_or_an_error(name, height, width):
    if not is_defined(name, height, width):
        with pytest.raises(
            UserError, match=f"{name}.* squares .*got {height} x {width} cells; choose order=row"
        ):
            order(name, height, width)
        return
    laid, cells = order(name, height, width), torch.arange(height * width)
    assert laid.dtype is torch.int64
    assert laid.sort().values.equal(cells)
    assert laid[inverse(laid)].equal(cells)
    assert order(name, height, width).equal(laid)


@given(name=st.sampled_from(list(ORDERS)), depth=st.integers(1, 4))
def test_every_order_is_there_for_the_common_grids(name, depth):
    assert len(order(name, 2**depth, 2**depth)) == 4**depth


@given(half=st.integers(1, 8))
def test_spirals_go_from_cell_to_neighbour(half):
    side = 2 * half
    laid = order("spiral_out", side, side)
    steps = torch.stack((laid // side, laid % side)).diff().abs().sum(0)
    assert steps.eq(1).all()
    assert order("spiral_in", side, side).equal(laid.flip(0))


@given(depth=st.integers(1, 4))
def test_subsample_begins_with_every_second_cell(depth):
    side = 2**depth
    first = order("subsample", side, side)[: side * side // 4]
    assert not (first // side % 2).any()
    assert not (first % side % 2).any()


def test_unknown_order():
    with pytest.raises(UserError, match="got 'diagonal'; one of row, "):
        order("diagonal", 4, 4)
