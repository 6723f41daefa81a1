"""What settings promise of a training happens in it: chance, averages, objectives, counts, in figures."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from test_training import (
    CPU,
    DISCRIMINATOR,
    NETWORK,
    RATE,
    Calls,
    batch,
    endless,
    gradients,
    loop,
    prior_task,
    tokenizer_training,
)

import smalti
from smalti import config
from smalti.conditions.box_tokens import Object, Scene
from smalti.conditions.boxes import BoxesSettings
from smalti.conditions.coordinates import CoordinatesSettings, Part
from smalti.conditions.label import LabelSettings
from smalti.conditions.map import MapSettings
from smalti.conditions.points import PointsSettings
from smalti.data.protocol import Batch
from smalti.losses.adversarial import AdversarialSettings
from smalti.losses.patchgan import PatchGANSettings
from smalti.losses.perceptual import Perceptual
from smalti.losses.terms import LossSettings, terms
from smalti.quantizers.gumbel import GumbelSettings, TemperatureSettings
from smalti.quantizers.remap import RemappedSettings
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.tokenizer import Tokenizer, TokenizerSettings
from smalti.training import log
from smalti.training.batches import cut
from smalti.training.feed import Feed
from smalti.training.fit import Loop
from smalti.training.folder import RunFolder
from smalti.training.optimization import Optimizers
from smalti.training.prior_task import PriorTask
from smalti.training.settings import OptimizerSettings
from smalti.training.tokenizer_task import TokenizerTask

ROWS = 64
LABELLED = Batch(codes=torch.zeros(ROWS, 8, 8, dtype=torch.int64), labels=torch.arange(ROWS) % 3)


def shown(task: PriorTask, told: Batch, step: int = 0, part: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes and prefixes that the prior sees."""
    seen = []
    hook = task.networks["prior"].register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    task.losses(told, step, part)
    hook.remove()
    return seen[0]


def test_labels_are_hidden_as_often_as_the_dropout_says():
    """By what the prior is shown: guidance needs it."""
    task = prior_task(condition=LabelSettings(classes=3, dropout=0.25))
    prefixes = [shown(task, LABELLED, step)[1][:, 0] for step in range(4)]
    hidden = [(prefix == 3) for prefix in prefixes]
    assert [int(rows.sum()) for rows in hidden] == [19, 13, 24, 18]  # of 64; 16 expected
    for prefix, rows in zip(prefixes, hidden, strict=True):
        assert prefix[~rows].equal(LABELLED.labels[~rows])
    assert not any(hidden[0].equal(rows) for rows in hidden[1:])
    never = prior_task(condition=LabelSettings(classes=3))
    assert shown(never, LABELLED)[1][:, 0].equal(LABELLED.labels)


def test_things_are_shown_in_another_order_in_every_step():
    things = (
        Object(0, 0.0, 0.0, 0.5, 1.0),
        Object(1, 0.5, 0.0, 1.0, 0.5),
        Object(2, 0.0, 0.5, 1.0, 1.0),
    )
    scenes = (Scene(things),) * ROWS
    told = Batch(codes=LABELLED.codes, scenes=scenes)
    task = prior_task(condition=BoxesSettings(classes=3, no_tokens=32, max_objects=4, dropout=0.25))
    orders = []
    for step in range(2):
        prefix = shown(task, told, step)[1]
        rows = prefix[prefix[:, 0] != 32]  # 32: hidden
        assert 4 < ROWS - len(rows) < 28
        orders.append([tuple(row[:9:3].tolist()) for row in rows])
        assert {frozenset(order) for order in orders[-1]} == {frozenset({0, 1, 2})}
        assert len(set(orders[-1])) == 6, "all orders of three things"
        assert (rows[:, 9] == 31).all(), "no thing comes after things"
    assert orders[0] != orders[1]


@pytest.mark.parametrize("what", ["seed", "step", "rank", "part"])
def test_what_a_prior_is_shown_differs_by(what, monkeypatch):
    """Corrupted codes and hidden labels: drawn anew in each process, in each part, in every step."""
    told = Batch(codes=LABELLED.codes[:8], labels=LABELLED.labels[:8])

    def seen(seed=0, step=0, part=0, rank=0):
        monkeypatch.setenv("RANK", str(rank))
        task = prior_task(seed=seed, pkeep=0.5, condition=LabelSettings(classes=3, dropout=0.5))
        return shown(task, told, step, part)

    first, again, other = seen(), seen(), seen(**{what: 1})
    assert all(one.equal(two) for one, two in zip(first, again, strict=True))
    assert not any(one.equal(two) for one, two in zip(first, other, strict=True))


