"""Does every quantizer of the shelf keep the protocol? Listed means tested, variants beside the list."""

import pytest
import torch

from smalti.quantizers import QUANTIZERS
from smalti.quantizers.clusters import draw, kmeans, nearest
from smalti.quantizers.usage import RecentCodes, perplexity, usage
from smalti.quantizers.vq import VectorQuantizer, VectorQuantizerSettings

MEMBERS = {
    **{kind: (settings(), member) for kind, (settings, member) in QUANTIZERS.items()},
    "vq-cosine": (VectorQuantizerSettings(cosine=True), VectorQuantizer),
    "vq-legacy": (VectorQuantizerSettings.legacy(codebook_size=64), VectorQuantizer),
    "vq-revival": (VectorQuantizerSettings(codebook_size=64, revive_below=0.1), VectorQuantizer),
}


@pytest.fixture(params=MEMBERS.values(), ids=MEMBERS.keys())
def quantizer(request):
    torch.manual_seed(0)
    settings, member = request.param
    return member(settings, dim=4).eval()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_codes_carry_everything(quantizer):
    quantized = quantizer(torch.randn(2, 4, 3, 5))
    assert quantized.codes.min() >= 0
    assert quantized.codes.max() < quantizer.codebook_size
    assert torch.equal(quantizer.lookup(quantized.codes), quantized.latents)


def test_gradients_reach_the_encoder(quantizer):
    latents = torch.randn(2, 4, 3, 5, requires_grad=True)
    quantizer(latents).latents.square().sum().backward()
    assert latents.grad is not None
    assert latents.grad.abs().sum() > 0


def test_the_loss_teaches_encoder_and_codebook(quantizer):
    latents = torch.randn(2, 4, 3, 5, requires_grad=True)
    loss = quantizer(latents).loss
    loss.backward()
    assert loss > 0
    assert latents.grad.abs().sum() > 0
    assert all(parameter.grad.abs().sum() > 0 for parameter in quantizer.parameters())


def test_autocast_changes_nothing(quantizer):
    latents = torch.randn(2, 4, 8, 8)
    plain = quantizer(latents)
    with torch.autocast("cpu", torch.bfloat16):
        inside = quantizer(latents)
    assert torch.equal(plain.codes, inside.codes)
    assert torch.equal(plain.latents, inside.latents)
    assert torch.equal(plain.loss, inside.loss)


def test_forward_keeps_no_account(quantizer):
    before = {name: tensor.clone() for name, tensor in quantizer.state_dict().items()}
    quantizer.train()(torch.randn(2, 4, 3, 5))
    assert all(torch.equal(before[name], tensor) for name, tensor in quantizer.state_dict().items())


def test_start_and_after_step_depend_on_their_generator_alone(quantizer):
    latents = torch.randn(2, 4, 3, 5)
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
