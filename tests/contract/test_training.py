"""What a step is: one pass a batch, each network its own gradients, nothing computed before it counts."""

from dataclasses import replace
from itertools import repeat
from pathlib import Path

import pytest
import torch
from tiny import NETWORK
from torch import nn

from smalti.data.folder import FolderSettings
from smalti.data.protocol import Batch
from smalti.errors import UserError
from smalti.losses import adversarial
from smalti.losses.adversarial import AdversarialSettings
from smalti.losses.patchgan import PatchGANSettings
from smalti.losses.perceptual import PerceptualSettings
from smalti.losses.terms import LossSettings
from smalti.pipeline import Pipeline
from smalti.priors.modern import ModernSettings
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings
from smalti.training import checkpoints, log
from smalti.training.ema import Ema
from smalti.training.feed import Feed
from smalti.training.fit import Loop
from smalti.training.folder import RunFolder
from smalti.training.optimization import Optimizers, build
from smalti.training.prior_task import PriorTask
from smalti.training.settings import OptimizerSettings, PriorTraining, TokenizerTraining
from smalti.training.tokenizer_task import TokenizerTask

CPU = torch.device("cpu")
NETWORK = NetworkSettings(**NETWORK, multipliers=(1, 2))
DISCRIMINATOR = AdversarialSettings(
    start=4, discriminator_start=2, ramp=4, patchgan=PatchGANSettings(width=8, layers=1)
)
RATE = OptimizerSettings(lr=3.0e-3, betas=(0.5, 0.9))
COMMON = {
    "data": FolderSettings(root=Path("unused")),
    "size": 16,
    "batch": 4,
    "steps": 8,
    "optimizer": RATE,
    "log_every": 1,
    "validate_every": 4,
}


def tokenizer_training(adversarial: AdversarialSettings | None = DISCRIMINATOR, **more) -> TokenizerTraining:
    losses = LossSettings(perceptual=PerceptualSettings(kind="none"), adversarial=adversarial)
    quantizer = VectorQuantizerSettings(codebook_size=8)
    return TokenizerTraining(
        **{**COMMON, "network": NETWORK, "quantizer": quantizer, "losses": losses, **more}
    )


def prior_task(**more) -> PriorTask:
    prior = ModernSettings(layers=1, heads=2, width=16)
    training = PriorTraining(**{**COMMON, "tokenizer": Path("unused"), "prior": prior, **more})
    torch.manual_seed(0)
    settings = TokenizerSettings(network=NETWORK, quantizer=VectorQuantizerSettings(codebook_size=8))
    return PriorTask.build(training, Tokenizer(settings), CPU)