def draws_of_dropout(folder: Path, monkeypatch, *, rank: int = 0, seed: int = 0) -> list[float]:
    """The first number that networks draw in each of two parts of three steps."""
    monkeypatch.setenv("RANK", str(rank))
    run, drawn = loop(folder, tokenizer_training(adversarial=None, seed=seed)), []
    run.task.tokenizer.encoder.register_forward_pre_hook(lambda *_: drawn.append(torch.rand(()).item()))
    parts = cut(batch(), 2)
    for run.step in range(3):
        for number in range(2):
            run._forward_backward(number, parts)
    return drawn


def test_dropout_is_another_one_in_every_step_part_process_and_run(tmp_path, monkeypatch):
    first = draws_of_dropout(tmp_path, monkeypatch)
    torch.manual_seed(77)
    assert draws_of_dropout(tmp_path, monkeypatch) == first
    assert first[:2] == pytest.approx([0.2263755, 0.8297361], abs=1e-6)
    others = draws_of_dropout(tmp_path, monkeypatch, rank=1)
    seeds = draws_of_dropout(tmp_path, monkeypatch, seed=1)
    assert len({*first, *others, *seeds}) == 3 * 2 * 3


def test_sheets_validation_and_model_are_those_of_the_averaged_weights(tmp_path, monkeypatch):
    run = loop(tmp_path, tokenizer_training(adversarial=None, ema=0.9, sample_every=4))
    layer, seen, means = run.task.tokenizer.last_layer, [], {}

    def watch(name: str) -> None:
        real = getattr(run.task, name)

        def watched(*args):
            seen.append((name, run.ema.updates, layer.detach().clone()))
            return real(*args)

        monkeypatch.setattr(run.task, name, watched)

    for name in ("samples", "validate"):
        watch(name)

    def updated():
        run.ema.__class__.update(run.ema)
        means[run.ema.updates] = run.ema.means["decoder.conv_out.weight"].clone()

    monkeypatch.setattr(run, "_begin_average", lambda: None)  # the average watched here stays in place
    monkeypatch.setattr(run.ema, "update", updated)
    run.run(Feed(train=endless, validation=lambda: iter([batch()])))
    assert [(name, updates) for name, updates, _ in seen] == [
        ("samples", 4), ("validate", 4), ("samples", 8), ("validate", 8)
    ]  # fmt: skip
    for name, updates, weights in seen:
        assert weights.equal(means[updates]), name
    assert not layer.equal(means[8]), "raw ones are others"
    assert smalti.load(run.folder.root).last_layer.equal(means[8])


def test_moments_and_decay_follow_the_settings():
    """AdamW by hand: m = (1 - beta1) g, v = (1 - beta2) g^2, w <- (1 - lr decay) w - lr sign(g) at first."""
    network = torch.nn.Linear(3, 1, bias=False)
    rate = OptimizerSettings(lr=0.1, betas=(0.8, 0.7), weight_decay=0.5)
    optimizers = Optimizers({"one": network}, {"one": rate}, tokenizer_training(), CPU)
    before = network.weight.detach().clone()
    optimizers.backward({"one": (network.weight * torch.tensor([3.0, -2.0, 4.0])).sum()}, 1.0)
    optimizers.step({"one": torch.tensor(1.0)}, 0)
    state = optimizers.optimizers["one"].state[network.weight]
    torch.testing.assert_close(state["exp_avg"], torch.tensor([[0.6, -0.4, 0.8]]))
    torch.testing.assert_close(state["exp_avg_sq"], torch.tensor([[2.7, 1.2, 4.8]]))
    expected = before * (1 - 0.1 * 0.5) - 0.1 * torch.tensor([[1.0, -1.0, 1.0]])
    torch.testing.assert_close(network.weight.detach(), expected)


def adversarial_losses(**more):
    """Losses of a step in which the discriminator is felt, and its scores of real and rebuilt images."""
    how = AdversarialSettings(
        **{"start": 0, "patchgan": PatchGANSettings(width=8, layers=1, norm="act"), **more}
    )
    task, scores = TokenizerTask.build(tokenizer_training(how), CPU), []
    assert task.discriminate is not None
    task.discriminate.register_forward_hook(lambda _, __, out: scores.extend(one.detach() for one in out))
    return task.losses(batch(), 0), scores


