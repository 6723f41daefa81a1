"""The choice of a code: filters keep what a naive version keeps, draws come as often as their share."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import stats

from smalti import config
from smalti.drawing.choice import Choice, choose, keep
from smalti.drawing.noise import keys
from smalti.errors import UserError

QUICK = hypothesis_settings(max_examples=100, deadline=None, derandomize=True)
SLACK = 1e-5  # fp32 sums of shares, against Python's

levels = st.integers(-8, 8).map(lambda level: level / 2)  # few levels: many ties
smooth = st.floats(-20, 20, width=32)
rows = st.lists(st.one_of(levels, smooth), min_size=1, max_size=30)
temperatures = st.sampled_from([0.3, 0.7, 1.0, 2.5])
counts = st.one_of(st.none(), st.integers(1, 40))
shares = st.one_of(st.none(), st.floats(0.01, 1.0))


def survivors(row, how) -> dict[int, float]:
    """Code -> score of those that `keep` leaves."""
    scores, codes = keep(torch.tensor([row]), how)
    pairs = zip(codes[0].tolist(), scores[0].tolist(), strict=True)
    return {code: score for code, score in pairs if score > -math.inf}


def softmax(scores: list[float]) -> list[float]:
    weights = [math.exp(score - max(scores)) for score in scores]
    return [weight / sum(weights) for weight in weights]


@QUICK
@given(row=rows, temperature=temperatures)
def test_without_filters_all_codes_stay(row, temperature):
    found = survivors(row, Choice(temperature=temperature))
    expected = torch.tensor(row) / temperature
    assert list(found) == list(range(len(row)))
    torch.testing.assert_close(torch.tensor(list(found.values())), expected, rtol=0, atol=0)


@QUICK
@given(row=rows, k=st.integers(1, 40), temperature=temperatures)
def test_top_k(row, k, temperature):
    found = survivors(row, Choice(top_k=k, temperature=temperature))
    best = sorted(row, reverse=True)[:k]
    assert sorted((row[code] for code in found), reverse=True) == best
    for code, score in found.items():
        assert score == pytest.approx(row[code] / temperature, rel=1e-6)


@QUICK
@given(row=rows, k=counts, p=st.floats(0.01, 0.999), temperature=temperatures)
def test_top_p(row, k, p, temperature):
    """The best of those that top-k leaves, as few as hold p, with temperature first."""
    before = survivors(row, Choice(top_k=k, temperature=temperature))
    found = survivors(row, Choice(top_k=k, top_p=p, temperature=temperature))
    assert set(found) <= set(before)
    dropped = [score for code, score in before.items() if code not in found]
    assert min(found.values()) >= max(dropped, default=-math.inf)
    share = dict(zip(before, softmax(list(before.values())), strict=True))
    held = [share[code] for code in found]
    assert sum(held) >= p - SLACK
    assert sum(held) - min(held) < p + SLACK


@QUICK
@given(row=rows, k=counts, p=shares, low=st.floats(0.001, 1.0), temperature=temperatures)
def test_min_p(row, k, p, low, temperature):
    before = survivors(row, Choice(top_k=k, top_p=p, temperature=temperature))
    found = survivors(row, Choice(top_k=k, top_p=p, min_p=low, temperature=temperature))
    best = max(before.values())
    for code, score in before.items():
        share = math.exp(score - best)  # of the best one's probability
        assert code in found or share < low + SLACK
        assert code not in found or share > low - SLACK


@QUICK
@given(row=rows)
def test_filters_that_keep_all(row):
    everything = survivors(row, Choice())
    assert survivors(row, Choice(top_k=len(row), top_p=1.0, min_p=0.0)) == everything


@QUICK
@given(row=rows, seed=st.integers(-(2**63), 2**63 - 1), cell=st.integers(0, 10**6))
def test_top_k_of_one_is_argmax(row, seed, cell):
    scores = torch.tensor([row])
    found = choose(scores, keys(torch.tensor([seed]), torch.tensor([cell])), Choice(top_k=1))
    assert found.equal(scores.argmax(-1))


@QUICK
@given(row=rows, k=counts, p=shares, low=shares, seed=st.integers(0, 10**9))
def test_a_drawn_code_is_one_that_stays(row, k, p, low, seed):
    how = Choice(top_k=k, top_p=p, min_p=low)
    drawn = choose(torch.tensor([row]), keys(torch.tensor([seed]), torch.tensor([3])), how)
    assert drawn.item() in survivors(row, how)


@pytest.mark.parametrize(
    "how",
    [
        Choice(),
        Choice(temperature=0.5),
        Choice(top_k=5),
        Choice(top_p=0.8),
        Choice(min_p=0.2),
        Choice(temperature=1.5, top_k=8, top_p=0.9, min_p=0.05),
    ],
    ids=str,
)
@pytest.mark.parametrize("axis", ["seeds", "cells"])
def test_codes_come_as_often_as_their_share(how, axis):
    """Over many seeds of one cell, and over many cells of one seed."""
    num = 20_000
    scores = torch.linspace(-2, 1.5, 12)[torch.randperm(12, generator=torch.Generator().manual_seed(0))]
    numbers, still = torch.arange(num), torch.full((num,), 5)
    seeds, cells = (numbers, still) if axis == "seeds" else (still, numbers)
    drawn = choose(scores.expand(num, -1), keys(seeds, cells), how)
    kept = survivors(scores.tolist(), how)
    share = dict(zip(kept, softmax(list(kept.values())), strict=True))
    counts = torch.bincount(drawn, minlength=12)
    assert set(counts.nonzero().flatten().tolist()) <= set(kept)
    found = [counts[code].item() for code in kept]
    assert stats.chisquare(found, [share[code] * num for code in kept]).pvalue > 1e-3


def test_a_row_alone_is_the_row_in_a_batch():
    torch.manual_seed(0)
    scores, seeds, cells = torch.randn(40, 100), torch.arange(40) * 3, torch.arange(40) % 7
    for how in (Choice(), Choice(top_k=10), Choice(top_p=0.7), Choice(top_k=30, top_p=0.9, min_p=0.01)):
        whole = choose(scores, keys(seeds, cells), how)
        for row in range(40):
            some = slice(row, row + 1)
            assert choose(scores[some], keys(seeds, cells)[some], how).equal(whole[some])


def test_filters_that_do_not_bite_do_not_change_the_draw():
    """Noise goes by code, not by rank: a code's number is the same whatever else stays."""
    torch.manual_seed(0)
    scores, seeds, cells = torch.randn(200, 64), torch.arange(200), torch.arange(200)
    plain = choose(scores, keys(seeds, cells), Choice())
    for how in (Choice(top_k=63), Choice(top_k=64), Choice(top_p=0.9999), Choice(min_p=1e-6)):
        assert (choose(scores, keys(seeds, cells), how) == plain).float().mean() > 0.98


