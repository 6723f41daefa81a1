"""Every order lays each cell of a grid once, and the way back is the way back."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from smalti.errors import UserError
from smalti.orders import ORDERS, inverse, order

SIDES = st.integers(1, 17)
KNOWN = {  # on 4 x 4 cells, as in the 2021 code
    "row": "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15",
    "subsample": "0 2 8 10 1 3 9 11 4 6 12 14 5 7 13 15",
    "z_curve": "0 1 4 5 2 3 6 7 8 9 12 13 10 11 14 15",
    "spiral_out": "9 5 6 10 14 13 12 8 4 0 1 2 3 7 11 15",
    "spiral_in": "15 11 7 3 2 1 0 4 8 12 13 14 10 6 5 9",
    "random": "3 13 7 2 6 10 4 1 14 0 15 9 8 12 11 5",
    "alternate": "0 1 2 3 7 6 5 4 8 9 10 11 15 14 13 12",
}


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


@pytest.mark.parametrize("name", ORDERS)
def test_known_orders(name):
    assert order(name, 4, 4).tolist() == [int(word) for word in KNOWN[name].split()]


def test_unknown_order():
    with pytest.raises(UserError, match="got 'diagonal'; one of row, "):
        order("diagonal", 4, 4)
