"""Every term of a loss keeps its protocol; one from outside trains, is logged, goes on from checkpoints."""

from itertools import repeat
from pathlib import Path

import pytest
import torch
from test_training import CPU, DISCRIMINATOR, RATE, batch, tokenizer_training

from smalti import config
from smalti.losses import TERMS
from smalti.losses.protocol import AUTOENCODER, Logits, LossTerm
from smalti.losses.protocol import DISCRIMINATOR as OF_DISCRIMINATOR
from smalti.losses.terms import LossSettings, terms
from smalti.training import checkpoints, log
from smalti.training.feed import Feed
from smalti.training.fit import Loop
from smalti.training.folder import RunFolder
from smalti.training.tokenizer_task import TokenizerTask

ASKED = {
    "image": {"l1": 0.5, "l2": 2.0, "perceptual": {"kind": "hed"}, "adversarial": config.dump(DISCRIMINATOR)},
    "segmentation": {"l1": 0.0, "bce": 1.5, "perceptual": {"weight": 0.0}},
}
STEP = 9  # at which each of them counts


@pytest.fixture(scope="module")
def found() -> dict[str, list[LossTerm]]:
    return {what: terms(config.parse(asked, LossSettings), what) for what, asked in ASKED.items()}


def test_each_key_of_a_recipe_is_on_the_shelf(found):
    assert set(TERMS) == set(LossSettings.__dataclass_fields__)
    made = {key for asked in ASKED.values() for key in asked}
    assert made == set(TERMS), "a new term wants to be asked for here"
    assert [len(some) for some in found.values()] == [5, 1]


@pytest.mark.parametrize("what", ASKED)
def test_a_term_gives_its_value_and_numbers_in_fp32(found, what):
    chance = torch.Generator().manual_seed(0)
    images = [torch.rand(2, 3, 32, 16, generator=chance) for _ in range(2)]
    logits = Logits(*(torch.randn(2, 1, 4, 2, generator=chance).requires_grad_() for _ in range(2)))
    for term in found[what]:
        real, fake = images[0].round(), images[1].clone().requires_grad_()
        for tensor in logits:
            tensor.grad = None
        value, numbers = term(real, fake, logits if term.of_logits else None, STEP)
        assert (value.shape, value.dtype) == ((), torch.float32)
        assert value.isfinite()
        assert numbers
        assert all(number.shape == () and number.dtype == torch.float32 for number in numbers.values())
        value.backward()
        assert (fake.grad is None) == term.of_logits
        assert (logits.fake.grad is None) != term.of_logits
        assert (logits.real.grad is not None) == (term.network == OF_DISCRIMINATOR)
        assert not any(weight.requires_grad for weight in term.parameters())
        assert isinstance(term.weight(STEP), float)


class Drift(LossTerm):
    """How far the mean of the reconstructions is from that of all before them, which it remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    def weight(self, step: int) -> float | None:
        return None if step == 0 else 0.5

    def forward(self, real, fake, logits, step):
        value = (fake.mean() - self.mean).square()
        self.mean.lerp_(fake.detach().mean(), 0.1)
        return value, {"drift": value}


class Sway(LossTerm):
    """A second term of the autoencoder's that looks at the logits, with a weight of its own by gradients."""

    of_logits = True

    def weight(self, step: int) -> float | None:
        return 0.25 if step >= DISCRIMINATOR.start else None

    def forward(self, real, fake, logits, step):
        value = logits.fake.square().mean()
        return value, {"sway": value}

    def balance(self, fake, reconstruction, own, last_layer):
        found = reconstruction.norm() / own.norm()
        return found, {"sway_weight": found}


def loop(folder: Path, steps: int) -> Loop:
    folder.mkdir(exist_ok=True)
    training = tokenizer_training(steps=steps, checkpoint_every=6)
    task = TokenizerTask.build(training, CPU)
    task = TokenizerTask(training, task.tokenizer, task.discriminator, [*task.terms, Drift(), Sway()])
    return Loop(task, training, dict.fromkeys(task.networks, RATE), RunFolder(folder), CPU)


def test_terms_from_outside_train_and_what_they_remember_is_in_the_checkpoint(tmp_path):
    feed = Feed(train=lambda start: repeat(batch()), validation=None)
    whole = loop(tmp_path / "whole", 12)
    whole.run(feed)
    loop(tmp_path / "parts", 6).run(feed)
    kept = checkpoints.read(checkpoints.latest(tmp_path / "parts" / "checkpoints"))
    (mean,) = kept.below("task").values()
    assert mean != 0
    again = loop(tmp_path / "parts", 12)
    again.run(feed)
    for name, tensor in whole.task.state().items():
        assert tensor.equal(again.task.state()[name]), name
    for name, tensor in whole.task.tokenizer.state_dict().items():
        assert tensor.equal(again.task.tokenizer.state_dict()[name]), name
    lines = [line for line in log.read(tmp_path / "whole" / "log.jsonl") if line["kind"] == "train"]
    assert ["drift" in line for line in lines] == [False] + [True] * 11
    assert ["sway" in line for line in lines] == [step >= DISCRIMINATOR.start for step in range(12)]
    last = lines[-1]
    total = last["reconstruction"] + last["quantizer"] + 0.8 * last["adaptive_weight"] * last["adversarial"]
    assert last[f"loss/{AUTOENCODER}"] == pytest.approx(
        total + 0.25 * last["sway_weight"] * last["sway"], abs=1e-5
    )
    assert last["reconstruction"] == pytest.approx(last["l1"] + 0.5 * last["drift"], abs=1e-6)