def batch(seed: int = 0, size: int = 4) -> Batch:
    """Images of one colour each, so that there is something to learn."""
    colours = torch.rand(size, 3, 1, 1, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return Batch(images=colours.expand(size, 3, 16, 16).contiguous())


def endless(start: int):
    while True:
        yield batch(start)
        start += 1


def gradients(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


class Calls:
    """Counts the forward passes of a module."""

    def __init__(self, module: nn.Module) -> None:
        self.count = 0
        module.register_forward_hook(self._add)

    def _add(self, *_) -> None:
        self.count += 1


@pytest.mark.parametrize(("step", "discriminator"), [(1, 0), (2, 2), (3, 2), (4, 2)])
def test_one_pass_a_batch(step, discriminator):
    """The discriminator sees real and rebuilt images once it trains, and not again when it is felt."""
    task = TokenizerTask.build(tokenizer_training(), CPU)
    encoder, decoder = Calls(task.tokenizer.encoder), Calls(task.tokenizer.decoder)
    judged = Calls(task.networks["discriminator"])
    losses = task.losses(batch(), step)
    assert (encoder.count, decoder.count, judged.count) == (1, 1, discriminator)
    assert ("discriminator" in losses.minimise) == (step >= 2)
    assert ("adaptive_weight" in losses.statistics) == (step >= 4)


def test_each_network_learns_from_its_own_loss_alone():
    task = TokenizerTask.build(tokenizer_training(), CPU)
    discriminator, tokenizer = task.networks["discriminator"], task.tokenizer
    task.losses(batch(), 7).minimise["autoencoder"].backward()
    assert gradients(tokenizer).keys() == dict(tokenizer.named_parameters()).keys()
    assert not gradients(discriminator)
    tokenizer.zero_grad()
    task.losses(batch(), 7).minimise["discriminator"].backward()
    assert not gradients(tokenizer)
    assert gradients(discriminator).keys() == dict(discriminator.named_parameters()).keys()


def test_one_backward_pass_gives_both_networks_what_two_give():
    def after(together: bool) -> dict[str, torch.Tensor]:
        task = TokenizerTask.build(tokenizer_training(), CPU)
        losses = task.losses(batch(), 7).minimise
        optimizers = Optimizers(task.networks, dict.fromkeys(task.networks, RATE), task.training, CPU)
        for part in [losses] if together else [{name: loss} for name, loss in losses.items()]:
            optimizers.backward(part, 1.0)
        return {**gradients(task.tokenizer), **gradients(task.networks["discriminator"])}

    one, two = after(together=True), after(together=False)
    assert one.keys() == two.keys()
    for name, gradient in one.items():
        assert torch.equal(gradient, two[name]), name


def test_lambda_is_not_computed_before_it_counts(monkeypatch):
    asked = []

    def weight(*arguments, **options):
        asked.append(arguments)
        return torch.tensor(1.0)

    monkeypatch.setattr(adversarial, "adaptive_weight", weight)
    task = TokenizerTask.build(tokenizer_training(), CPU)
    for step in range(4):
        task.losses(batch(), step)
    assert not asked
    task.losses(batch(), 4)
    assert len(asked) == 1


def test_the_discriminator_is_felt_as_much_as_the_ramp_says(monkeypatch):
    monkeypatch.setattr(adversarial, "adaptive_weight", lambda *_, **__: torch.tensor(3.0))
    task = TokenizerTask.build(tokenizer_training(), CPU)
    for step, factor in ((3, 0.0), (4, 0.25), (6, 0.75), (7, 1.0), (9, 1.0)):
        losses = task.losses(batch(), step)
        own = losses.statistics["reconstruction"] + losses.statistics["quantizer"]
        felt = losses.minimise["autoencoder"].detach() - own
        expected = 0.8 * factor * 3.0 * losses.statistics.get("adversarial", torch.tensor(0.0))
        torch.testing.assert_close(felt, expected, atol=1e-6, rtol=0.0)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_losses_are_fp32_whatever_the_networks_compute_in(precision):
    task = TokenizerTask.build(tokenizer_training(precision=precision), CPU)
    rates = dict.fromkeys(task.networks, RATE)
    optimizers = Optimizers(task.networks, rates, task.training, CPU)
    seen = []
    task.tokenizer.decoder.conv_out.register_forward_hook(lambda _, __, out: seen.append(out.dtype))
    with optimizers.autocast():
        losses = task.losses(batch(), 7)
    assert {*seen} == {{"bf16": torch.bfloat16, "fp16": torch.float16}[precision]}
    for name, value in {**losses.minimise, **losses.statistics}.items():
        assert value.dtype == torch.float32, name
    optimizers.backward(losses.minimise, 1.0)
    outcome = optimizers.step({name: loss.detach() for name, loss in losses.minimise.items()}, 7)
    assert not outcome.wrong
    assert all(weight.dtype == torch.float32 for weight in task.tokenizer.parameters())


def test_a_gradient_too_large_for_fp16_is_skipped_without_complaint():
    task = TokenizerTask.build(tokenizer_training(precision="fp16", adversarial=None), CPU)
    optimizers = Optimizers(task.networks, {"autoencoder": RATE}, task.training, CPU)
    before = [weight.clone() for weight in task.tokenizer.parameters()]
    scale = optimizers.numbers()["scale"]
    task.tokenizer.last_layer.grad = torch.full_like(task.tokenizer.last_layer, torch.inf)
    optimizers.scaler.scale(torch.zeros(()))  # as backward would
    outcome = optimizers.step({"autoencoder": torch.tensor(1.0)}, 0)
    assert (outcome.moved, list(outcome.wrong)) == (False, [])
    assert all(torch.equal(old, new) for old, new in zip(before, task.tokenizer.parameters(), strict=True))
    assert optimizers.numbers()["scale"] == scale / 2


def test_only_weights_of_linear_and_convolutional_layers_decay():
    task = prior_task()
    prior = task.networks["prior"]
    named = {id(parameter): name for name, parameter in prior.named_parameters()}
    decayed, kept = build(prior, replace(RATE, weight_decay=0.1)).param_groups
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)
    names = {named[id(parameter)] for parameter in decayed["params"]}
    assert names == {
        name
        for name, parameter in prior.named_parameters()
        if name.endswith(".weight") and parameter.dim() == 2 and "table" not in name
    }
    assert len(names) + len(kept["params"]) == len(named)


def test_clipping_and_the_learning_rate():
    network = nn.Linear(3, 1, bias=False)
    rate = OptimizerSettings(lr=0.1, warmup=4)
    training = tokenizer_training(clip=0.5, steps=10)
    optimizers = Optimizers({"one": network}, {"one": rate}, training, CPU)
    optimizers.backward({"one": (network.weight * torch.tensor([3.0, 0.0, 4.0])).sum()}, 1.0)
    before = network.weight.detach().clone()
    outcome = optimizers.step({"one": torch.tensor(1.0)}, 1)
    assert outcome.norms["one"] == pytest.approx(5.0)  # before clipping
    assert network.weight.grad is None
    # Adam's first step is lr * sign(gradient), here lr = 0.1 * 2 / 4
    torch.testing.assert_close(before - network.weight.detach(), torch.tensor([[0.05, 0.0, 0.05]]))
    (group,) = optimizers.optimizers["one"].param_groups
    assert group["lr"] == pytest.approx(0.05)
    first_moment = optimizers.optimizers["one"].state[network.weight]["exp_avg"]
    torch.testing.assert_close(first_moment, 0.1 * torch.tensor([[0.3, 0.0, 0.4]]))  # of the clipped one


def test_the_average_of_weights():
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, 2.0)
    ema = Ema(network, decay=0.2)
    mean = 2.0
    for number, weight in enumerate([3.0, 5.0, -1.0, 4.0]):
        nn.init.constant_(network.weight, weight)
        ema.update()
        decay = min(0.2, (1 + number) / (10 + number))
        mean = decay * mean + (1 - decay) * weight
        assert ema.means["weight"].item() == pytest.approx(mean)
    assert decay == 0.2  # the last ones were not warm-up any more
    with ema.applied():
        assert network.weight.item() == pytest.approx(mean)
    assert network.weight.item() == 4.0


