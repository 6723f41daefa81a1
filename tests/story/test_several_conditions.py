"""A person trains on images with classes and captions, and tells the model both."""

import json
from types import SimpleNamespace

import pytest
import yaml
from tiny import TOKENIZER_TRAINING, TRAINING, generator

import smalti
from smalti import imaging
from smalti.conditions.coordinates import CoordinatesSettings
from smalti.conditions.joint import JointSettings
from smalti.conditions.label import LabelSettings
from smalti.conditions.text import TextSettings

CONDITIONS = [
    {"kind": "text", "vocabulary": 280, "max_tokens": 12, "dropout": 0.3},
    {"kind": "label", "dropout": 0.3},
    "coordinates",
]


@pytest.fixture
def recipe(home, photos):
    """A recipe of a prior that is told three things, on a tokenizer of one step."""
    for path in photos.rglob("*.png"):
        path.with_suffix(".txt").write_text(f"{path.parent.name} stripes, dark at {int(path.stem) % 4}")
    (home / "tokenizer.yaml").write_text(yaml.safe_dump({**TOKENIZER_TRAINING, "steps": 1}))
    smalti.train(home / "tokenizer.yaml", photos, home / "tokenizer")
    prior = {"kind": "modern", "layers": 1, "heads": 2, "width": 16}
    whole = {**TRAINING, "kind": "prior", "tokenizer": "tokenizer", "prior": prior, "steps": 2}
    whole |= {"data": {**TRAINING["data"], "captions": "sidecar"}, "condition": CONDITIONS}
    whole |= {"sample_every": 2, "validate_every": 2}
    (home / "prior.yaml").write_text(yaml.safe_dump(whole))
    return "prior.yaml"


def made(path):
    return imaging.read_metadata(path)


def test_from_files_to_images(home, photos, recipe, smalti_command):
    status, _, complaint = smalti_command("train", recipe, "--data", photos, "--out", "run")
    assert status == 0, complaint
    assert "learned of 8 captions" in complaint
    kept = {path.name for path in (home / "run" / "condition").iterdir()}
    status, _, complaint = smalti_command("train", "prior.yaml", "--out", "run", "--resume", "steps=3")
    assert status == 0, complaint
    status, told, complaint = smalti_command("info", "run")
    assert "condition: coordinates and label and text: lying, standing; up to 12 tokens of 280" in told
    below = {path.name for path in (home / "run" / "model" / "condition" / "text").iterdir()}
    assert kept == {f"text-{name}" for name in below - {"config.json", "model.safetensors"}}

    words = ("--label", "lying", "--text", "standing stripes", "--guidance", "text=3,label=1.5")
    status, _, complaint = smalti_command("sample", "run", "both", *words, "--size", "16x32")
    assert status == 0, complaint
    found = made(home / "both" / "00000.png")
    assert (found["label"], found["text"]) == ("lying", "standing stripes")
    assert found["guidance"] == {"text": 3.0, "label": 1.5}
    (again,) = smalti.load("run").sample(
        label="lying", text="standing stripes", guidance_scale=found["guidance"], size=(16, 32)
    )
    assert imaging.from_pil(again).equal(imaging.open_rgb(home / "both" / "00000.png"))

    words = ("--label", "lying", "--label", "standing", "--size", "16x32")
    status, _, complaint = smalti_command("sample", "run", "mixed", *words, "--mix", "left-right")
    assert status == 0, complaint
    found = made(home / "mixed" / "00000.png")
    assert (found["label"], found["mix"]) == (["lying", "standing"], "left-right")
    status, _, complaint = smalti_command("sample", "run", "each", *words, "--num", 2, "--text", "stripes")
    assert status == 0, complaint
    assert [made(path)["label"] for path in sorted((home / "each").iterdir())] == [
        "lying", "lying", "standing", "standing",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--mix", "0.5"), "expected two values to mix, of coordinates or label or text, got no two; give"),
        (
            ("--mix", "2", "--label", "lying", "--label", "standing"),
            "expected shares from 0 to 1 for mix, got",
        ),
        (("--guidance", "label"), "a number for --guidance, or NAME=NUMBER, got label; for example 3, or"),
        (("--guidance", "label=2,label=3"), "each condition once for --guidance, got label=2,label=3"),
        (("--guidance", "label=2"), "a value of label, which is to guide, got none; give one"),
        (("--guidance", "map=2"), "guidance of the model's conditions: coordinates, label, text, got map"),
        (("--guidance", "coordinates=2"), "that can be left out, for guidance, got coordinates"),
        (("--label", "lyin"), "did you mean lying?"),
        (("--map", "map.png"), "this model takes coordinates=, label=, text= as its conditions, got map="),
        (
            ("--label", "0", "--label", "1", "--text", "a", "--text", "b", "--text", "c"),
            "or 3 of them, got 2",
        ),
    ],
)
def test_slips_are_one_line(trained, smalti_command, words, told):
    status, _, complaint = smalti_command("sample", trained / "model", "out", *words)
    assert status == 2
    assert told in complaint
    assert len(complaint.strip().splitlines()) == 1


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model that is told three things, with nothing trained."""
    folder, dropped = tmp_path_factory.mktemp("several"), {"dropout": 0.3}
    text = TextSettings(vocabulary=280, max_tokens=6, **dropped)
    of = {"text": text, "label": LabelSettings(classes=2, names=("lying", "standing"), **dropped)}
    model = generator("modern", JointSettings(of={**of, "coordinates": CoordinatesSettings(tokens=20)}))
    model.condition.learn(SimpleNamespace(captions=lambda: iter(["a", "b", "c"])))
    smalti.save(model, folder / "model")
    return folder


def test_a_list_on_the_command_line(home, photos, recipe, smalti_command):
    words = ("condition=[label, coordinates]", "steps=1", "condition.of.label.dropout=0.5")
    status, _, complaint = smalti_command("train", recipe, "--data", photos, "--out", "run", *words)
    assert status == 0, complaint
    settings = yaml.safe_load((home / "run" / "settings.yaml").read_text())["condition"]
    assert settings["of"]["label"]["dropout"] == 0.5
    assert (
        json.loads((home / "run" / "model" / "config.json").read_text())["settings"]["condition"] == settings
    )
    more = smalti.train("prior.yaml", photos, "more", init_from="run", steps=1)
    assert smalti.load(more).sample(label=0).codes.shape == (1, 8, 8)
