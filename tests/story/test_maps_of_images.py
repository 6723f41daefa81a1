"""From a folder of images alone to new ones drawn of edges, silhouettes and small images, by commands."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import NETWORK, holding, once

from smalti import imaging
from smalti.features import SPACES
from smalti.features.protocol import Space

FAST = ("steps=4", "batch=4", "log_every=2", "quantize_start=0", "quantizer.codebook_size=8", "size=32")
SMALL = [f"network.{key}={json.dumps(value)}" for key, value in NETWORK.items()]
TINY = ("prior.layers=1", "prior.heads=2", "prior.width=16")


class Colours(Space):
    """A feature space without weights."""

    name, title, width, classes, stages = "colours", "mean colours", 3, 1, ("none",)

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(10.0), requires_grad=False)

    @classmethod
    def read(cls, path=None):
        return cls()

    def forward(self, images):
        return self.scale * images.mean((2, 3)), images.mean((1, 2, 3))[:, None]


@pytest.fixture
def cutouts(home):
    """Twelve discs on transparent ground, 32 x 48 pixels."""
    (home / "images").mkdir()
    rows, columns = np.mgrid[:32, :48]
    for number in range(12):
        inside = (rows - 12 - number % 5) ** 2 + (columns - 14 - 2 * number) ** 2 < 100
        colours = np.random.default_rng(number).integers(0, 120, (32, 48, 3), dtype=np.uint8)
        pixels = np.concatenate([colours, inside[..., None] * np.uint8(255)], 2)
        Image.fromarray(pixels).save(home / "images" / f"{number}.png")
    return home


def done(run, *words) -> str:
    status, out, complaint = run(*words)
    assert status == 0, complaint
    return out


def trained(run, recipe: str, out: str, *words: str) -> None:
    done(run, "train", recipe, *once("data.val_share=0.5", *words), "--data", "images", "--out", out)


def images_tokenizer(run) -> None:
    more = (
        "losses.perceptual={kind: none, weight: 0.0}",
        "losses.adversarial=null",
        "discriminator_optimizer=null",
    )
    trained(run, "tokenizer_300", "tokenizer", *FAST, *SMALL, "data.classes=none", *more)


@pytest.mark.parametrize("kind", ["edges", "silhouette"])
def test_maps_of_images_alone(cutouts, smalti_command, kind):
    images_tokenizer(smalti_command)
    trained(smalti_command, f"tokenizer_{kind}_minutes", "maps", *FAST, *SMALL)
    names = ("tokenizer=tokenizer", "condition_tokenizer=maps")
    trained(smalti_command, f"prior_{kind}_minutes", "prior", *FAST[:3], "size=32", *TINY, *names)
    done(smalti_command, "sample", "prior", "out", "--from", "images/3.png", "--num", 2, "--size", "32x64")
    drawn = [imaging.open_rgb(cutouts / "out" / name) for name in ("00000.png", "00001.png")]
    assert [image.shape for image in drawn] == [(3, 32, 64)] * 2
    assert not drawn[0].equal(drawn[1])
    assert imaging.read_metadata(cutouts / "out" / "00000.png")["from_image"] == "images/3.png"
    with holding(SPACES, {"colours": Colours}):
        words = ("--metrics", "obeyed", "--out", "page")
        done(smalti_command, "evaluate", "prior", "images", *words)
    name = {"edges": "edge_f1", "silhouette": "silhouette_iou"}[kind]
    number = json.loads((cutouts / "page" / "metrics.json").read_text())["numbers"][name]
    assert number["beside"]["real images"] > 0.99


def test_super_resolution(cutouts, smalti_command):
    images_tokenizer(smalti_command)
    trained(
        smalti_command, "prior_upscale_minutes", "prior", *FAST[:3], "size=32", *TINY, "tokenizer=tokenizer"
    )
    Image.open("images/3.png").resize((12, 9)).save("small.png")
    done(smalti_command, "upscale", "prior", "small.png", "large", "--num", 2, "--factor", 4)
    drawn = [imaging.open_rgb(cutouts / "large" / name) for name in ("00000.png", "00001.png")]
    assert [image.shape for image in drawn] == [(3, 36, 48)] * 2
    assert not drawn[0].equal(drawn[1])
    made = imaging.read_metadata(cutouts / "large" / "00001.png")
    assert (made["upscaled"], made["factor"], made["seed"]) == ("small.png", 4, 1)
    for words, told in (
        (("--factor", 3), "the factor of the training, 4, got 3"),
        (("--map", "small.png"), "the image decides, got map="),
        (("--label", "3"), "map= as its only condition, got label="),
    ):
        status, _, complaint = smalti_command("upscale", "prior", "small.png", "other", *words)
        assert status == 2
        assert told in complaint
        assert len(complaint.splitlines()) == 1
    status, _, complaint = smalti_command("upscale", "tokenizer", "small.png", "other")
    assert status == 2
    assert "a model with a prior" in complaint


def refused(run, *words: str) -> str:
    status, _, complaint = run("train", *words, "--data", "images", "--out", "refused")
    assert status == 2, complaint
    return complaint.splitlines()[-1]


def test_slips_before_a_training(cutouts, smalti_command):
    images_tokenizer(smalti_command)
    edges = ("tokenizer_edges_minutes", *FAST, *SMALL)
    assert "content=map and images alone for compute" in refused(smalti_command, *edges, "content=image")
    assert "in_channels=1" in refused(
        smalti_command, *edges, "network.in_channels=3", "network.out_channels=3"
    )
    assert "compute.sigma, got 0" in refused(smalti_command, *edges, "compute.sigma=0")
    superres = ("prior_upscale_minutes", *FAST[:3], "size=32", *TINY, "tokenizer=tokenizer")
    told = refused(smalti_command, *superres, "condition.compute.factor=5")
    assert "sides that are multiples of compute.factor=5, got 32 x 32" in told
    prior = ("prior_edges_minutes", *FAST[:3], "size=32", *TINY, "tokenizer=tokenizer")
    told = refused(smalti_command, *prior, "condition_tokenizer=tokenizer")
    assert "condition_tokenizer of maps with 1 channels, got one of 3" in told
    assert not (cutouts / "refused").exists()


def test_photographs_have_no_silhouettes(cutouts, smalti_command):
    for path in (cutouts / "images").iterdir():
        Image.open(path).convert("RGB").save(path)
    told = refused(smalti_command, "tokenizer_silhouette_minutes", *FAST, *SMALL)
    assert "without any; give images with an alpha channel" in told