@pytest.mark.parametrize("objective", ["hinge", "vanilla", "non_saturating"])
def test_both_sides_want_what_the_objective_says(objective):
    losses, (real, fake) = adversarial_losses(objective=objective)
    generator = F.softplus(-fake).mean() if objective == "non_saturating" else -fake.mean()
    logistic = F.softplus(-real).mean() + F.softplus(fake).mean()
    hinge = 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())
    discriminator = {"hinge": hinge, "vanilla": 0.5 * logistic, "non_saturating": logistic}[objective]
    torch.testing.assert_close(losses.statistics["adversarial"], generator)
    torch.testing.assert_close(losses.minimise["discriminator"].detach(), discriminator)
    torch.testing.assert_close(losses.statistics["logits_real"], real.mean())
    torch.testing.assert_close(losses.statistics["logits_fake"], fake.mean())


def test_delta_is_added_to_the_discriminators_gradient():
    """lambda = r / (a + delta): 1 / lambda grows by 1 / r for each 1 of delta."""
    inverse = [
        1 / adversarial_losses(delta=delta)[0].statistics["adaptive_weight"].item()
        for delta in (0.0, 1.0, 3.0)
    ]
    assert inverse[1] > inverse[0]
    assert inverse[2] - inverse[1] == pytest.approx(2 * (inverse[1] - inverse[0]), rel=1e-3)


def test_clamp_and_weight_bound_what_is_felt():
    for more, balance in (({"clamp": 0.0625}, 0.0625), ({"clamp": 0.0}, 0.0), ({"adaptive": False}, 1.0)):
        losses, _ = adversarial_losses(weight=0.3, **more)
        assert losses.statistics["adaptive_weight"].item() == balance
        own = losses.statistics["reconstruction"] + losses.statistics["quantizer"]
        felt = losses.minimise["autoencoder"].detach() - own
        torch.testing.assert_close(
            felt, 0.3 * balance * losses.statistics["adversarial"], atol=1e-6, rtol=0.0
        )


def test_the_discriminator_is_felt_in_gradients_too():
    """Not in the number alone: by clamp=0 the gradient is the reconstruction's own."""
    found = {}
    for clamp in (0.0, 1.0e4):
        how = AdversarialSettings(start=0, clamp=clamp, patchgan=DISCRIMINATOR.patchgan)
        task = TokenizerTask.build(tokenizer_training(how), CPU)
        task.losses(batch(), 0).minimise["autoencoder"].backward()
        found[clamp] = gradients(task.tokenizer)["decoder.conv_out.weight"]
    plain = TokenizerTask.build(tokenizer_training(None), CPU)
    plain.losses(batch(), 0).minimise["autoencoder"].backward()
    torch.testing.assert_close(found[0.0], gradients(plain.tokenizer)["decoder.conv_out.weight"])
    assert (found[1.0e4] - found[0.0]).norm() > 0.1 * found[0.0].norm()


def test_each_difference_weighs_what_the_settings_say():
    """l1, l2, and the perceptual distance of the first images alone."""
    how = {
        "l1": 0.5,
        "l2": 2.0,
        "adversarial": None,
        "perceptual": {"kind": "none"},
    }
    training = tokenizer_training(None)
    losses = config.parse(how, LossSettings)
    seen = []

    class Distance(torch.nn.Module):
        def forward(self, real, rebuilt):
            seen.append((real, rebuilt))
            return (real - rebuilt).abs().amax((1, 2, 3))

    built = TokenizerTask.build(training, CPU)
    weighed = [*terms(losses, "image"), Perceptual(Distance(), 3.0, images=2)]
    task = TokenizerTask(training, built.tokenizer, None, weighed)
    found, real = task.losses(batch(), 0), batch().images
    error = task.tokenizer.reconstruct(real) - real
    expected = {
        "l1": error.abs().mean(),
        "l2": error.square().mean(),
        "perceptual": error[:2].abs().amax((1, 2, 3)).mean(),
    }
    for name, term in expected.items():
        torch.testing.assert_close(found.statistics[name], term)
    total = 0.5 * expected["l1"] + 2.0 * expected["l2"] + 3.0 * expected["perceptual"]
    torch.testing.assert_close(found.statistics["reconstruction"], total)
    torch.testing.assert_close(found.minimise["autoencoder"].detach(), total + found.statistics["quantizer"])


