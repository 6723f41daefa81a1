"""What can be known before the first step is said then: in one line, and nothing is begun."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tiny import TRAINING, generator, once

import smalti
from smalti import imaging
from smalti.losses.patchgan import PatchGAN, PatchGANSettings

TINY = ("train", "tokenizer_300", "batch=4", "steps=2", "network.width=16", "network.groups=8")
TINY += ("network.multipliers=[1,1,2]", "network.latent_channels=16", "network.code_dim=8")
TINY += ("quantizer.codebook_size=32", "quantize_start=1", "losses.perceptual.weight=0.0")
WITHOUT_DISCRIMINATOR = ("losses.adversarial=null", "discriminator_optimizer=null")


@pytest.fixture
def art(home) -> Path:
    """Eight drawings of 16 x 20 pixels."""
    for number in range(8):
        pixels = np.random.default_rng(number).integers(0, 256, (16, 20, 3), dtype=np.uint8)
        (home / "art").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(home / "art" / f"{number}.png")
    return Path("art")


@pytest.fixture
def refused(smalti_command, monkeypatch):
    """Run a command that is to be refused in one line, with no file of data looked for and no folder made."""

    def run(*words: object, parts: tuple[str, ...], looks: bool = False) -> None:
        with monkeypatch.context() as patched:
            if not looks:
                patched.setattr(imaging, "find_images", None)
            status, told, err = smalti_command(*once(*words))
        assert (status, told) == (2, ""), err
        assert len(err.splitlines()) == 1, err
        assert all(part in err for part in parts), err
        assert not Path("new").exists()

    return run


def test_15_a_discriminator_too_deep_for_the_crop(art, refused, smalti_command):
    words = (*TINY, "--data", art, "--out", "new", "size=[16,20]")
    deepest = "losses.adversarial.patchgan.layers"
    said = (
        f"expected {deepest} of at most 2 for crops of 16 x 20 pixels",
        f"got {deepest}=3",
        f"{deepest}=2",
    )
    refused(*words, f"{deepest}=3", parts=said)
    discriminator = ("losses.adversarial.start=0", "losses.adversarial.discriminator_start=0")
    status, _, err = smalti_command(*words, *discriminator, f"{deepest}=2")
    assert status == 0, err


@pytest.mark.parametrize(
    "size", [(12, 20), (16, 20), (40, 24), (50, 7), (6, 8), (47, 95), (96, 48), (256, 300)]
)
def test_15_the_deepest_discriminator_is_the_deepest_that_runs(size):
    deepest = PatchGANSettings.deepest(min(size))
    images = torch.zeros(1, 3, *size)
    assert min(PatchGAN(PatchGANSettings(width=2, layers=deepest))(images).shape[-2:]) >= 1
    assert PatchGANSettings(layers=deepest).least <= min(size) < PatchGANSettings(layers=deepest + 1).least
    with pytest.raises((RuntimeError, ValueError)):
        PatchGAN(PatchGANSettings(width=2, layers=deepest + 1))(images)


def test_15_a_crop_for_no_discriminator_says_the_size_for_one(art, refused):
    words = (*TINY, "--data", art, "--out", "new", "size=[4,20]", "losses.adversarial.patchgan.layers=1")
    refused(
        *words,
        parts=("no losses.adversarial", "losses.adversarial=null discriminator_optimizer=null, or size=8"),
    )


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("network.groups=12",), ("groups=12", "16, 16, 32", "groups=4")),
        (("optimizer.betas=[0.9,1.0]",), ("optimizer.betas.1", "less than 1")),
        (("losses.perceptual={kind: hed}", "size=[8,12]"), ("crops of at least 16 x 16", "8 x 12")),
        (("condition={kind: label}",), ("condition",)),
    ],
    ids=lambda given: given[0],
)
def test_15_settings_are_looked_at_before_the_data(art, refused, words, parts):
    looks = words[0].startswith("losses.perceptual")
    refused(
        *TINY,
        *WITHOUT_DISCRIMINATOR,
        "--data",
        art,
        "--out",
        "new",
        "size=[16,20]",
        *words,
        parts=parts,
        looks=looks,
    )


def test_15_a_folder_that_is_there_is_refused_before_the_data_are_looked_for(art, refused, home):
    (home / "old").mkdir()
    (home / "old" / "kept.txt").write_text("kept")
    words = (*TINY, *WITHOUT_DISCRIMINATOR, "--data", art, "--out", "old")
    refused(*words, parts=("a new or empty run folder", "old, which holds something"))


PRIORS = {
    "prior.heads=3": "prior.width that is a multiple",
    "prior={kind: neighbourhood, layers: 1, heads: 2, width: 16, radius: 9}": "prior.radius of at most",
    "order=spiral_in": "the order spiral_out or spiral_in",
    "tokenizer=art": "a trained tokenizer",
    "size=[16,21]": "size as a multiple of 2",
}


def test_15_a_prior_that_cannot_be_built_leaves_no_folder(art, refused):
    smalti.save(generator().tokenizer, "tok")
    recipe = {**TRAINING, "kind": "prior", "size": [16, 20], "tokenizer": "tok"}
    recipe["prior"] = {"kind": "modern", "layers": 1, "heads": 2, "width": 16}
    Path("prior.yaml").write_text(yaml.safe_dump(recipe))
    for word, part in PRIORS.items():
        refused("train", "prior.yaml", "--data", art, "--out", "new", word, parts=(part,), looks=True)


def test_15_images_that_would_all_be_too_small(art, refused, smalti_command):
    words = (*TINY, *WITHOUT_DISCRIMINATOR, "--data", art, "--out", "new", "crop.resize=none")
    status, told, err = smalti_command(*words, "size=[16,24]")
    assert (status, told, Path("new").exists()) == (2, "", False)
    assert "expected images of at least 16 x 24 pixels with crop.resize=none, got 7 smaller ones" in err
    Image.fromarray(np.zeros((32, 48, 3), np.uint8)).save(art / "large.png")
    status, _, err = smalti_command(*words, "size=[16,24]")
    assert status == 0, err
    assert "are smaller than crops of 16 x 24, and left out" in err


def test_15_what_the_report_says_of_small_data(art, smalti_command):
    """7 to train on and 1 held out, of 16 x 20; for crops of 48 x 60 they are enlarged threefold."""
    words = (*TINY[:2], "--data", art, *TINY[3:], *WITHOUT_DISCRIMINATOR)
    status, _, err = smalti_command(
        *once(*words, "--out", "a", "size=[48,60]", "batch=8", "data.val_share=0.0", "steps=1")
    )
    assert status == 0, err
    assert (
        "8 of the 8 looked at are enlarged more than twofold, up to 3 times, to fill crops of 48 x 60" in err
    )
    assert "held out: nothing" in err
    assert "quantize_start=1 is not below steps=1" in err
    assert "batch=8 is more" not in err
    status, _, err = smalti_command(*words, "--out", "b", "size=[32,40]", "batch=8")
    assert status == 0, err
    assert "enlarged" not in err, "exactly twofold"
    assert "batch=8 is more than the 7 there are" in err
    assert "held out: 1 images" in err
