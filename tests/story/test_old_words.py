"""Recipes, runs and models with the settings' names of before the first release go on, each with a note."""

import json
import re
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from tiny import TOKENIZER_TRAINING, generator

import smalti
from smalti import config, library, old_names
from smalti.training import log
from smalti.training.precompute import encode
from smalti.training.settings import TrainingSettings

OLD = {
    **TOKENIZER_TRAINING,
    "steps": 2,
    "checkpoint_every": 1,
    "content": "picture",
    "quantize_from": 1,
    "losses": {
        "perceptual": {"kind": "none", "pictures": 2},
        "adversarial": {"start": 1, "critic_start": 0, "patchgan": {"width": 8, "layers": 1}},
    },
    "critic_optimizer": {"lr": 2.0e-4},
}


def test_a_recipe_in_old_words_is_read_with_a_note_for_each(tmp_path):
    (tmp_path / "old.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(OLD))))
    with pytest.warns(FutureWarning) as notes:
        mapping = config.read(tmp_path / "old.yaml", {"critic_optimizer.betas": [0.5, 0.9], "data.root": "."})
    assert {str(note.message) for note in notes} == {
        f"the setting {old} is called {new}" for old, new in old_names.KEYS.items() if old != "prior.lag"
    }
    found = config.parse(mapping, TrainingSettings)
    assert (found.quantize_start, found.content, found.losses.perceptual.images) == (1, "image", 2)
    assert found.losses.adversarial.discriminator_start == 0
    assert (found.discriminator_optimizer.lr, found.discriminator_optimizer.betas) == (2.0e-4, (0.5, 0.9))
    assert "critic" not in yaml.safe_dump(config.dump(found))


def test_a_run_in_old_words_goes_on_to_the_bit(photos, tmp_path, recwarn):
    """As written by the build before: its settings, its checkpoint between two lines of its log."""
    long = {**OLD, "steps": 24, "checkpoint_every": 23, "log_every": 2}  # alarms look at ten lines
    (tmp_path / "old.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(long))))
    for out in ("whole", "half"):
        smalti.train(tmp_path / "old.yaml", data=photos, out=tmp_path / out)
    run = tmp_path / "half"
    shutil.rmtree(run / "checkpoints" / "step-00000024")
    first = run / "checkpoints" / "step-00000023"
    tensors = load_file(first / "tensors.safetensors")
    older = {re.sub("/discriminator(?=/|$)", "/critic", name): tensor for name, tensor in tensors.items()}
    assert {"since/loss/critic", "since/gradient/critic"} <= older.keys()
    save_file(older, first / "tensors.safetensors")
    state = json.loads((first / "state.json").read_text())  # of before there were hashes
    (first / "state.json").write_text(json.dumps({"format": 1, "step": 23, "numbers": state["numbers"]}))
    for file in (first / "state.json", run / "log.jsonl"):
        file.write_text(file.read_text().replace('/discriminator"', '/critic"'))
    text = (run / "settings.yaml").read_text()
    for old, new in old_names.KEYS.items():
        text = text.replace(f"{new.rpartition('.')[2]}:", f"{old.rpartition('.')[2]}:")
    text = text.replace("content: image", "content: picture")
    assert text.count("critic") == 2
    (run / "settings.yaml").write_text(text)
    smalti.train(tmp_path / "old.yaml", data=photos, out=run, resume=True)
    whole, again = (library.load(tmp_path / out) for out in ("whole", "half"))
    assert whole.fingerprint == again.fingerprint
    assert losses(tmp_path / "whole") == losses(run)
    assert "the setting quantize_from is called quantize_start" in {str(note.message) for note in recwarn}


def losses(run):
    lines = [line for line in log.read(run / "log.jsonl") if line["kind"] == "train"]
    assert [line["step"] for line in lines] == list(range(2, 25, 2))
    return [
        {name: value for name, value in line.items() if name.startswith(("loss/", "gradient/"))}
        for line in lines
    ]


def test_a_model_in_old_words_is_loaded_with_its_fingerprint(tmp_path):
    discriminator = {"weight": torch.arange(6.0)}
    library.save(generator().tokenizer, tmp_path / "model", discriminator=discriminator)
    file = tmp_path / "model" / "config.json"
    made = json.loads(file.read_text())
    assert made["settings"]["content"] == "image"
    made["settings"]["content"] = "picture"
    file.write_text(json.dumps(made))
    file.with_name("discriminator.safetensors").rename(file.with_name("critic.safetensors"))
    found = library.load(tmp_path / "model")
    assert found.settings.content == "image"
    assert library.fingerprint(found) == made["fingerprint"] == found.fingerprint
    assert library.load_discriminator(tmp_path / "model")["weight"].equal(discriminator["weight"])


def test_a_prior_in_old_words_is_loaded_with_its_fingerprint(tmp_path):
    library.save(generator("neighbourhood"), tmp_path / "model")
    file = tmp_path / "model" / "config.json"
    made = json.loads(file.read_text())
    made["settings"]["prior"]["lag"] = made["settings"]["prior"].pop("skew")
    file.write_text(json.dumps(made))
    with pytest.warns(FutureWarning, match=r"^the setting prior\.lag is called prior\.skew$"):
        found = library.load(tmp_path / "model")
    assert library.fingerprint(found) == made["fingerprint"] == "0ad57b1eaa1a9324"


def test_an_encoding_in_old_words_goes_on(photos, tmp_path):
    tokenizer = generator().tokenizer
    encode(tokenizer, photos, tmp_path / "tokens", size=(8, 12))
    file = tmp_path / "tokens" / "index.json"
    index = json.loads(file.read_text())
    made = {"pictures" if name == "images" else name: value for name, value in index["made"].items()}
    assert made != index["made"]
    file.write_text(json.dumps({**index, "made": made, "complete": False}))
    encode(tokenizer, photos, tmp_path / "tokens", size=(8, 12), resume=True)
    assert json.loads(file.read_text()) == index