def test_use_is_counted_from_all_images_of_all_parts():
    """A tokenizer and a prior: usage, perplexity, entropy, of exactly the codes that went by."""
    task = TokenizerTask.build(tokenizer_training(None), CPU)
    parts = [task.losses(batch(seed, size), 0) for seed, size in ((0, 3), (1, 2))]
    task.after_step(parts, 0)
    codes = torch.cat([part.codes.flatten() for part in parts])
    assert task.recent.codes().sort().values.equal(codes.sort().values)
    summary = task.summary()
    shares = codes.bincount(minlength=8) / len(codes)
    assert summary["recent_codes"] == 5 * 8 * 8
    assert summary["codebook_usage"] == (shares > 0).float().mean().item()
    assert summary["codebook_perplexity"] == pytest.approx(evenness(codes), rel=1e-5)
    assert not torch.equal(codes[:64].unique(), codes.unique()), "the first image has not all of them"

    prior = prior_task()
    told = [torch.zeros(1, 8, 8, dtype=torch.int64), torch.arange(64).view(1, 8, 8) % 4 + 1]
    prior.after_step([prior.losses(Batch(codes=torch.cat(told)), 0)], 0)
    expected = 0.5 * torch.log(torch.tensor(2.0)) + 0.5 * torch.log(torch.tensor(8.0))
    assert prior.summary()["unigram_nats"] == pytest.approx(expected.item(), abs=1e-6)
    assert prior.summary()["codebook_usage"] == 5 / 8


def evenness(codes: torch.Tensor) -> float:
    shares = codes.flatten().bincount() / codes.numel()
    return torch.special.entr(shares).sum().exp().item()


def test_validation_is_of_all_images_each_as_heavy_as_another():
    """Batches of 3 and 1: means over images, codes of all."""
    task = TokenizerTask.build(tokenizer_training(None), CPU)
    batches = [batch(0, 1), batch(1, 3)]
    found = task.validate(batches)
    images = torch.cat([one.images for one in batches])
    codes = task.tokenizer.encode(images)
    error = (task.tokenizer.decode(codes).clamp(-1, 1) - images).abs().mean()
    assert found["l1"] == pytest.approx(error.item(), abs=1e-6)
    assert found["codebook_usage"] == len(codes.unique()) / 8 > len(codes[:1].unique()) / 8
    assert found["codebook_perplexity"] == pytest.approx(evenness(codes), rel=1e-5)
    prior = prior_task()
    with torch.no_grad():  # at first all scores are alike
        for parameter in prior.networks["prior"].parameters():
            parameter += torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    told = [Batch(codes=torch.zeros(3, 8, 8, dtype=torch.int64)), Batch(codes=torch.full((1, 8, 8), 7))]
    each = [prior.pipeline.nats_per_token(one.codes) for one in told]
    assert prior.validate(told)["nats_per_token"] == pytest.approx((3 * each[0] + each[1]) / 4, abs=1e-5)


@pytest.mark.parametrize("remapped", [False, True])
def test_the_temperature_falls_with_the_steps(remapped):
    """From 2 to 1 over 4 steps, then half a cosine to 0.5 at step 8; also inside a remapped codebook."""
    falls = TemperatureSettings(start=2.0, high=1.0, low=0.5, warmup=4, until=8)
    gumbel = GumbelSettings(codebook_size=8, temperature=falls)
    how = RemappedSettings(inner=gumbel, used=5) if remapped else gumbel
    task = TokenizerTask.build(tokenizer_training(None, quantizer=how), CPU)
    found = [task.losses(batch(), step).statistics["temperature"].item() for step in (0, 2, 4, 6, 8, 99)]
    assert found == pytest.approx([2.0, 1.5, 1.0, 0.75, 0.5, 0.5])


def test_parts_count_by_their_size(tmp_path):
    """Five images in parts of three and two give the gradients, and the log, of five at once."""

    def five(start: int):
        while True:
            yield batch(start, 5)
            start += 1

    ends, lines = [], []
    for parts in (1, 2):
        training = tokenizer_training(None, batch=5, accumulate=parts, steps=2, ema=0.7)
        run = loop(tmp_path / str(parts), training)
        run.folder.create()
        assert run.ema.decay == 0.7  # of a run that goes on; then of one that began
        run.run(Feed(train=five, validation=None))
        assert run.ema.decay == 0.7
        lines.append([line for line in log.read(run.folder.log) if line["kind"] == "train"])
        ends.append(run.task.networks["autoencoder"].state_dict())
    for name, tensor in ends[0].items():
        torch.testing.assert_close(tensor, ends[1][name], atol=1e-5, rtol=1e-4)
    for one, two in zip(*lines, strict=True):
        for name in ("loss/autoencoder", "l1", "quantizer"):
            assert two[name] == pytest.approx(one[name], rel=1e-4)


