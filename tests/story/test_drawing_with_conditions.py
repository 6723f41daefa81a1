"""A person gives a map or a list of things to the commands that draw."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import NETWORK

import smalti
from smalti import imaging
from smalti.conditions.boxes import BoxesSettings
from smalti.conditions.map import MapSettings
from smalti.conditions.points import PointsSettings
from smalti.pipeline import Pipeline, PipelineSettings
from smalti.priors.gpt import GPTSettings
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.reading.labels import open_labels
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings


def tokenizer(channels: int, **more) -> Tokenizer:
    network = NetworkSettings(**NETWORK, multipliers=(1, 2), in_channels=channels, out_channels=channels)
    quantizer = VectorQuantizerSettings(codebook_size=16)
    return Tokenizer(TokenizerSettings(network=network, quantizer=quantizer, **more))


def save(condition, *maps: Tokenizer) -> None:
    torch.manual_seed(0)
    prior = GPTSettings(layers=1, heads=2, width=16)
    settings = PipelineSettings(prior=prior, condition=condition, grid=(4, 4))
    smalti.save(Pipeline(settings, tokenizer(3), *maps), "model")


def metadata(path) -> dict:
    return imaging.read_metadata(path)


@pytest.fixture
def classes(home):
    """A model that is told a map of five classes, and a map of 11 x 30 pixels."""
    save(MapSettings(), tokenizer(5, content="segmentation"))
    labels = np.random.default_rng(0).integers(0, 5, (11, 30), dtype=np.uint8)
    Image.fromarray(labels).save("map.png")
    return home


def test_without_a_size_the_training_crop_is_drawn(classes, smalti_command):
    status, _, complaint = smalti_command(
        "sample", "model", "out", "--map", "map.png", "--num", 2, "--top-k", 1
    )
    assert status == 0, complaint
    drawn = [imaging.open_rgb(classes / "out" / name) for name in ("00000.png", "00001.png")]
    assert [image.shape for image in drawn] == [(3, 8, 8)] * 2
    # 11 x 30 pixels just cover 8 x 8 at 8 x 22, of which columns 7 .. 14 are the middle
    rows, columns = ((torch.arange(count) + 0.5) * side / count for side, count in ((11, 8), (30, 22)))
    labels = open_labels("map.png")[rows.long()][:, columns.long()][:, 7:15]
    (expected,) = smalti.load("model").sample(map=labels, top_k=1)
    apart = (drawn[0].int() - imaging.from_pil(expected).int()).abs().max()
    assert apart <= 1, "another part of the map"  # two images at once are rounded otherwise than one


def test_a_map_that_fits_is_named(classes, smalti_command):
    Image.fromarray(open_labels("map.png")[:8, :8].byte().numpy()).save("small.png")
    status, _, complaint = smalti_command("sample", "model", "out", "--map", "small.png")
    assert status == 0, complaint
    assert metadata(classes / "out" / "00000.png")["map"] == "small.png"


def test_map_and_image_are_scaled_to_the_size(classes, smalti_command):
    Image.new("RGB", (40, 20), "red").save("image.png")
    words = ("complete", "model", "image.png", "out", "--map", "map.png", "--size", "8x12")
    status, _, complaint = smalti_command(*words)
    assert status == 0, complaint
    assert imaging.open_rgb(classes / "out" / "00000.png").shape == (3, 8, 12)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "a map, got none; give map="),
        (("--map", "nowhere.png"), "nowhere.png"),
        (("--map", "map.png", "--label", "3"), "map= as its only condition, got label="),
        (
            ("--from", "map.png"),
            "computed of images, for from_image (--from), got one that is told map; give map=",
        ),
        (("--boxes", "things.json"), "map= as its only condition, got boxes="),
    ],
)
def test_mistakes_with_maps(classes, smalti_command, words, told):
    status, _, complaint = smalti_command("sample", "model", "out", *words)
    assert status == 2
    assert told in complaint
    assert len(complaint.splitlines()) == 1
    assert not (classes / "out").exists()


@pytest.mark.parametrize("kind", ["boxes", "points"])
def test_lists_of_things(home, smalti_command, kind):
    settings = BoxesSettings if kind == "boxes" else PointsSettings
    save(settings(classes=2, names=("house", "tree"), no_tokens=32, max_objects=2))
    thing = ["tree", 0.0, 0.0, 0.5, 1.0] if kind == "boxes" else ["tree", 0.25, 0.5]
    (home / "things.json").write_text(json.dumps([thing]))
    words = ("sample", "model", "out", f"--{kind}", "things.json", "--size", "8x16")
    status, _, complaint = smalti_command(*words)
    assert status == 0, complaint
    assert metadata(home / "out" / "00000.png")[kind] == [thing]
    (home / "things.json").write_text(json.dumps({"tree": 1}))
    status, _, complaint = smalti_command(*words[:2], "other", *words[3:])
    assert status == 2
    assert 'write for example [["person"' in complaint


def test_reconstructions_of_label_maps(home, smalti_command):
    smalti.save(tokenizer(5, content="segmentation"), "model")
    labels = np.random.default_rng(0).integers(0, 5, (11, 30), dtype=np.uint8)
    (home / "maps").mkdir()
    Image.fromarray(labels).save("maps/map.png")
    status, told, complaint = smalti_command("reconstruct", "model", "maps", "out")
    assert status == 0, complaint
    given = torch.from_numpy(labels[:10]).long()[None]
    rebuilt = smalti.load("model").reconstruct(imaging.one_hot(given, 5)).argmax(1)
    shown = imaging.open_rgb(home / "out" / "00000-map.png")
    assert shown.equal(imaging.colour_labels(rebuilt)[0])
    assert f"{(rebuilt == given).float().mean():.1%} of pixels right" in told
    Image.fromarray(labels + 1).save("maps/other.png")
    status, _, complaint = smalti_command("reconstruct", "model", "maps/other.png", "more")
    assert status == 2
    assert "class numbers from 0 to 4, got 1 to 5 in maps/other.png" in complaint


def test_reconstructions_of_maps_with_one_channel(home, smalti_command):
    smalti.save(tokenizer(1), "model")
    Image.fromarray(np.arange(96, dtype=np.uint8).reshape(8, 12)).save("map.png")
    status, told, complaint = smalti_command("reconstruct", "model", "map.png", "out")
    assert status == 0, complaint
    assert "dB" in told
    assert imaging.read_header(home / "out" / "00000-map.png").mode == "L"


@pytest.mark.parametrize("command", ["sample", "complete"])
def test_class_maps_are_scaled_by_the_nearest(classes, smalti_command, command):
    """Between classes 0 and 4 there is no class 2, nor half of each: every channel stays 0 or 1."""
    labels = np.kron(np.random.default_rng(1).choice([0, 4], (4, 6)), np.ones((2, 2))).astype(np.uint8)
    Image.fromarray(labels).save("two.png")  # 8 x 12, drawn as 12 x 18
    Image.new("RGB", (18, 12), "red").save("image.png")
    model = smalti.load("model")
    with torch.no_grad():  # so that the prior listens
        for parameter in model.prior.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    smalti.save(model, "model")
    words = [command, "model", *(["image.png"] if command == "complete" else []), "out"]
    status, _, complaint = smalti_command(*words, "--map", "two.png", "--size", "12x18", "--top-k", 1)
    assert status == 0, complaint
    scaled = imaging.resize(torch.from_numpy(labels)[None], (12, 18), "nearest-exact")[0].long()
    assert set(scaled.unique().tolist()) == {0, 4}
    model = smalti.load("model")
    told = {"map": scaled, "top_k": 1}
    (expected,) = (
        model.sample(size=(12, 18), **told) if command == "sample" else model.complete("image.png", **told)
    )
    assert imaging.open_rgb(classes / "out" / "00000.png").equal(imaging.from_pil(expected))


def test_other_maps_are_scaled_smoothly(home, smalti_command):
    torch.manual_seed(0)
    prior = GPTSettings(layers=1, heads=2, width=16)
    settings = PipelineSettings(prior=prior, condition=MapSettings(), grid=(4, 4))
    model = Pipeline(settings, tokenizer(3), tokenizer(1))
    with torch.no_grad():  # so that the prior listens
        for parameter in model.prior.parameters():
            parameter.add_(torch.randn_like(parameter))
    smalti.save(model, "model")
    levels = np.random.default_rng(1).integers(0, 256, (8, 12), dtype=np.uint8)
    Image.fromarray(levels).save("depth.png")
    words = ("sample", "model", "out", "--map", "depth.png", "--size", "12x18", "--top-k", 1)
    status, _, complaint = smalti_command(*words)
    assert status == 0, complaint
    scaled = imaging.resize(imaging.to_float(torch.from_numpy(levels))[None], (12, 18), "bilinear")
    (expected,) = smalti.load("model").sample(size=(12, 18), map=scaled, top_k=1)
    assert imaging.open_rgb(home / "out" / "00000.png").equal(imaging.from_pil(expected))