def loop(folder: Path, training: TokenizerTraining) -> Loop:
    task = TokenizerTask.build(training, CPU)
    return Loop(task, training, dict.fromkeys(task.networks, RATE), RunFolder(folder), CPU)


def test_losses_fall_and_are_written_down(tmp_path):
    quantizer = VectorQuantizerSettings(codebook_size=8, kmeans_start=True)
    training = tokenizer_training(adversarial=None, steps=30, quantizer=quantizer)
    feed = Feed(train=lambda start: repeat(batch()), validation=lambda: iter([batch()]))
    loop(tmp_path, training).run(feed)
    lines = log.read(tmp_path / "log.jsonl")
    losses = [line["loss/autoencoder"] for line in lines if line["kind"] == "train"]
    assert len(losses) == 30
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    measured = [line for line in lines if line["kind"] == "validation"]
    assert [line["step"] for line in measured] == [4, 8, 12, 16, 20, 24, 28, 30]
    assert measured[-1]["psnr"] > measured[0]["psnr"]


def test_what_is_measured_and_saved_are_the_averaged_weights(tmp_path):
    run = loop(tmp_path, tokenizer_training(adversarial=None, ema=0.9))
    run.run(Feed(train=endless, validation=None))
    from smalti import library

    saved = library.load(tmp_path).state_dict()
    own = run.task.networks["autoencoder"].state_dict()
    assert run.ema is not None
    for name, mean in run.ema.means.items():
        assert torch.equal(saved[name], mean)
    assert any(not torch.equal(saved[name], own[name]) for name in own)


def test_images_pass_the_codebook_from_a_step_on(tmp_path):
    """Before, it is neither trained nor counted; then it starts at the latents, and the averages with it."""
    quantizer = VectorQuantizerSettings(codebook_size=8, kmeans_start=True)
    training = tokenizer_training(adversarial=None, quantizer=quantizer, quantize_start=3, steps=4)
    run = loop(tmp_path, training)
    codebook = run.task.networks["autoencoder"].quantizer.codebook.weight
    seen = []

    def watched(start: int):
        for found in endless(start):
            seen.append(codebook.detach().clone())
            yield found

    run.run(Feed(train=watched, validation=None))
    # before the start, then before steps 1, 2, 3
    assert torch.equal(seen[1], seen[2])
    assert not torch.equal(seen[2], seen[3])
    assert run.ema is not None
    assert run.ema.updates == 1
    lines = [line for line in log.read(tmp_path / "log.jsonl") if line["kind"] == "train"]
    assert ["codebook_usage" in line for line in lines] == [False, False, False, True]
    assert lines[1]["loss/autoencoder"] == pytest.approx(lines[1]["reconstruction"])
    assert lines[3]["loss/autoencoder"] > lines[3]["reconstruction"]