def test_each_network_has_its_own_rate(tmp_path):
    training = tokenizer_training(steps=1)
    task = TokenizerTask.build(training, CPU)
    rates = {"autoencoder": RATE, "discriminator": OptimizerSettings(lr=1.0e-4)}
    run = Loop(task, training, rates, RunFolder(tmp_path), CPU)
    found = {
        name: [group["lr"] for group in each.param_groups] for name, each in run.optimizers.optimizers.items()
    }
    assert {name: set(lrs) for name, lrs in found.items()} == {
        "autoencoder": {3.0e-3},
        "discriminator": {1.0e-4},
    }


def test_codes_that_a_prior_learns_are_those_of_use():
    """The tokenizer in use, without its dropout and without autocast."""
    torch.manual_seed(0)
    network = replace(NETWORK, dropout=0.5)
    tokenizer = Tokenizer(
        TokenizerSettings(network=network, quantizer=VectorQuantizerSettings(codebook_size=8))
    )
    task = PriorTask.build(prior_task().training, tokenizer, CPU)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = task.losses(batch(2), 0).codes
    assert found.equal(tokenizer.encode(batch(2).images))


@pytest.mark.parametrize("kind", ["label", "map", "segmentation", "boxes", "points", "coordinates"])
def test_each_image_is_told_its_own(kind):
    """Row by row what a user would tell, also in the second part of a batch."""
    things = [Object(number, 0.1 * number, 0.0, 0.5, 0.5 + 0.1 * number) for number in range(3)]
    scenes = tuple(Scene((thing,)) for thing in things)
    noise = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    parts = tuple(Part(2 * number, 3 * number, 30, 24) for number in range(3))
    told = {
        "label": {"labels": torch.tensor([2, 0, 1])},
        "map": {"maps": noise},
        "segmentation": {"segmentations": (noise[:, 0] * 2).round().long() + 2},
        "boxes": {"scenes": scenes},
        "points": {"scenes": scenes},
        "coordinates": {"parts": parts},
    }[kind]
    things = {"classes": 3, "no_tokens": 64, "max_objects": 2}
    condition = {
        "label": LabelSettings(classes=3),
        "map": MapSettings(shared=True),
        "segmentation": MapSettings(),
        "boxes": BoxesSettings(**things),
        "points": PointsSettings(**things),
        "coordinates": CoordinatesSettings(tokens=64),
    }[kind]
    torch.manual_seed(0)
    own = None
    if kind == "segmentation":
        network = replace(NETWORK, in_channels=5, out_channels=5)
        quantizer = VectorQuantizerSettings(codebook_size=8)
        own = Tokenizer(TokenizerSettings(network=network, quantizer=quantizer, content="segmentation"))
    training = prior_task(condition=condition).training if own is None else None
    training = training or replace(prior_task().training, condition=condition)
    task = PriorTask.build(training, prior_task().pipeline.tokenizer, CPU, own)
    images = torch.zeros(3, 3, 16, 16)  # whose sides say how far coordinates reach
    whole = Batch(codes=torch.zeros(3, 8, 8, dtype=torch.int64), images=images, **told)
    (values,) = told.values()
    second = cut(whole, 2)[1]
    for rows, numbers in ((whole, (0, 1, 2)), (second, (2,))):
        prefix = shown(task, rows)[1]
        assert len(prefix) == len(numbers)
        for row, number in zip(prefix, numbers, strict=True):
            one = values[number : number + 1]
            one = one.tolist() if kind == "label" else one
            one = shares(*one) if kind == "coordinates" else one
            prompt = task.pipeline.condition.context(one, num=1, grid=(8, 8), device=CPU)
            assert row.equal(prompt.window(0, 0, 8, 8)[0])
    assert len(shown(task, whole)[1].unique(dim=0)) == 3


def shares(part: Part) -> torch.Tensor:
    """How far down its whole each pixel of a crop of 16 x 16 lies."""
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    return ((rows + part.top) * part.width + columns + part.left) / (part.height * part.width)