def test_never_waits_for_the_device():
    """Tensors without values: whatever looks at one fails."""
    scores = torch.zeros(3, 50, device="meta")
    numbers = torch.zeros(3, dtype=torch.int64, device="meta")
    for how in (Choice(), Choice(top_k=1), Choice(top_k=7, top_p=0.9, min_p=0.1), Choice(top_p=0.5)):
        assert choose(scores, numbers, how).shape == (3,)


def test_half_precision_is_drawn_in_fp32():
    scores = torch.randn(2, 30, generator=torch.Generator().manual_seed(1)).bfloat16()
    kept, _ = keep(scores, Choice(temperature=0.7))
    assert kept.equal(scores.float() / 0.7)


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": 0.0},
        {"temperature": -1.0},
        {"temperature": math.inf},
        {"temperature": math.nan},
        {"top_k": 0},
        {"top_p": 0.0},
        {"top_p": 1.01},
        {"min_p": -0.1},
        {"min_p": 1.5},
    ],
    ids=str,
)
def test_values_out_of_range(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(UserError, match=f"for {name}, got {value}; for example {name}="):
        Choice(**wrong)
    with pytest.raises(UserError, match=name):
        config.parse(wrong, Choice)


def test_filters_at_the_edge_of_their_share():
    """Four equal codes hold a quarter each, exactly: half of them is two, the lowest; min_p=1 keeps ties."""
    equal = [0.0] * 4
    assert list(survivors(equal, Choice(top_p=0.5))) == [0, 1]
    assert list(survivors(equal, Choice(top_p=0.25))) == [0]
    assert list(survivors([*equal, -1.0], Choice(min_p=1.0))) == [0, 1, 2, 3]
    assert list(survivors([math.log(4), math.log(2), 0.0], Choice(min_p=0.5))) == [0, 1]
    assert list(survivors([0.0] * 64, Choice(top_p=0.5))) == list(range(32))


def test_rows_of_a_batch_are_filtered_each_by_itself():
    rows = [[0.0, -1.0, -9.0, 2.0], [20.0, 19.0, 30.0, 29.5], [-50.0, -50.0, -51.0, -90.0]]
    for how in (Choice(min_p=0.1), Choice(top_p=0.8), Choice(top_k=2), Choice(top_k=3, top_p=0.7, min_p=0.2)):
        scores, codes = keep(torch.tensor(rows), how)
        for row, kept, names in zip(rows, scores.tolist(), codes.tolist(), strict=True):
            found = {code: score for code, score in zip(names, kept, strict=True) if score > -math.inf}
            assert found == survivors(row, how)