def test_accumulation_changes_memory_not_results(tmp_path):
    ends = []
    for parts in (1, 2):
        run = loop(tmp_path / str(parts), tokenizer_training(adversarial=None, steps=3, accumulate=parts))
        run.folder.create()
        run.run(Feed(train=endless, validation=None))
        ends.append(run.task.networks["autoencoder"].state_dict())
    for name, tensor in ends[0].items():
        torch.testing.assert_close(tensor, ends[1][name], atol=1e-5, rtol=1e-4)


def spoiled(steps: set[int]):
    """Batches, some of which hold a number that is none."""

    def batches(start: int):
        for step, found in enumerate(endless(start), start):
            assert found.images is not None
            if step in steps:
                found.images[0, 0, 0, 0] = torch.nan
            yield found

    return batches


def test_a_step_without_a_finite_loss_moves_nothing(tmp_path):
    run = loop(tmp_path, tokenizer_training(steps=4))
    states = []

    def watched(start: int):
        for found in spoiled({2})(start):
            moments = run.optimizers.tensors()
            weights = {
                f"{name}.{key}": tensor.clone()
                for name, network in run.task.networks.items()
                for key, tensor in network.named_parameters()
            }
            states.append({**weights, **{name: t.clone() for name, t in moments.items()}})
            yield found

    run.run(Feed(train=watched, validation=None))
    # before the start, then before steps 1, 2, 3; step 2 is the bad one
    before, after = states[2], states[3]
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert any(not torch.equal(states[1][name], before[name]) for name in states[1])
    lines = log.read(tmp_path / "log.jsonl")
    (skipped,) = [line for line in lines if line["kind"] == "skipped"]
    assert skipped["step"] == 3
    assert {"loss/autoencoder", "loss/discriminator", "gradient/autoencoder", "l1"} <= set(
        skipped["wrong"].split(", ")
    )
    train_lines = [line for line in lines if line["kind"] == "train"]
    assert [line["skipped"] for line in train_lines] == [0, 0, 1, 1]
    assert all(
        not isinstance(value, str) for line in train_lines for value in line.values() if value != "train"
    )


def test_a_run_that_gives_no_numbers_gives_up(tmp_path):
    run = loop(tmp_path, tokenizer_training(steps=50, patience=3))
    with pytest.raises(UserError, match="3 steps in a row") as caught:
        run.run(Feed(train=spoiled(set(range(1, 50))), validation=None))
    assert run.step == 4
    assert "optimizer.lr" in caught.value.remedy


def test_a_run_goes_back_to_its_last_good_checkpoint_with_half_the_rates(tmp_path):
    """Two steps of three are skipped when a checkpoint is due, which is thus none to go back to."""
    times = {"left": 1}

    def once_wrong(start: int):
        wrong = spoiled({5, 6, 7})(start) if times["left"] else endless(start)
        for step, found in enumerate(wrong, start):
            if step == 7:
                times["left"] = 0
            yield found

    how = {"steps": 10, "patience": 3, "rewinds": 1, "checkpoint_every": 2, "keep": 9, "log_every": 1}
    run = loop(tmp_path / "one", tokenizer_training(adversarial=None, **how))
    run.folder.create()
    run.run(Feed(train=once_wrong, validation=None))
    lines = log.read(run.folder.log)
    (note,) = [line for line in lines if "back to step" in line.get("text", "")]
    assert note["step"] == 4
    assert "3 steps in a row" in note["text"]
    assert "batch" in note["text"]
    train = {line["step"]: line for line in lines if line["kind"] == "train"}
    assert sorted(train) == list(range(1, 11))
    rate = RATE.lr
    assert [train[step]["lr/autoencoder"] for step in (4, 5, 10)] == [rate, rate / 2, rate / 2]
    assert run.step == 10
    steps = [checkpoints.step_of(path) for path in sorted(run.folder.checkpoints.iterdir())]
    assert steps == [2, 4, 6, 8, 10]


