"""Noise of a draw: Gumbel numbers, a function of (seed, cell, code), independent between neighbours."""

import itertools
import math

import pytest
import torch
from scipy import stats

from smalti.drawing import noise

STRIDE, MASK = 0x9E3779B97F4A7C15, 2**64 - 1
PINNED = [
    [-0.46627352, -0.08116903, -0.58520472],
    [-0.90287417, 1.21249783, -0.71170968],
    [0.35528591, 2.59716821, 0.49222156],
    [0.97129840, 1.07567477, -1.08904338],
]
MANY = 20_000  # numbers a test; limits below are 4 to 5 standard errors, and all seeds are fixed


def gumbel(seeds, cells, codes):
    return noise.gumbel(noise.keys(seeds, cells), codes)


def uniform(seeds, cells, codes):
    """Noise turned back into numbers evenly spread over (0, 1)."""
    return torch.exp(-torch.exp(-gumbel(seeds, cells, codes).double()))


def along(axis: str, start: int = 0, stride: int = 1) -> torch.Tensor:
    """MANY numbers along one axis, the two others held still."""
    count = start + stride * torch.arange(MANY)
    still = torch.full((MANY,), 7)
    seeds, cells, codes = (count if name == axis else still for name in ("seed", "cell", "code"))
    return uniform(seeds, cells, codes[:, None])[:, 0]


def test_pinned_values():
    """Images of a seed stay what they are: a change here changes every image ever drawn."""
    seeds = torch.tensor([0, 1, -1, 2**62])
    cells = torch.tensor([0, 255, 3, 4095])
    codes = torch.tensor([[0, 1, 16383]]).expand(4, 3)
    expected = torch.tensor(PINNED)
    torch.testing.assert_close(gumbel(seeds, cells, codes), expected, rtol=1e-6, atol=1e-6)


def mix(bits: int) -> int:
    """splitmix64's finaliser in Python's integers, which do not wrap."""
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB & MASK
    return bits ^ (bits >> 31)


def hashed(seed: int, cell: int, code: int) -> int:
    return mix(mix(mix(seed + STRIDE & MASK) + cell * STRIDE & MASK) + code * STRIDE & MASK)


def test_finaliser_is_the_published_one():
    assert mix(STRIDE) == 0xE220A8397B1DCDAF  # the first number of splitmix64 started at 0
    assert mix(2 * STRIDE & MASK) == 0x6E789E6AA1B965F4  # and the second


def test_is_splitmix64():
    for seed, cell, code in itertools.product((0, 5, -3, 2**63 - 1), (0, 17), (0, 1023)):
        found = uniform(torch.tensor([seed]), torch.tensor([cell]), torch.tensor([[code]])).item()
        assert found == pytest.approx(hashed(seed, cell, code) / 2**64, abs=1e-6)


def test_is_a_function_of_its_three_numbers():
    seeds, cells, codes = torch.arange(6), torch.arange(6) * 11, torch.arange(30).view(6, 5)
    whole = gumbel(seeds, cells, codes)
    assert whole.dtype == torch.float32
    for row, column in itertools.product(range(6), range(5)):
        alone = gumbel(seeds[row : row + 1], cells[row : row + 1], codes[row : row + 1, column : column + 1])
        assert alone.equal(whole[row : row + 1, column : column + 1])


def test_is_finite_everywhere():
    codes = torch.arange(200_000).view(20, -1)
    found = gumbel(torch.arange(20), torch.arange(20), codes)
    assert found.isfinite().all()
    assert -3.7 < found.min() < -2
    assert 10 < found.max() < 37


@pytest.mark.parametrize("axis", ["seed", "cell", "code"])
@pytest.mark.parametrize(("start", "stride"), [(0, 1), (0, 2**32), (-MANY, 1), (5, 1 << 20)])
def test_even_spread(axis, start, stride):
    numbers = along(axis, start, stride).numpy()
    assert stats.kstest(numbers, "uniform").pvalue > 1e-4
    counts, _ = torch.histogram(torch.from_numpy(numbers), bins=256, range=(0.0, 1.0))
    assert stats.chisquare(counts.numpy()).pvalue > 1e-4


@pytest.mark.parametrize("axis", ["seed", "cell", "code"])
@pytest.mark.parametrize("distance", [1, 2, 3, 8, 16, 64, 256, 1024])
def test_neighbours_do_not_correlate(axis, distance):
    numbers = along(axis)
    found = stats.pearsonr(numbers[:-distance].numpy(), numbers[distance:].numpy())
    assert abs(found.statistic) < 4.5 / MANY**0.5


@pytest.mark.parametrize(("first", "second"), [("seed", "cell"), ("seed", "code"), ("cell", "code")])
def test_axes_are_told_apart(first, second):
    """(a, b) and (b, a) have different numbers."""
    a = along(first, start=8)
    b = along(second, start=8)
    assert not torch.isclose(a, b, rtol=0, atol=1e-9).any()
    assert abs(stats.pearsonr(a.numpy(), b.numpy()).statistic) < 4.5 / MANY**0.5


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_every_input_bit_turns_half_of_the_output_bits(axis):
    """Avalanche, on the hash that `test_is_splitmix64` holds the noise to."""
    generator = torch.Generator().manual_seed(axis)
    points = torch.randint(0, 2**20, (100, 3), generator=generator).tolist()
    for bit in range(0, 63, 3):
        turned = []
        for point in points:
            near = list(point)
            near[axis] ^= 1 << bit
            turned.append((hashed(*point) ^ hashed(*near)).bit_count())
        mean = sum(turned) / len(turned)
        assert abs(mean - 32) < 4.5 * 4 / 10, f"bit {bit}: {mean}"  # 64 coins have a deviation of 4


def test_numbers_do_not_repeat():
    seeds = torch.arange(64).repeat_interleave(64)
    cells = torch.arange(64).repeat(64)
    numbers = uniform(seeds, cells, torch.arange(64).expand(4096, 64))
    # 262,144 numbers of 52 bits; fp32 on the way leaves some 24, so few may fall together
    assert numbers.flatten().unique().numel() > 0.97 * numbers.numel()


def test_the_lower_end_is_finite():
    """Zero bits are those of seed -STRIDE, cell 0, code 0; uniform numbers begin half a step above 0."""
    found = gumbel(torch.tensor([-(STRIDE - 2**64)]), torch.tensor([0]), torch.tensor([[0]]))
    torch.testing.assert_close(found.item(), -math.log(53 * math.log(2)), rtol=0, atol=1e-6)
