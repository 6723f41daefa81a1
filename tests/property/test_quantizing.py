"""What holds for every renumbering, every temperature, every draw and every running mean."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smalti import imaging
from smalti.quantizers.clusters import nearest
from smalti.quantizers.ema import EmaQuantizer, EmaSettings
from smalti.quantizers.gaussian import GaussianQuantizer, GaussianSettings
from smalti.quantizers.gumbel import GumbelQuantizer, GumbelSettings, TemperatureSettings
from smalti.quantizers.remap import RemappedQuantizer, RemappedSettings
from smalti.quantizers.vq import VectorQuantizerSettings

quick = settings(deadline=None, max_examples=40)
SIZE = 24  # entries inside


def remapped(used: list[int], unknown) -> RemappedQuantizer:
    inner = VectorQuantizerSettings(codebook_size=SIZE)
    quantizer = RemappedQuantizer(RemappedSettings(inner=inner, used=len(used), unknown=unknown), dim=4)
    quantizer.used.copy_(torch.tensor(used))
    return quantizer


used_lists = st.lists(st.integers(0, SIZE - 1), min_size=1, max_size=SIZE, unique=True)
unknowns = st.sampled_from(["random", "extra", 0])


@quick
@given(used=used_lists, unknown=unknowns, seed=st.integers(0, 99))
def test_used_codes_go_there_and_back(used, unknown, seed):
    quantizer = remapped(used, unknown)
    codes = torch.randint(0, SIZE, (2, 3, 5), generator=torch.Generator().manual_seed(seed))
    positions = quantizer.positions(codes)
    assert positions.min() >= 0
    assert positions.max() < quantizer.codebook_size
    known = torch.isin(codes, torch.tensor(used))
    back = quantizer.entries(positions)
    assert torch.equal(back[known], codes[known])
    assert torch.isin(back, torch.tensor(used)).all()
    expected = {"extra": len(used), 0: 0}
    if unknown != "random":
        assert (positions[~known] == expected[unknown]).all()
    every = torch.arange(len(used)).view(1, 1, -1)
    assert torch.equal(quantizer.positions(quantizer.entries(every)), every)


@quick
@given(seed=st.integers(0, 99))
def test_a_stand_in_belongs_to_entry_and_cell_alone(seed):
    quantizer = remapped([3, 5, 7], "random")
    codes = torch.randint(0, SIZE, (4, 3, 5), generator=torch.Generator().manual_seed(seed))
    state = torch.get_rng_state()
    positions = quantizer.positions(codes)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(quantizer.positions(codes.flip(0)), positions.flip(0))
    assert torch.equal(quantizer.positions(codes[2:3]), positions[2:3])


def test_stand_ins_are_spread_evenly():
    quantizer = remapped(list(range(10)), "random")
    codes = torch.arange(10, SIZE).view(-1, 1, 1).expand(-1, 32, 32)
    counts = torch.bincount(quantizer.positions(codes).flatten(), minlength=10)
    expected = codes.numel() / 10
    assert (counts - expected).abs().max() < 5 * math.sqrt(expected)
    by_code = quantizer.positions(codes).flatten(1)  # of two codes, as often alike as chance has it
    alike = (by_code[0] == by_code[1]).double().mean()
    assert abs(alike - 0.1) < 0.05


def test_an_entry_listed_twice_keeps_its_first_position():
    quantizer = remapped([4, 9, 4], "random")
    assert quantizer.positions(torch.tensor([[[4, 9]]])).tolist() == [[[0, 1]]]


@quick
@given(
    warmup=st.integers(0, 50),
    more=st.integers(1, 100),
    values=st.tuples(*[st.floats(1.0e-6, 2.0)] * 2, st.floats(0.0, 1.0)),
)
def test_temperatures_rise_then_fall(warmup, more, values):
    low, start, above = values
    high = max(low, start) + above
    schedule = TemperatureSettings(start=start, high=high, low=low, warmup=warmup, until=warmup + more)
    line = [schedule.at(step) for step in range(warmup + more + 3)]
    assert line[0] == pytest.approx(start if warmup else high)
    assert line[warmup] == pytest.approx(high)
    assert line[-1] == line[-3] == pytest.approx(low)
    slack = 1.0e-12
    assert all(old <= new + slack for old, new in pairwise(line[: warmup + 1]))
    assert all(old + slack >= new for old, new in pairwise(line[warmup:]))


def gumbel(**more) -> GumbelQuantizer:
    torch.manual_seed(0)
    return GumbelQuantizer(GumbelSettings(codebook_size=6, kl=1.0, **more), dim=4)


@pytest.mark.parametrize("temperature", [0.3, 2.0])
def test_gumbel_codes_are_drawn_by_their_probabilities(temperature):
    """Whatever the temperature, which softens gradients alone."""
    fixed = TemperatureSettings(start=temperature, high=temperature, low=temperature)
    quantizer = gumbel(temperature=fixed).train()
    latents = torch.randn(1, 4, 1, 1).expand(1, 4, 100, 100)
    torch.manual_seed(1)
    found = quantizer(latents)
    shares = torch.bincount(found.codes.flatten(), minlength=6) / found.codes.numel()
    expected = quantizer.logits(latents)[0, :, 0, 0].softmax(0)
    torch.testing.assert_close(shares, expected.detach(), atol=0.02, rtol=0.0)
    assert shares.min() > 0


def test_gumbel_divergence_is_0_for_even_scores_and_at_most_ln_v():
    quantizer = gumbel().eval()
    with torch.no_grad():
        quantizer.proj.weight.zero_()
        quantizer.proj.bias.zero_()
        assert quantizer(torch.randn(2, 4, 3, 3)).loss.abs() < 1e-6
        quantizer.proj.bias[2] = 1000.0
        torch.testing.assert_close(quantizer(torch.randn(2, 4, 3, 3)).loss.item(), math.log(6))


@quick
@given(among=st.lists(st.integers(0, 5), min_size=1, max_size=6, unique=True), training=st.booleans())
def test_gumbel_chooses_among_those_it_may(among, training):
    quantizer = gumbel().train(training)
    found = quantizer.choose(torch.randn(2, 4, 5, 5), 0, torch.tensor(among))
    assert torch.isin(found.codes, torch.tensor(among)).all()
    assert torch.equal(found.latents, quantizer.lookup(found.codes))


def test_a_soft_mixture_is_the_mean_of_entries_by_their_shares():
    quantizer = gumbel(straight_through=False).train()
    found = quantizer(torch.randn(2, 4, 5, 5))
    entries = quantizer.codebook.weight
    assert (found.latents.amax((0, 2, 3)) <= entries.amax(0) + 1e-6).all()
    assert (found.latents.amin((0, 2, 3)) >= entries.amin(0) - 1e-6).all()
    assert not torch.equal(found.latents, quantizer.lookup(found.codes))


def test_gaussian_draws_have_their_mean_and_deviation():
    quantizer = GaussianQuantizer(GaussianSettings(), dim=1).train()
    moments = torch.tensor([0.7, math.log(0.25)]).view(1, 2, 1, 1).expand(1, 2, 200, 200)
    torch.manual_seed(0)
    drawn = quantizer(moments).latents
    assert abs(drawn.mean() - 0.7) < 0.02
    assert abs(drawn.std() - 0.5) < 0.02


def test_gaussian_divergence():
    quantizer = GaussianQuantizer(GaussianSettings(kl=3.0), dim=2).eval()
    assert quantizer(torch.zeros(2, 4, 3, 3)).loss == 0
    moments = torch.randn(2, 4, 3, 3)
    found = quantizer(moments)
    normal = torch.distributions.Normal(moments[:, :2], (moments[:, 2:] / 2).exp())
    expected = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0))
    torch.testing.assert_close(found.loss, 3.0 * expected.sum(1).mean())
    torch.testing.assert_close(quantizer.divergence(moments), expected.sum((1, 2, 3)))


@quick
@given(seed=st.integers(0, 99))
def test_without_memory_an_entry_is_the_mean_of_its_latents(seed):
    torch.manual_seed(seed)
    quantizer = EmaQuantizer(EmaSettings(codebook_size=4, decay=0.0, epsilon=1.0e-9), dim=3)
    latents = torch.randn(2, 3, 6, 6)
    rows = latents.movedim(1, -1).flatten(0, 2)
    codes = nearest(rows, quantizer.codebook.weight)
    quantizer.after_step(latents, torch.Generator())
    for code in codes.unique().tolist():
        torch.testing.assert_close(quantizer.codebook.weight[code], rows[codes == code].mean(0))
    assert quantizer.cluster_size.sum() == len(rows)


def test_an_idle_entry_stays_where_it_is_and_one_of_2021_flies_off():
    def after(**more):
        torch.manual_seed(0)
        quantizer = EmaQuantizer(EmaSettings(codebook_size=8, **more), dim=2)
        with torch.no_grad():
            quantizer.codebook.weight[:2] = torch.tensor([[1.0, 0.0], [50.0, 50.0]])
            quantizer.sums.copy_(quantizer.codebook.weight)
        for _ in range(5):
            quantizer.after_step(torch.randn(1, 2, 8, 8), torch.Generator().manual_seed(0))
        return quantizer.codebook.weight[1]

    torch.testing.assert_close(after(), torch.tensor([50.0, 50.0]), rtol=1e-3, atol=0.0)
    assert after(first_count=0.0).min() > 1000
    assert after(revive_below=0.99).abs().max() < 5


@quick
@given(classes=st.integers(1, 9), seed=st.integers(0, 99))
def test_one_hot_is_one_channel_a_class(classes, seed):
    labels = torch.randint(0, classes, (2, 4, 5), generator=torch.Generator().manual_seed(seed))
    channels = imaging.one_hot(labels, classes)
    assert channels.shape == (2, classes, 4, 5)
    assert torch.equal(channels.sum(1), torch.ones(2, 4, 5))
    assert torch.equal(channels.argmax(1), labels)


def test_colours_of_classes_are_told_apart():
    shown = imaging.colour_labels(torch.arange(256).view(1, 16, 16))[0].flatten(1).T.double()
    distances = torch.cdist(shown, shown) + 1000 * torch.eye(256)
    assert distances.min() > 0
    assert distances.diagonal(1).min() > 60  # of numbers beside each other