def test_sheets_of_a_prior_are_told_what_their_batch_says(monkeypatch):
    task, seen = prior_task(condition=LabelSettings(classes=3)), []

    def sample(**given):
        seen.append(given)
        return SimpleNamespace(tensors=torch.zeros(8, 3, 16, 16))

    monkeypatch.setattr(task.pipeline, "sample", sample)
    task.samples(LABELLED)
    (given,) = seen
    assert given["label"].value.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert (given["num"], given["seed"]) == (8, 0)


def test_networks_learn_with_dropout_and_tokenizers_are_in_use():
    """Modes, and first weights that belong to the seed."""
    task, prior = TokenizerTask.build(tokenizer_training(), CPU), prior_task()
    assert all(network.training for network in (*task.networks.values(), *prior.networks.values()))
    assert not any(module.training for module in prior.pipeline.tokenizer.modules())
    task.start(batch())
    assert all(module.training for module in task.tokenizer.modules())
    for build in (lambda seed: TokenizerTask.build(tokenizer_training(seed=seed), CPU), seeded_prior):
        tasks = [build(seed) for seed in (0, 0, 1)]
        zero, again, one = (next(each.networks[each.averaged].parameters()) for each in tasks)
        assert zero.equal(again)
        assert not zero.equal(one)


def seeded_prior(seed: int) -> PriorTask:
    return PriorTask.build(prior_task(seed=seed).training, prior_task().pipeline.tokenizer, CPU)


def test_a_codebook_starts_and_revives_by_seed_and_step():
    """Chance of k-means and of revival; the latents of the start are those of use, without dropout."""
    quantizer = VectorQuantizerSettings(codebook_size=8, kmeans_start=True, revive_below=1.0, usage_decay=0.0)

    def codebook(seed: int = 0, step: int | None = None) -> torch.Tensor:
        training = tokenizer_training(None, quantizer=quantizer, network=replace(NETWORK, dropout=0.5))
        task = TokenizerTask.build(training, CPU)
        task.training = replace(training, seed=seed)
        if step is None:
            task.start(batch())
        else:
            task.tokenizer.eval()
            task.after_step([task.losses(batch(), step)], step)
        return task.tokenizer.quantizer.codebook.weight.detach().clone()

    torch.manual_seed(1)
    started = codebook()
    torch.manual_seed(2)
    assert codebook().equal(started)
    assert not codebook(seed=1).equal(started)
    revived = codebook(step=3)
    assert codebook(step=3).equal(revived)
    assert not codebook(step=4).equal(revived)
    assert not codebook(seed=1, step=3).equal(revived)


def test_lines_of_the_log_are_means_over_the_steps_between(tmp_path):
    """The same run, written after each step and after every second one; rates are those of the last step."""
    lines = {}
    for every in (1, 2):
        training = tokenizer_training(None, steps=4, log_every=every)
        training = replace(training, optimizer=replace(RATE, schedule="cosine"))
        run = loop(tmp_path / str(every), training)
        run.folder.create()
        run.optimizers.settings = {"autoencoder": training.optimizer}
        run.run(Feed(train=endless, validation=None))
        lines[every] = [line for line in log.read(run.folder.log) if line["kind"] == "train"]
    for number, line in enumerate(lines[2]):
        pair = lines[1][2 * number : 2 * number + 2]
        for name in ("loss/autoencoder", "l1", "quantizer", "gradient/autoencoder"):
            assert line[name] == pytest.approx((pair[0][name] + pair[1][name]) / 2, rel=1e-5), name
        assert line["lr/autoencoder"] == pair[1]["lr/autoencoder"]
    assert [line["lr/autoencoder"] for line in lines[1]] == pytest.approx([3.0e-3, 2.25e-3, 0.75e-3, 0.0])
    assert lines[1][0]["loss/autoencoder"] == pytest.approx(0.54606, abs=2e-4)


def test_recompute_saves_activations_and_sheets_show_held_out_images(tmp_path, monkeypatch):
    training = tokenizer_training(None, steps=1, recompute=True)
    run = loop(tmp_path, training)
    block = run.task.tokenizer.encoder.down[0].block[0]
    passes, sheet, shown = Calls(block.conv1), run.task.samples, []

    def samples(told):
        shown.append(told.images)
        return sheet(told)

    monkeypatch.setattr(run.task, "samples", samples)
    run.run(Feed(train=endless, validation=lambda: iter([batch(99, 3)])))
    assert passes.count == 1 + 2 + 2, "the start; forward and again backward; the sheet and validation"
    assert shown[0].equal(batch(99, 3).images)
