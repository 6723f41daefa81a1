"""A person's way from images and maps over token shards to a prior; and the mistakes on the way."""

import json
from pathlib import Path

import pytest

import smalti
from smalti.training import log

NETWORK = "{width: 8, multipliers: [1, 2], blocks: 1, attention_levels: [], mid_attention: false, "
NETWORK += "latent_channels: 8, code_dim: 4, groups: 4}"
SMALL = ("size=[16,24]", "batch=4", "steps=3", "log_every=1", "workers=0", "data.val_share=0.2")
MAPS = ("condition_tokenizer=runs/maps", "data.maps=depth")


@pytest.fixture
def tokenizers(home, paired, smalti_command):
    """Runs of two tokenizers, of twelve images and of their depths."""
    network = (f"network={NETWORK}", "quantizer.codebook_size=8", "losses.perceptual.weight=0.0")
    network += ("losses.adversarial=null", "discriminator_optimizer=null")
    words = ("train", "tokenizer_300", "--data", "images", "--out", "runs/images", *SMALL, *network)
    assert smalti_command(*words)[0] == 0
    one = NETWORK.replace("{", "{in_channels: 1, out_channels: 1, ")
    words = ("train", "vqgan_depth", "--data", "images", "--out", "runs/maps", "data.maps=depth", *SMALL)
    status, _, complaint = smalti_command(*words, f"network={one}", *network[1:])
    assert status == 0, complaint


def test_from_maps_to_shards_to_a_prior(tokenizers, smalti_command):
    words = ("encode", "runs/images", "images", "tokens", "--for", "transformer_depth", *MAPS, *SMALL[:1])
    status, told, complaint = smalti_command(*words, "data.val_share=0.2", "--crops", 2, "--flip", 0)
    assert (status, told) == (0, "tokens\n"), complaint
    assert "images, as transformer_depth says" in complaint
    index = json.loads(Path("tokens/index.json").read_text())
    assert (index["holds"], len(index["conditions"])) == (["part"], 1)
    assert index["made"]["crop"]["flip"] == 0.0
    prior = ("prior={kind: gpt, layers: 1, heads: 2, width: 16}", "tokenizer=runs/images", *SMALL[:-1])
    words = ("train", "transformer_depth", "--data", "tokens", "--out", "runs/prior", *prior)
    status, _, complaint = smalti_command(*words, MAPS[0])
    assert status == 0, complaint
    rows = index["made"]["crops"] * (12 - index["made"]["held_out"])
    assert f"training on {rows} rows of codes" in complaint
    assert len([line for line in log.read(Path("runs/prior/log.jsonl")) if line["kind"] == "train"]) == 3
    assert smalti.load("runs/prior").condition.argument == "map"
    status, _, complaint = smalti_command("sample", "runs/prior", "out", "--map", "depth/0.png")
    assert status == 0, complaint


def test_slips_of_encode(tokenizers, smalti_command):
    for words, hint in (
        ((*MAPS,), "settings of a recipe with --for RECIPE, got condition_tokenizer="),
        (("--for", "transformer_depht"), "did you mean transformer_depth?"),
        (("--for", "transformer_depth", "data.maps=depth"), "a trained condition tokenizer for the prior"),
        (("--for", "vqgan_depth", "data.maps=depth"), "the recipe of a prior, got vqgan_depth"),
        (("--for", "transformer_depth", "--batch", 4, "bacth=4"), "batch"),
    ):
        status, told, complaint = smalti_command("encode", "runs/images", "images", "tokens", *words)
        assert (status, told, len(complaint.splitlines())) == (2, "", 1), complaint
        assert hint in complaint
        assert not Path("tokens").exists()
    assert smalti_command("encode", "runs/images", "images", "tokens", "--size", 16)[0] == 0
    words = ("train", "transformer_depth", "--data", "tokens", "tokenizer=runs/images", MAPS[0], "size=16")
    status, _, complaint = smalti_command(*words)
    assert status == 2
    assert "smalti encode TOKENIZER IMAGES OUT --for RECIPE" in complaint
