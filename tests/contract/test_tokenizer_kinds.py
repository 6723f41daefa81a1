"""Every kind of tokenizer trains by its recipe, can be resumed, saved and loaded, and learns."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny import NETWORK

import smalti
from smalti import config, imaging
from smalti.data.folder import FolderSettings
from smalti.data.maps import MapsSettings
from smalti.data.protocol import Batch
from smalti.errors import UserError
from smalti.losses.perceptual import PerceptualSettings
from smalti.losses.terms import LossSettings
from smalti.quantizers import QUANTIZERS
from smalti.quantizers.ema import EmaSettings
from smalti.quantizers.gaussian import GaussianSettings
from smalti.quantizers.gumbel import GumbelSettings, TemperatureSettings
from smalti.quantizers.remap import RemappedSettings
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings
from smalti.training import log
from smalti.training.optimization import Optimizers
from smalti.training.settings import OptimizerSettings, TokenizerTraining, TrainingSettings
from smalti.training.tokenizer_task import TokenizerTask

SMALL = {  # in place of what a recipe says: seconds, not days
    "size": 16,
    "batch": 4,
    "steps": 4,
    "workers": 0,
    "network": {**NETWORK, "multipliers": (1, 2), "dropout": 0.1},
    "crop": {"resize": "none"},
    "optimizer": {"lr": 1.0e-3, "betas": (0.5, 0.9)},
    "log_every": 1,
    "validate_every": 2,
    "sample_every": 2,
    "checkpoint_every": 2,
}
DISCRIMINATOR = {"start": 2, "discriminator_start": 1, "patchgan": {"width": 8, "layers": 1}}
PICTORIAL = {
    "losses.perceptual": {"kind": "none"},
    "losses.adversarial": DISCRIMINATOR,
    "data.val_share": 0.2,
}
RECIPES = {
    "vqgan_gumbel_f8": {**PICTORIAL, "quantizer.codebook_size": 16},
    "vqgan_ema": {**PICTORIAL, "quantizer.codebook_size": 16, "quantize_start": 1},
    "vqgan_fsq_f16": {**PICTORIAL, "quantizer.levels": 256, "network": {**SMALL["network"], "code_dim": 3}},
    "kl_f8": PICTORIAL,
    "vqgan_depth": {
        **PICTORIAL,
        "quantizer.codebook_size": 16,
        "network": {**SMALL["network"], "in_channels": 1, "out_channels": 1},
    },
    "vqgan_segmentation": {
        "data.classes": 5,
        "data.val_share": 0.2,
        "quantizer.codebook_size": 16,
        "network": {**SMALL["network"], "in_channels": 5, "out_channels": 5},
    },
}


@pytest.fixture
def maps(tmp_path):
    """Sixteen label maps of five classes in blocks."""
    folder, generator = tmp_path / "maps", np.random.default_rng(0)
    folder.mkdir()
    for number in range(16):
        blocks = generator.integers(0, 5, (5, 5), dtype=np.uint8)
        Image.fromarray(np.kron(blocks, np.ones((4, 4), dtype=np.uint8))).save(folder / f"{number}.png")
    return folder


def run(recipe, photos, maps, out, **more):
    if recipe == "vqgan_depth":  # an image's own gray, by the image's name
        more["data.maps"] = photos
    data = maps if recipe == "vqgan_segmentation" else photos
    return smalti.train(recipe, data=data, out=out, **{**SMALL, **RECIPES[recipe], **more})


@pytest.mark.parametrize("recipe", RECIPES)
def test_its_recipe_trains_and_can_be_resumed(recipe, photos, maps, tmp_path):
    """A run in two parts ends as one at one go: what is drawn follows from seed and step."""
    whole = run(recipe, photos, maps, tmp_path / "whole")
    parts = run(recipe, photos, maps, tmp_path / "parts", steps=2)
    smalti.train(recipe, out=parts, resume=True, steps=4)
    one, other = (load_file(out / "model" / "model.safetensors") for out in (whole, parts))
    assert one.keys() == other.keys()
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    lines = log.read(whole / "log.jsonl")
    trained = [line for line in lines if line["kind"] == "train"]
    assert len(trained) == 4
    assert all(np.isfinite(line["loss/autoencoder"]) for line in trained)
    (held_out,) = {
        frozenset(line) - {"kind", "step", "time"} for line in lines if line["kind"] == "validation"
    }
    assert {"psnr", "l1"} <= held_out or {"accuracy", "bce"} <= held_out
    assert ("codebook_usage" in held_out) == (recipe != "kl_f8")
    sheet = imaging.open_rgb(whole / "samples" / "step-00000004.png")
    assert sheet.shape[1] == 32

    tokenizer = smalti.load(whole)
    given = torch.rand(1, tokenizer.channels, 16, 24) * 2 - 1
    assert tokenizer.reconstruct(given).shape == given.shape
    metadata = json.loads((whole / "model" / "config.json").read_text())
    assert metadata["settings"]["content"] == ("segmentation" if recipe == "vqgan_segmentation" else "image")
    if recipe == "vqgan_gumbel_f8":
        temperature = config.parse(
            config.read(recipe, {"data.root": "x"}), TrainingSettings
        ).quantizer.temperature
        assert [line["temperature"] for line in trained] == pytest.approx(
            [temperature.at(n) for n in range(4)]
        )


UNSEEN = PerceptualSettings(kind="none", weight=0.0)
NETWORK_2 = NetworkSettings(**NETWORK, multipliers=(1, 2))
LEARNERS = {
    **{kind: member() for kind, (member, _) in QUANTIZERS.items()},
    "vq": VectorQuantizerSettings(codebook_size=8, kmeans_start=True),
    "gumbel": GumbelSettings(codebook_size=8, kl=1.0e-3),
    "gumbel-soft": GumbelSettings(codebook_size=8, kl=1.0e-3, straight_through=False),
    "ema": EmaSettings(codebook_size=8, kmeans_start=True),
    "gaussian": GaussianSettings(kl=1.0e-4),
    "remapped": RemappedSettings(
        inner=VectorQuantizerSettings(codebook_size=12, kmeans_start=True), used=8, unknown="extra"
    ),
}


def training(**more) -> TokenizerTraining:
    common = {"data": FolderSettings(root=Path("unused")), "size": 16, "batch": 4, "steps": 40}
    losses = LossSettings(perceptual=UNSEEN)
    return TokenizerTraining(**{**common, "network": NETWORK_2, "losses": losses, **more})


def learn(task: TokenizerTask, batch: Batch, steps: int) -> list[dict[str, float]]:
    """The statistics of each step."""
    rate = OptimizerSettings(lr=3.0e-3, betas=(0.5, 0.9))
    optimizers = Optimizers(task.networks, {"autoencoder": rate}, task.training, torch.device("cpu"))
    torch.manual_seed(0)
    task.start(batch)
    seen = []
    for step in range(steps):
        losses = task.losses(batch, step)
        optimizers.backward(losses.minimise, 1.0)
        optimizers.step({name: loss.detach() for name, loss in losses.minimise.items()}, step)
        task.after_step([losses], step)
        seen.append({name: value.item() for name, value in losses.statistics.items()})
    return seen


def last(rows: list[dict[str, float]], name: str) -> float:
    return sum(row[name] for row in rows[-5:]) / 5


@pytest.mark.parametrize("kind", LEARNERS)
def test_images_become_better(kind):
    colours = torch.rand(4, 3, 1, 1, generator=torch.Generator().manual_seed(0)) * 2 - 1
    batch = Batch(images=colours.expand(4, 3, 16, 16).contiguous())
    task = TokenizerTask.build(training(quantizer=LEARNERS[kind]), torch.device("cpu"))
    rows = learn(task, batch, 80)
    assert last(rows, "l1") < 0.6 * rows[0]["l1"]
    assert task.validate([batch])["l1"] < 0.6 * rows[0]["l1"]
    if not LEARNERS[kind].has_codes:
        assert "codebook_usage" not in task.validate([batch])
        assert not task.summary()
    else:
        assert task.summary()["codebook_usage"] > 0


def segmentation_training(**more) -> TokenizerTraining:
    network = NetworkSettings(**NETWORK, multipliers=(1, 2), in_channels=5, out_channels=5)
    common = {
        "data": MapsSettings(root=Path("unused"), classes=5),
        "content": "segmentation",
        "network": network,
        "quantizer": VectorQuantizerSettings(codebook_size=16, kmeans_start=True),
        "losses": LossSettings(l1=0.0, bce=1.0, perceptual=UNSEEN),
    }
    return training(**{**common, **more})


def test_segmentations_become_better():
    labels = torch.randint(0, 5, (4, 2, 2), generator=torch.Generator().manual_seed(0))
    batch = Batch(segmentations=labels.repeat_interleave(8, 1).repeat_interleave(8, 2))
    task = TokenizerTask.build(segmentation_training(), torch.device("cpu"))
    rows = learn(task, batch, 120)
    assert last(rows, "bce") < 0.5 * rows[0]["bce"]
    assert set(rows[0]) == {"bce", "reconstruction", "quantizer"}
    measured = task.validate([batch])
    assert measured["accuracy"] > 0.7
    given = imaging.one_hot(batch.segmentations, 5)
    guessed = task.tokenizer.reconstruct(given).argmax(1)
    assert measured["accuracy"] == pytest.approx((guessed == batch.segmentations).double().mean().item())
    sheet = task.samples(batch)
    assert torch.equal(sheet[:, :16, :16], imaging.colour_labels(batch.segmentations)[0])
    assert torch.equal(sheet[:, 16:, :16], imaging.colour_labels(guessed)[0])


def test_the_step_reaches_the_temperature():
    cooling = TemperatureSettings(start=1.0, high=1.0, low=0.1, until=10)
    task = TokenizerTask.build(
        training(quantizer=GumbelSettings(codebook_size=8, temperature=cooling)), torch.device("cpu")
    )
    batch = Batch(images=torch.rand(4, 3, 16, 16))
    for step in (0, 5, 20):
        found = task.losses(batch, step).statistics["temperature"].item()
        assert found == pytest.approx(cooling.at(step))
    assert cooling.at(20) == pytest.approx(0.1)


@pytest.mark.parametrize("kind", LEARNERS)
def test_before_the_codebook_every_weight_has_a_gradient(kind):
    """Several processes wait for a gradient of each, if only of zeros."""
    if not LEARNERS[kind].has_codes:
        with pytest.raises(UserError, match="quantize_start=0"):
            training(quantizer=LEARNERS[kind], quantize_start=5)
        return
    task = TokenizerTask.build(training(quantizer=LEARNERS[kind], quantize_start=5), torch.device("cpu"))
    task.losses(Batch(images=torch.rand(4, 3, 16, 16)), 0).minimise["autoencoder"].backward()
    for name, weight in task.tokenizer.named_parameters():
        assert (weight.grad is not None) == weight.requires_grad, name


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"losses": LossSettings()}, r"losses\.bce alone .*got l1, l2, perceptual or adversarial"),
        ({"losses": LossSettings(l1=0.0, perceptual=UNSEEN)}, r"losses\.bce alone .*got none"),
        (
            {"data": FolderSettings(root=Path("x"))},
            r"data\.kind=folder with content=segmentation; content=ima",
        ),
        (
            {"data": MapsSettings(root=Path("x"), classes=7)},
            r"network\.in_channels=7 network\.out_channels=7",
        ),
        ({"content": "image"}, r"losses\.bce for content=segmentation only"),
    ],
)
def test_what_does_not_go_together_is_told(more, message):
    with pytest.raises(UserError, match=message):
        segmentation_training(**more)


def test_a_tokenizer_without_a_codebook_says_so(tmp_path, photos):
    settings = TokenizerSettings(network=NETWORK_2, quantizer=GaussianSettings())
    tokenizer = Tokenizer(settings)
    assert tokenizer.codebook_size == 0
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    for use in (lambda: tokenizer.encode(images), lambda: tokenizer.decode(torch.zeros(1, 4, 4).long())):
        with pytest.raises(UserError, match="a tokenizer with a codebook, got one of kind gaussian"):
            use()
    moments = tokenizer.train().latents(images)
    assert moments.shape == (2, 8, 8, 8)
    assert not torch.equal(tokenizer.quantize(moments).latents, tokenizer.quantize(moments).latents)
    assert torch.equal(tokenizer.reconstruct(images), tokenizer.reconstruct(images))
    smalti.save(tokenizer, tmp_path / "kl")
    prior = {"tokenizer": tmp_path / "kl", "size": 16}
    with pytest.raises(UserError, match="a tokenizer with codes for the prior"):
        smalti.train("prior_300", data=photos, out=tmp_path / "prior", **prior)
