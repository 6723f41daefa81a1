"""The model that ships: found by its name, drawn from, gone on with."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

import smalti
from smalti import library, shipped

MEGABYTES = 12


@pytest.fixture
def run(smalti_command):
    """Run a command that succeeds; gives what it prints."""

    def done(*words: object) -> str:
        status, out, err = smalti_command(*words)
        assert status == 0, err
        return out

    return done


def test_it_is_listed_and_small(run):
    told = run("models").splitlines()
    assert [line.split()[0] for line in told] == list(shipped.models()) == ["emoji"]
    files = [path for folder in shipped.models().values() for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MEGABYTES * 2**20


def test_its_card_says_what_it_is():
    folder = shipped.models()["emoji"]
    card = (folder / "README.md").read_text()
    assert "license: mit" in card
    assert "fluent-emoji" in card
    metadata = json.loads((folder / "config.json").read_text())
    assert metadata["fingerprint"] == library.fingerprint(smalti.load(folder))
    assert all(command.startswith("smalti ") for command in metadata["provenance"]["commands"])


def test_it_draws_what_a_text_says(home, run):
    run("sample", "emoji", "drawn", "--text", "red heart", "--num", 2, "--guidance", 3)
    found = sorted((home / "drawn").glob("*.png"))
    assert len(found) == 2
    for path in found:
        image = Image.open(path)
        assert image.size == (64, 64)
        red, green, blue = image.resize((1, 1), Image.Resampling.BOX, box=(20, 20, 44, 40)).getpixel((0, 0))
        assert red > green + 60
        assert red > blue + 30


def test_a_folder_called_so_comes_first(home):
    ours = shipped.models()["emoji"]
    assert library.find(Path("emoji")) == ours
    assert library.find(Path("emoji/tokenizer")) == ours / "tokenizer"
    shutil.copytree(ours, "emoji")
    assert library.find(Path("emoji")) == Path("emoji")


def test_a_name_that_is_none_is_told_those_there_are(home):
    with pytest.raises(smalti.UserError, match="one that ships: emoji"):
        smalti.load("emojis")


def test_it_goes_on_with_images_of_ones_own(home, run):
    for name, colour in {"red square": "red", "blue square": "blue", "green square": "green"}.items():
        (home / "images").mkdir(exist_ok=True)
        Image.new("RGB", (70, 64), colour).save(home / "images" / f"{name}.png")
    tiny = ("steps=2", "batch=2", "validate_every=2", "sample_every=2", "checkpoint_every=2")
    run("train", "prior_few_minutes", "--data", "images", "--out", "run", "data.val_share=0.4", *tiny)
    run("sample", "run", "drawn", "--text", "blue square")
    assert smalti.load("run").tokenizer.fingerprint == smalti.load("emoji").tokenizer.fingerprint
