"""What a person types as key=value: text stays text, sizes are sizes, and slips are told."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from tiny import TOKENIZER_TRAINING, TRAINING, generator

import smalti
from smalti import config
from smalti.cli import recipes as listing
from smalti.training import precompute
from smalti.training.settings import TrainingSettings

TOKENIZER = {**TOKENIZER_TRAINING, "steps": 1}
PRIOR = {
    **TRAINING,
    "kind": "prior",
    "prior": {"kind": "gpt", "layers": 1, "heads": 2, "width": 16},
    "steps": 1,
}


def recipe(settings: dict, name: str = "mine.yaml") -> str:
    Path(name).write_text(json.dumps(settings))
    return name


def settings_of(run: str) -> dict:
    return yaml.safe_load(Path(run, "settings.yaml").read_text())


@pytest.mark.parametrize(
    "name", ["2021", "on", "null", "my tok #2", "a: b", "1e3", "[x]", "0x10", "2026-11-30"]
)
def test_a_path_is_what_was_typed(home, photos, smalti_command, name):
    smalti.save(generator().tokenizer, name)
    words = ("train", recipe(PRIOR), "--data", photos, "--out", "run", f"tokenizer={name}", "init_from=null")
    status, _, complaint = smalti_command(*words)
    assert status == 0, complaint
    assert settings_of("run")["tokenizer"] == name
    assert settings_of("run")["init_from"] is None


@pytest.mark.parametrize(
    ("word", "key", "value"),
    [
        ("tokenizer='2021'", "tokenizer", "2021"),
        ("data.val=null", "data.val", None),
        ("data.val=off", "data.val", "off"),
        ("init_from=", "init_from", None),
        ("losses.perceptual.vgg=007", "losses.perceptual.vgg", "007"),
        ("data.year=2017", "data.year", "2017"),
        ("condition.names=[1, 02, on, null, 1e3]", "condition.names", ["1", "02", "on", "null", "1e3"]),
        ("condition={kind: label, names: [no, yes]}", "condition", {"kind": "label", "names": ["no", "yes"]}),
        (
            "data={kind: folder, root: 2021, val: null}",
            "data",
            {"kind": "folder", "root": "2021", "val": None},
        ),
        (
            "data={kind: open_images, merge: {1: 2, on: no}}",
            "data",
            {"kind": "open_images", "merge": {"1": "2", "on": "no"}},
        ),
        ("data={kind: maps, merge: {255: 0}}", "data", {"kind": "maps", "merge": {255: 0}}),
        ("data.merge={255: 0}", "data.merge", {255: 0}),
        ("optimizer.lr=1e-4", "optimizer.lr", 1e-4),
        ("optimizer.betas=[5e-1, 9E-1]", "optimizer.betas", [0.5, 0.9]),
        ("losses.adversarial=null", "losses.adversarial", None),
        ("data.classes=12", "data.classes", 12),
        ("recompute=on", "recompute", True),
    ],
)
def test_the_type_of_a_setting_says_how_a_word_is_read(word, key, value):
    assert config.overrides([word], TrainingSettings) == {key: value}


def test_text_in_a_recipe_is_text(home):
    Path("mine.yaml").write_text(
        "kind: prior\ntokenizer: 2021\ndata: &data {kind: folder, root: on, val: null}\n"
        "condition: {kind: label, names: [on, no, 3]}\nbatch: 0x10\npkeep: 9e-1\n"
    )
    found = config.read("mine.yaml", into=TrainingSettings)
    assert found["tokenizer"] == "2021"
    assert found["data"] == {"kind": "folder", "root": "on", "val": None}
    assert found["condition"]["names"] == ["on", "no", "3"]
    assert (found["batch"], found["pkeep"]) == (16, 0.9)


def test_merged_keys_are_text_too(home):
    Path("mine.yaml").write_text("kind: prior\ndata: {<<: {root: 2021}, kind: folder}\n")
    assert config.read("mine.yaml", into=TrainingSettings)["data"] == {"root": "2021", "kind": "folder"}


def test_the_kind_says_which_settings_are_meant(home):
    """data.classes is a number for some kinds and a word for others; alone, the recipe's types decide."""
    Path("mine.yaml").write_text("data: {kind: folder, classes: 007}\n")
    assert config.read("mine.yaml", into=TrainingSettings)["data"]["classes"] == "007"
    Path("mine.yaml").write_text("data: {kind: maps, classes: 007}\n")
    assert config.read("mine.yaml", into=TrainingSettings)["data"]["classes"] == 7