def test_a_run_that_went_back_goes_on_with_the_same_rates_and_gives_up_in_the_end(tmp_path):
    how = {"steps": 10, "patience": 2, "rewinds": 1, "checkpoint_every": 2, "log_every": 1}
    training = tokenizer_training(adversarial=None, **how)
    run = loop(tmp_path / "one", training)
    run.folder.create()
    with pytest.raises(UserError, match="2 steps in a row") as caught:
        run.run(Feed(train=spoiled({5, 6, 7}), validation=None))
    assert "rewinds" in caught.value.remedy
    again = loop(tmp_path / "one", training)
    again.run(Feed(train=endless, validation=None))
    train = {line["step"]: line for line in log.read(run.folder.log) if line["kind"] == "train"}
    assert train[10]["lr/autoencoder"] == RATE.lr / 2


def test_files_that_cannot_be_written_end_a_run_and_nothing_is_lost(tmp_path, monkeypatch):
    real = checkpoints.save_tensors

    def full_disk(tensors, path, metadata):
        if "step-00000004" in str(path):
            raise OSError(28, "No space left on device")
        real(tensors, path, metadata)

    how = {"steps": 20, "checkpoint_every": 2, "log_every": 1}
    run = loop(tmp_path / "one", tokenizer_training(adversarial=None, **how))
    run.folder.create()
    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "save_tensors", full_disk)
        with pytest.raises(OSError, match="No space left"):
            run.run(Feed(train=endless, validation=None))
    assert checkpoints.sound(run.folder.checkpoints).name == "step-00000002"
    whole = loop(tmp_path / "two", tokenizer_training(adversarial=None, **how))
    whole.folder.create()
    whole.run(Feed(train=endless, validation=None))
    again = loop(tmp_path / "one", tokenizer_training(adversarial=None, **how))
    again.run(Feed(train=endless, validation=None))
    ends = [checkpoints.read(one.folder.checkpoints / "step-00000020").tensors for one in (whole, again)]
    assert all(tensor.equal(ends[1][name]) for name, tensor in ends[0].items())


@pytest.mark.parametrize("pkeep", [1.0, 0.5])
def test_a_prior_scores_clean_codes_and_only_them(pkeep, monkeypatch):
    task = prior_task(pkeep=pkeep)
    codes = torch.arange(64).view(1, 8, 8) % 8
    seen = {}

    def told(shown, prefix):
        seen.update(shown=shown, prefix=prefix)
        scores = torch.zeros(1, 64, 8)
        scores[0, torch.arange(64), codes.flatten()] = 5.0
        return scores

    monkeypatch.setattr(task.networks["prior"], "forward", told)
    losses = task.losses(Batch(codes=codes), 0)
    assert torch.equal(seen["shown"], codes.flatten(1)) == (pkeep == 1)
    assert seen["prefix"].shape == (1, 1)
    expected = -torch.log_softmax(torch.tensor([5.0] + [0.0] * 7), 0)[0]  # nats a token
    torch.testing.assert_close(losses.minimise["prior"], expected)


def test_what_a_prior_is_shown_is_corrupted_by_seed_and_step():
    def shown(seed: int, step: int) -> torch.Tensor:
        task = prior_task(pkeep=0.5, seed=seed)
        seen = []
        task.networks["prior"].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        task.losses(Batch(codes=torch.zeros(2, 8, 8, dtype=torch.int64)), step)
        return seen[0]

    first = shown(0, 3)
    assert 0.3 < (first != 0).float().mean() < 0.6  # half of them drawn anew, 7 of 8 of those another code
    assert torch.equal(first, shown(0, 3))
    assert not torch.equal(first, shown(0, 4))
    assert not torch.equal(first, shown(1, 3))


def test_a_prior_trains_on_images_as_on_their_codes_and_leaves_the_tokenizer_alone():
    task = prior_task()
    images = batch(3)
    codes = task.pipeline.tokenizer.encode(images.images)
    from_images = task.losses(images, 0)
    assert torch.equal(from_images.codes, codes)
    torch.testing.assert_close(
        from_images.minimise["prior"], task.losses(Batch(codes=codes), 0).minimise["prior"]
    )
    from_images.minimise["prior"].backward()
    assert not gradients(task.pipeline.tokenizer)
    assert isinstance(task.model(), Pipeline)
    assert task.validate([images])["nats_per_token"] == pytest.approx(
        from_images.minimise["prior"].item(), abs=1e-5
    )
