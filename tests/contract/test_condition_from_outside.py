"""A condition that somebody else wrote trains, is saved, loaded, draws by its place in the dict alone."""

import json
from typing import ClassVar, Literal

import click
import pytest
import torch
import yaml
from click.testing import CliRunner
from tiny import TOKENIZER_TRAINING, TRAINING
from torch import nn

import smalti
from smalti import library
from smalti.cli.options import drawing, sampling
from smalti.conditions import CONDITIONS
from smalti.conditions.context import SameContext
from smalti.conditions.dropout import ConditionDropout
from smalti.conditions.protocol import Codec, Condition
from smalti.config import Positive, Share, settings
from smalti.errors import UserError
from smalti.formats import exporting
from smalti.schema import Option


@settings
class ToneSettings:
    """How finely brightness is told."""

    kind: Literal["tone"] = "tone"
    steps: Positive = 5
    dropout: Share = 0.0


class Tone(Condition):
    """Takes how bright the image is, from 0 to 1: one token, the nearest of its own table."""

    argument: ClassVar[str | None] = "tone"

    def __init__(
        self, settings: ToneSettings, tokenizer: Codec | None = None, part: nn.Module | None = None
    ) -> None:
        super().__init__(settings, tokenizer, part)
        self.register_buffer("levels", torch.linspace(0, 1, settings.steps))
        self.dropout = ConditionDropout(what="brightness", share=settings.dropout, token=settings.steps)
        self.vocabulary = settings.steps + self.dropout.extra

    def length(self, grid):
        return 1

    def from_user(self, value, *, num, grid):
        if not isinstance(value, float):
            raise UserError("a brightness", str(value), "give tone=0.5")
        return torch.tensor([value] * num)

    def from_batch(self, batch):
        return (batch.images.mean((1, 2, 3)).cpu() + 1) / 2

    def encode(self, value, *, num, grid, device):
        distance = (value.to(device)[:, None] - self.levels).abs()
        return SameContext(prefix=distance.argmin(1, keepdim=True))

    @classmethod
    def needs(cls, settings, data, reader):
        if "image" not in reader.gives:
            raise UserError("images for condition.kind=tone", data.kind, "give data.kind=folder")

    def from_option(self, given, fit):
        return float(given)


@pytest.fixture
def recipe(monkeypatch, photos, tmp_path):
    """What a run of a prior is given, on a tokenizer of one step."""
    monkeypatch.setitem(CONDITIONS, "tone", (ToneSettings, Tone))
    monkeypatch.setitem(CONDITIONS.offers, "tone", Option("Brightness, from 0 to 1."))
    (tmp_path / "tokenizer.yaml").write_text(yaml.safe_dump({**TOKENIZER_TRAINING, "steps": 1}))
    smalti.train(tmp_path / "tokenizer.yaml", photos, tmp_path / "tokenizer")
    prior = {"kind": "gpt", "layers": 1, "heads": 2, "width": 16}
    whole = {
        **TRAINING,
        "kind": "prior",
        "tokenizer": str(tmp_path / "tokenizer"),
        "prior": prior,
        "steps": 2,
    }
    whole |= {"size": [16, 24], "condition": {"kind": "tone", "dropout": 0.5}, "validate_every": 2}
    (tmp_path / "prior.yaml").write_text(yaml.safe_dump({**whole, "sample_every": 2}))
    return tmp_path / "prior.yaml"


def test_it_trains_is_saved_loaded_and_draws(recipe, photos, tmp_path):
    run = smalti.train(recipe, photos, tmp_path / "run")
    model = smalti.load(run)
    assert "condition: tone" in library.outline(run).words
    (drawn,) = model.sample(tone=0.4, guidance_scale=2.0)
    assert drawn.size == (24, 16)
    assert json.loads(drawn.info["smalti"])["tone"] == 0.4
    with pytest.raises(UserError, match="a brightness, got dark"):
        model.sample(tone="dark")
    with pytest.raises(UserError, match=r"a condition of the 2021 code, got tone; keep the model folder"):
        exporting.convert(run, tmp_path / "out", "compvis")
    go_on = smalti.train(out=run, resume=True, steps=3)
    assert smalti.load(go_on).condition.levels.tolist() == model.condition.levels.tolist()


def test_its_own_numbers_are_part_of_the_model(recipe, photos, tmp_path):
    """They are saved, loaded, told by the fingerprint, and what training begins with."""
    model = smalti.load(smalti.train(recipe, photos, tmp_path / "run"))
    before = library.fingerprint(model)
    model.condition.levels.copy_(torch.tensor([0.0, 0.1, 0.2, 0.3, 1.0]))
    smalti.save(model, tmp_path / "model")
    assert smalti.load(tmp_path / "model").fingerprint == library.fingerprint(model) != before
    half = smalti.load(tmp_path / "model", dtype="bf16")
    assert half.condition.dtype is torch.bfloat16
    assert library.fingerprint(half.condition) == library.fingerprint(model.condition)
    codes = torch.arange(96).view(1, 8, 12) % 8
    assert smalti.load(tmp_path / "model").logits(codes, tone=0.3).equal(model.logits(codes, tone=0.3))
    library.outline(tmp_path / "model")
    begun = smalti.load(_begun(recipe, photos, tmp_path, str(tmp_path / "model")))
    assert begun.condition.levels.equal(model.condition.levels)
    (tmp_path / "model" / "condition" / "model.safetensors").unlink()
    for read in (smalti.load, library.outline):
        with pytest.raises(UserError, match="copy it again"):
            read(tmp_path / "model")


def _begun(recipe, photos, tmp_path, model):
    """A run that begins with a model; what that has settled is not asked for again."""
    how = {key: value for key, value in yaml.safe_load(recipe.read_text()).items() if key != "size"}
    (tmp_path / "more.yaml").write_text(yaml.safe_dump({**how, "size": [16, 24], "init_from": model}))
    return smalti.train(tmp_path / "more.yaml", photos, tmp_path / "more")


def test_the_command_offers_it(recipe, photos, tmp_path):
    @click.command()
    @sampling
    def probe(**options):
        """Do nothing."""

    options = probe.make_context("probe", ["--tone", "0.25"]).params
    assert "Brightness" in CliRunner().invoke(probe, ["--help"]).output
    model = smalti.load(smalti.train(recipe, photos, tmp_path / "run"))
    given = drawing(model, {**options, "size": (16, 24)})
    assert given["tone"] == 0.25
    assert "label" not in given
    assert len(list(model.sample(**given))) == 1
