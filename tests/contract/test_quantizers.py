"""Does every quantizer of the shelf keep the protocol? Listed means tested, variants beside the list."""

import pytest
import torch

from smalti import config
from smalti.errors import UserError
from smalti.quantizers import QUANTIZERS
from smalti.quantizers.clusters import draw, kmeans, nearest
from smalti.quantizers.ema import EmaQuantizer, EmaSettings
from smalti.quantizers.gumbel import GumbelQuantizer, GumbelSettings
from smalti.quantizers.remap import RemappedQuantizer, RemappedSettings
from smalti.quantizers.usage import RecentCodes, perplexity, usage
from smalti.quantizers.vq import VectorQuantizer, VectorQuantizerSettings

MEMBERS = {
    **{kind: (settings(), member) for kind, (settings, member) in QUANTIZERS.items()},
    "vq-cosine": (VectorQuantizerSettings(cosine=True), VectorQuantizer),
    "vq-legacy": (VectorQuantizerSettings.legacy(codebook_size=64), VectorQuantizer),
    "vq-revival": (VectorQuantizerSettings(codebook_size=64, revive_below=0.1), VectorQuantizer),
    "gumbel-soft": (GumbelSettings(codebook_size=64, straight_through=False), GumbelQuantizer),
    "ema-kmeans": (EmaSettings(codebook_size=16, kmeans_start=True, revive_below=0.1), EmaQuantizer),
    "remapped-gumbel": (
        RemappedSettings(inner=GumbelSettings(codebook_size=64), used=40),
        RemappedQuantizer,
    ),
    "remapped-ema": (
        RemappedSettings(inner=EmaSettings(codebook_size=64), used=64, unknown="extra"),
        RemappedQuantizer,
    ),
}
WITH_CODES = {name: pair for name, pair in MEMBERS.items() if pair[0].has_codes}


def build(settings, member):
    torch.manual_seed(0)
    return member(settings, dim=4).eval()


@pytest.fixture(params=MEMBERS.values(), ids=MEMBERS.keys())
def quantizer(request):
    return build(*request.param)


@pytest.fixture(params=WITH_CODES.values(), ids=WITH_CODES.keys())
def with_codes(request):
    return build(*request.param)


def latents_for(quantizer, *sides: int, seed: int = 1) -> torch.Tensor:
    """What a member takes: two numbers a channel where it wants a mean and a log-variance."""
    return torch.randn(2, 4 * quantizer.moments, *(sides or (3, 5)), generator=seeded(seed))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def equal(one, other) -> bool:
    """Whether two results are the same in every part."""
    parts = [(one.latents, other.latents), (one.loss, other.loss)]
    if one.codes is not None:
        parts.append((one.codes, other.codes))
    return all(torch.equal(*pair) for pair in parts)


def test_codes_carry_everything(with_codes):
    quantized = with_codes(latents_for(with_codes))
    assert quantized.codes.min() >= 0
    assert quantized.codes.max() < with_codes.codebook_size
    assert len(quantized.codes.unique()) > 3
    assert torch.equal(with_codes.lookup(quantized.codes), quantized.latents)


def test_without_a_codebook_there_are_no_codes(quantizer):
    quantized = quantizer(latents_for(quantizer))
    assert (quantized.codes is None) == (not quantizer.settings.has_codes)
    assert quantized.latents.shape == (2, 4, 3, 5)


@pytest.mark.parametrize("training", [False, True])
def test_gradients_reach_the_encoder(quantizer, training):
    latents = latents_for(quantizer).requires_grad_()
    quantizer.train(training)(latents).latents.square().sum().backward()
    assert latents.grad is not None
    assert latents.grad.abs().sum() > 0


def test_the_loss_teaches_encoder_and_codebook(quantizer):
    """A Gumbel codebook learns from the images instead, a running mean from the latents.

    Where there is no loss nothing is kept either, and so nothing that would have to be taught.
    """
    latents = latents_for(quantizer).requires_grad_()
    quantized = quantizer.train()(latents)
    learned = [parameter for parameter in quantizer.parameters() if parameter.requires_grad]
    if not quantized.loss.requires_grad:
        assert quantized.loss == 0
        assert not quantizer.state_dict()
        return
    assert quantized.loss > 0
    (from_loss,) = torch.autograd.grad(quantized.loss, [latents], retain_graph=True)
    assert from_loss.abs().sum() > 0
    (quantized.loss + quantized.latents.square().sum()).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in learned)