def test_a_size_is_written_as_for_the_option(home, photos, smalti_command):
    for number, word in enumerate(("size=16x24", "size=[16,24]")):
        words = ("train", recipe(TOKENIZER), "--data", photos, "--out", f"run{number}", word)
        status, _, complaint = smalti_command(*words)
        assert status == 0, complaint
        assert settings_of(f"run{number}")["size"] == [16, 24]
    status, _, complaint = smalti_command(
        "train", recipe({**TOKENIZER, "size": "24X16"}), "--data", photos, "--out", "run"
    )
    assert (status, settings_of("run")["size"]) == (0, [24, 16]), complaint
    assert config.parse({"size": "6x10"}, precompute.Encoding).sizes == ((6, 10),)
    status, _, complaint = smalti_command(*words[:-2], "new", "size=16x24x3")
    assert (status, "HxW" in complaint, "16x24x3" in complaint) == (2, True, True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["batch", "=", "4"], "no spaces around =, got batch = 4; write batch=4"),
        (["batch=", "4"], "no spaces around =, got batch= 4; write batch=4"),
        (["steps=1", "batch", "=4"], "no spaces around =, got batch =4; write batch=4"),
        (["--batch", "4"], "key=value, got --batch; write batch=4"),
        (["--batch=4"], "write batch=4"),
        (["--batch", "4", "--batch", "8"], "got --batch; write batch=4"),
        (["--optimizer.lr", "1e-4"], "write optimizer.lr=1e-4"),
        (["--lr", "1e-4"], "write optimizer.lr=1e-4"),
        (["--quantizer.codebook-size", "64"], "write quantizer.codebook_size=64"),
        (["--recompute", "steps=1"], "write recompute=true"),
        (["--dat", "x"], "--data"),
        (["losses={l1: 1.0, l1: 2.0}"], "the key l1 is given twice"),
        (["steps=3", "steps.more=1"], "steps.more, but steps is a value"),
        (["steps=0", "stepz=3"], "got stepz; did you mean steps?"),
        (["seed=!!python/object/apply:os.getcwd []"], "a value that YAML can read for seed"),
        (["tokenizer="], "expected a value for tokenizer, got none; give tokenizer=VALUE"),
    ],
)
def test_slips_are_told(home, smalti_command, words, told):
    status, out, complaint = smalti_command("train", "tokenizer_300", "--data", "x", *words)
    assert (status, out, len(complaint.splitlines())) == (2, "", 1)
    assert told in complaint, complaint


def test_a_remedy_works_when_typed(home, photos, smalti_command):
    words = ("train", recipe(TOKENIZER), "--data", photos, "--out", "run")
    complaint = smalti_command(*words, "--quantizer.codebook-size", 16)[2]
    remedy = complaint.rpartition("write ")[2].strip()
    assert smalti_command(*words, remedy)[0] == 0
    assert settings_of("run")["quantizer"]["codebook_size"] == 16


@pytest.mark.parametrize(
    "text",
    [
        "steps: 3\nbatch: 2\nsteps: 3\n",
        "optimizer:\n  lr: 1.0e-4\n  lr: 2.0e-4\n",
        "a: [{b: 1, b: 2}]\n",
        "{tokenizer: 1, tokenizer: 1}",
    ],
)
def test_a_key_given_twice_is_refused(home, smalti_command, text):
    Path("mine.yaml").write_text(text)
    with pytest.raises(smalti.UserError, match="is given twice"):
        config.load_yaml(Path("mine.yaml"))
    status, _, complaint = smalti_command("train", "mine.yaml", "--data", "x")
    assert (status, "is given twice" in complaint, "mine.yaml" in complaint) == (2, True, True)


@pytest.mark.parametrize(
    "tag",
    ["object/apply:os.getcwd []", "name:os.system", "object/new:type [a, [], {}]", "tuple [1]", "module:os"],
)
def test_yaml_runs_nothing(home, tag):
    Path("mine.yaml").write_text(f"steps: !!python/{tag}\n")
    with pytest.raises(smalti.UserError, match=r"YAML in mine\.yaml"):
        config.load_yaml(Path("mine.yaml"))


def test_nothing_follows_ctrl_c(monkeypatch, smalti_command):
    def stopped(**options):
        raise KeyboardInterrupt

    monkeypatch.setattr(listing.recipes, "callback", stopped)
    status, out, told = smalti_command("recipes")
    assert (status, out, told.strip()) == (130, "", "")


def test_numbers_with_an_exponent_train(home, photos, smalti_command):
    words = (
        "train",
        recipe(TOKENIZER),
        "--data",
        photos,
        "--out",
        "run",
        "optimizer.lr=3e-4",
        "losses.l2=1e-1",
    )
    assert smalti_command(*words)[0] == 0
    found = settings_of("run")
    assert (found["optimizer"]["lr"], found["losses"]["l2"]) == (3e-4, 0.1)
    assert torch.isfinite(
        torch.tensor(json.loads(Path("run/log.jsonl").read_text().splitlines()[0])["loss/autoencoder"])
    )
