"""The doctor tells what there is, and sees a device that computes something else."""

import copy
import json

import pytest
import torch
from click.testing import CliRunner
from tiny import PRIORS, generator

import smalti
from smalti import devices, doctor
from smalti.cli.main import group
from smalti.conditions.label import LabelSettings
from smalti.conditions.none import NoConditionSettings
from smalti.conditions.text import TextSettings
from smalti.errors import UserError
from smalti.training.seeds import seeded

CPU = torch.device("cpu")


def compared(model, other):
    """Compare two models as if the second lay on another device."""
    models = iter((model, other))
    return {one.what: one for one in doctor.compared(lambda device: next(models), CPU)}


@pytest.mark.parametrize("kind", PRIORS)
def test_the_same_model_is_right(kind):
    model = generator(kind, grid=(4, 6)).eval()
    found = compared(model, copy.deepcopy(model))
    assert [one.value for one in found.values()] == [1, 0, 0, 1]
    assert all(one.is_right for one in found.values())


@pytest.mark.parametrize(
    "condition", [NoConditionSettings(), TextSettings(max_tokens=5)], ids=lambda one: one.kind
)
def test_conditions_of_all_lengths(condition):
    model = generator("modern", condition).eval()
    assert all(one.is_right for one in compared(model, copy.deepcopy(model)).values())


def test_what_is_wrong_is_seen():
    model = generator("gpt", LabelSettings(classes=3)).eval()
    for part, wrong in (
        ("tokenizer.encoder", ["codes of two images that are equal"]),
        ("tokenizer.decoder", ["images of these codes, largest difference (of -1 to 1)"]),
        ("prior", ["logits of the prior, largest difference", "its likeliest codes that are equal"]),
    ):
        other = copy.deepcopy(model)
        with torch.no_grad():
            for weight in other.get_submodule(part).parameters():
                weight.add_(torch.linspace(-1, 1, weight.numel()).view_as(weight))
        found = compared(model, other)
        assert [what for what, one in found.items() if not one.is_right] == wrong
    nan = copy.deepcopy(model)
    with torch.no_grad():
        next(nan.prior.parameters()).fill_(torch.nan)
    assert not compared(model, nan)["logits of the prior, largest difference"].is_right


def test_a_tokenizer_alone():
    tokenizer = generator().tokenizer.eval()
    assert len(compared(tokenizer, copy.deepcopy(tokenizer))) == 2


def test_the_command(tmp_path, monkeypatch):
    found = CliRunner().invoke(group, ["doctor"], catch_exceptions=False)
    assert f"torch: {torch.__version__}\n" in found.stdout
    assert "models: emoji" in found.stdout
    smalti.save(generator(), tmp_path / "model")
    words = ["doctor", str(tmp_path / "model"), "--device", "cpu"]
    told = json.loads(CliRunner().invoke(group, [*words, "--json"], catch_exceptions=False).stdout)
    assert [one["is_right"] for one in told["checked"]] == [True] * 4
    assert set(told["extras"]) >= {"train", "eval", "text"}
    wrong = doctor.Check("codes", 0.5, 0.95, is_share=True)
    monkeypatch.setattr(doctor, "compared", lambda load, device: [wrong])
    broken = CliRunner().invoke(group, words)
    assert "codes: 0.5, at least 0.95: WRONG" in broken.stdout
    assert isinstance(broken.exception, UserError)
    assert "what the CPU computes on cpu, got something else: codes" in str(broken.exception)


def test_devices(monkeypatch):
    assert devices.find("cpu") == CPU
    with pytest.raises(UserError, match=r"got tpu .*; device=cpu"):
        devices.find("tpu")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("meta"))
    assert devices.find("auto") == torch.device("meta")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert devices.find("auto") == CPU


def test_the_generator_of_another_accelerator_is_seeded_and_put_back(monkeypatch):
    """XPU and MPS have one generator each, which torch's fork of random states does not know."""

    class Module:
        said = ()

        def get_rng_state(self):
            return "before"

        def manual_seed(self, seed):
            self.said += (seed,)

        def set_rng_state(self, state):
            self.said += (state,)

    module = Module()
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)
    with seeded(torch.device("mps"), 3, 4):
        draws = torch.rand(2)
    assert len(module.said) == 2
    assert module.said[-1] == "before"
    with seeded(CPU, 3, 4):
        assert torch.equal(torch.rand(2), draws)
