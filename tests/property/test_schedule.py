"""The learning rate is a function of the step: for every length, warm-up and end."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smalti.training.schedule import share
from smalti.training.settings import OptimizerSettings


def settings(**more) -> OptimizerSettings:
    return OptimizerSettings(lr=1.0, **more)


@given(
    steps=st.integers(1, 400),
    warmup=st.integers(0, 100),
    kind=st.sampled_from(["constant", "cosine"]),
    final=st.floats(0, 1),
)
def test_it_rises_then_never_rises_again(steps, warmup, kind, final):
    how = settings(warmup=warmup, schedule=kind, final=final)
    shares = [share(step, steps, how) for step in range(steps)]
    assert all(0 <= value <= 1 + 1e-12 for value in shares)
    rise, rest = shares[:warmup], shares[warmup:]
    assert rise == [pytest.approx((step + 1) / warmup) for step in range(len(rise))]
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(rest))
    if rest:
        assert rest[0] == pytest.approx(1.0)
    if kind == "constant":
        assert set(rest) <= {1.0}
    elif len(rest) > 1:
        assert rest[-1] == pytest.approx(final)


def test_the_cosine_in_numbers():
    how = settings(warmup=2, schedule="cosine", final=0.1)
    quarter = 0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2
    expected = {
        0: 0.5,
        1: 1.0,
        2: 1.0,
        3: quarter,
        4: 0.55,
        6: 0.1,
        9: 0.1,
    }  # 9: a run made longer, then shorter
    assert {step: pytest.approx(share(step, 7, how)) for step in expected} == expected