@pytest.mark.parametrize("training", [False, True])
def test_autocast_changes_nothing(quantizer, training):
    latents, quantizer = latents_for(quantizer, 8, 8), quantizer.train(training)
    torch.manual_seed(3)
    plain = quantizer(latents)
    torch.manual_seed(3)
    with torch.autocast("cpu", torch.bfloat16):
        inside = quantizer(latents)
    assert equal(plain, inside)


def test_in_use_equal_latents_give_equal_results(quantizer):
    latents = latents_for(quantizer)
    assert equal(quantizer(latents), quantizer(latents))
    alone = quantizer(latents[1:])
    torch.testing.assert_close(alone.latents[0], quantizer(latents).latents[1])
    if alone.codes is not None:
        assert torch.equal(alone.codes[0], quantizer(latents).codes[1])


def test_in_training_draws_follow_from_the_default_generator(quantizer):
    """As dropout's do: that is what a resumed run sets."""
    latents, results = latents_for(quantizer), []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        results.append(quantizer.train()(latents))
    assert equal(results[0], results[1])
    draws = not torch.equal(results[0].latents, quantizer.eval()(latents).latents)
    assert torch.equal(results[0].latents, results[2].latents) != draws


def test_forward_keeps_no_account(quantizer):
    before = {name: tensor.clone() for name, tensor in quantizer.state_dict().items()}
    quantizer.train()(latents_for(quantizer))
    assert all(torch.equal(before[name], tensor) for name, tensor in quantizer.state_dict().items())


def test_start_and_after_step_depend_on_their_generator_alone(quantizer):
    latents = latents_for(quantizer)
    weights = {name: tensor.clone() for name, tensor in quantizer.state_dict().items()}
    ends = []
    for _ in range(2):
        quantizer.load_state_dict(weights)
        torch.rand(1)  # moves the global state, which must not matter
        generator = seeded()
        quantizer.start(latents, generator)
        for _ in range(30):
            quantizer.after_step(latents, generator)
        ends.append({name: tensor.clone() for name, tensor in quantizer.state_dict().items()})
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in weights)


def test_nearest_is_nearest():
    rows, entries = torch.randn(50, 6), torch.randn(20, 6)
    expected = (rows[:, None] - entries).square().sum(-1).argmin(-1)
    assert torch.equal(nearest(rows, entries), expected)
    assert len(expected.unique()) > 10


def test_equally_near_entries_give_the_first():
    entries = torch.tensor([[5.0, 5.0], [1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]])
    assert nearest(torch.tensor([[0.0, 3.0], [1.0, 0.0]]), entries).tolist() == [1, 1]


def test_vq_cosine_sees_directions_alone():
    torch.manual_seed(0)
    quantizer = VectorQuantizer(VectorQuantizerSettings(codebook_size=32, cosine=True), dim=4)
    latents = torch.randn(2, 4, 3, 5)
    quantized, scaled = quantizer(latents), quantizer(latents * 7.0)
    assert torch.equal(quantized.codes, scaled.codes)
    torch.testing.assert_close(quantized.latents.norm(dim=1), torch.ones(2, 3, 5))
    entries = quantizer.codebook.weight
    cosines = torch.einsum("bdhw,vd->bhwv", latents, entries / entries.norm(dim=-1, keepdim=True))
    assert torch.equal(quantized.codes, cosines.argmax(-1))
    # |q - z|^2 = 2 - 2 cos for vectors of length 1
    distance = 2 - 2 * cosines.amax(-1) / latents.norm(dim=1)
    torch.testing.assert_close(quantized.loss, 1.25 * distance.mean() / 4)


@pytest.mark.parametrize("cosine", [False, True])
def test_vq_kmeans_start_lays_entries_where_latents_are(cosine):
    torch.manual_seed(0)
    settings = VectorQuantizerSettings(codebook_size=16, cosine=cosine, kmeans_start=True)
    quantizer = VectorQuantizer(settings, dim=4)
    latents = torch.randn(4, 4, 6, 6) + 2.0
    before = quantizer(latents)
    quantizer.start(latents, seeded())
    after = quantizer(latents)
    assert after.loss < 0.5 * before.loss
    assert usage(after.codes, 16) > 0.9 > usage(before.codes, 16)


def test_kmeans_ends_where_each_centre_is_the_mean_of_its_rows():
    rows = torch.randn(200, 2, generator=seeded())
    centres = kmeans(rows, 5, seeded(), iterations=60)
    codes = nearest(rows, centres)
    means = torch.stack([rows[codes == code].mean(0) for code in range(5)])
    torch.testing.assert_close(centres, means)


def test_kmeans_leaves_a_centre_without_rows_where_it_is():
    rows = torch.ones(4, 2)  # all are nearest to the first of the equal centres
    assert torch.equal(kmeans(rows, 3, seeded()), torch.ones(3, 2))


