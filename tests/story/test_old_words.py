"""Recipes, runs and models with the settings' names of before the first release go on, each with a note."""

import json

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from tiny import TOKENIZER_TRAINING, generator

import smalti
from smalti import config, library, old_names
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
    """As written by the build before: its settings, its checkpoint, its model and its adversary."""
    (tmp_path / "old.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(OLD))))
    for out in ("whole", "half"):
        smalti.train(tmp_path / "old.yaml", data=photos, out=tmp_path / out, steps=2)
    run = tmp_path / "half"
    last = max((run / "checkpoints").iterdir())
    for file in last.iterdir():
        file.unlink()
    last.rmdir()
    (first,) = (run / "checkpoints").iterdir()
    tensors = load_file(first / "tensors.safetensors")
    older = {name.replace("/discriminator/", "/critic/"): tensor for name, tensor in tensors.items()}
    assert older.keys() != tensors.keys()
    save_file(older, first / "tensors.safetensors")
    text = (run / "settings.yaml").read_text()
    for old, new in old_names.KEYS.items():
        text = text.replace(f"{new.rpartition('.')[2]}:", f"{old.rpartition('.')[2]}:")
    text = text.replace("content: image", "content: picture")
    assert text.count("critic") == 2
    (run / "settings.yaml").write_text(text)
    smalti.train(tmp_path / "old.yaml", data=photos, out=run, resume=True)
    whole, again = (library.load(tmp_path / out) for out in ("whole", "half"))
    assert whole.fingerprint == again.fingerprint
    assert "the setting quantize_from is called quantize_start" in {str(note.message) for note in recwarn}


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