def test_vq_without_start_and_revival_stays_as_it_is():
    quantizer = VectorQuantizer(VectorQuantizerSettings(codebook_size=16), dim=4)
    before = quantizer.codebook.weight.clone()
    quantizer.start(torch.randn(1, 4, 6, 6), seeded())
    quantizer.after_step(torch.randn(1, 4, 6, 6), seeded())
    assert torch.equal(quantizer.codebook.weight, before)


def test_draws_are_rows_and_repeat_only_of_need():
    rows = torch.randn(10, 3)
    few, all_, many = (draw(rows, num, seeded()) for num in (4, 10, 25))
    assert len(few.unique(dim=0)) == 4
    assert torch.equal(all_.sort(dim=0).values, rows.sort(dim=0).values)
    assert len(many.unique(dim=0)) == 25, "repeats are not told apart"
    assert torch.cdist(many, rows).amin(-1).max() < 0.2, "the noise is too loud"
    assert draw(rows, 0, seeded()).shape == (0, 3)


def test_vq_revival_replaces_idle_entries_and_spares_used_ones():
    torch.manual_seed(0)
    settings = VectorQuantizerSettings(codebook_size=8, revive_below=0.5, usage_decay=0.9)
    quantizer = VectorQuantizer(settings, dim=2)
    with torch.no_grad():
        quantizer.codebook.weight.copy_(torch.full((8, 2), 100.0))
        quantizer.codebook.weight[:2] = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    latents = torch.tensor([[1.1, 0.0], [-1.1, 0.0]]).T.view(1, 2, 1, 2)
    idle_steps = 6  # 0.9 ** 7 < 0.5 < 0.9 ** 6
    for _ in range(idle_steps):
        quantizer.after_step(latents, seeded())
    assert (quantizer.codebook.weight[2:] == 100.0).all()
    quantizer.after_step(latents, seeded())
    assert quantizer.codebook.weight[:2].tolist() == [[1.0, 0.0], [-1.0, 0.0]]
    assert (quantizer.codebook.weight[2:].norm(dim=-1) < 1.3).all()
    assert (quantizer.usage[2:] == 1.0).all()
    assert (quantizer.usage[:2] > 1.0).all()


def test_vq_revival_resumes_from_the_state_dict():
    torch.manual_seed(0)
    settings = VectorQuantizerSettings(codebook_size=8, revive_below=0.5, usage_decay=0.9)
    first, second = VectorQuantizer(settings, dim=2), VectorQuantizer(settings, dim=2)
    latents = torch.randn(1, 2, 4, 4) + 1.0
    for _ in range(5):
        first.after_step(latents, seeded())
    second.load_state_dict(first.state_dict())
    for quantizer in (first, second):
        for step in range(5):
            quantizer.after_step(latents, seeded(step))
    assert torch.equal(first.codebook.weight, second.codebook.weight)
    plain = VectorQuantizer(VectorQuantizerSettings(), dim=2)
    assert list(plain.state_dict()) == ["codebook.weight"]


def test_usage_and_perplexity():
    codes = torch.tensor([[[0, 1], [1, 0]]])
    assert usage(codes, 8) == 0.25
    assert perplexity(codes, 8) == pytest.approx(2.0)
    assert perplexity(torch.zeros(5, dtype=torch.int64), 8) == pytest.approx(1.0)
    assert perplexity(torch.arange(8), 8) == pytest.approx(8.0)
    with pytest.raises(AssertionError, match="codes up to 9"):
        usage(torch.tensor([9]), 8)


def test_recent_codes_forget_the_oldest():
    recent = RecentCodes(codebook_size=10, num=4)
    recent.add(torch.tensor([[0, 1]]))
    assert sorted(recent.codes().tolist()) == [0, 1]
    recent.add(torch.tensor([[2, 3, 4]]))
    assert sorted(recent.codes().tolist()) == [1, 2, 3, 4]
    recent.add(torch.tensor([5, 5, 6, 6, 7, 7, 7]))
    assert sorted(recent.codes().tolist()) == [6, 7, 7, 7]
    recent.add(torch.tensor([8]))
    assert sorted(recent.codes().tolist()) == [7, 7, 7, 8]
    assert recent.usage() == 0.2
    assert recent.perplexity() == pytest.approx(4 / 3**0.75)


def test_running_means_are_never_divided_by_nothing():
    with pytest.raises(UserError, match=r"a valid epsilon, got 0\.0"):
        config.parse({"epsilon": 0.0}, EmaSettings)
