"""`smalti evaluate` of models that are told maps or boxes: conditions of the data, floor and ceiling."""

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from spaces import seen_by_cells
from tiny import NETWORK

import smalti
from smalti import imaging
from smalti.cli.main import group
from smalti.conditions.box_tokens import Object, Scene
from smalti.conditions.boxes import BoxesSettings
from smalti.conditions.keypoints import KeypointsSettings
from smalti.conditions.map import MapSettings
from smalti.conditions.pose import Joint, Pose
from smalti.data.pairs import PairsSettings
from smalti.errors import UserError
from smalti.evaluation import record
from smalti.evaluation.described import drawn
from smalti.evaluation.measures import obeyed as measure
from smalti.evaluation.run import evaluate
from smalti.metrics.obeyed.protocol import take
from smalti.pipeline import Pipeline, PipelineSettings
from smalti.priors.gpt import GPTSettings
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings
from smalti.training import folders

SIZE = (16, 24)
WANTED = {"metrics": ("fd", "nats", "obeyed")}


@pytest.fixture(autouse=True)
def quick_networks():
    with seen_by_cells():
        yield


def tokenizer(channels, **more):
    network = NetworkSettings(
        **{**NETWORK, "multipliers": (1, 2), "in_channels": channels, "out_channels": channels}
    )
    quantizer = VectorQuantizerSettings(codebook_size=16)
    return Tokenizer(TokenizerSettings(network=network, quantizer=quantizer, **more))


def save(path, condition, data, *maps):
    """A model of noise, which says that it was trained on these data."""
    torch.manual_seed(0)
    settings = PipelineSettings(
        prior=GPTSettings(layers=1, heads=2, width=16), condition=condition, grid=(SIZE[0] // 2, SIZE[1] // 2)
    )
    model = Pipeline(settings, tokenizer(3), *maps)
    smalti.save(model, path, {"data": data})
    return path


@pytest.fixture
def scenes(tmp_path):
    """Sixteen images of three coloured rectangles, and their class maps."""
    colours = np.array([[30, 30, 90], [220, 60, 60], [60, 200, 60], [230, 220, 80]], dtype=np.uint8)
    chance = np.random.default_rng(0)
    for folder in ("images", "maps", "depth"):
        (tmp_path / folder).mkdir()
    for number in range(16):
        labels = np.zeros(SIZE, dtype=np.uint8)
        for label in (1, 2, 3):
            top, left = chance.integers(0, 10), chance.integers(0, 16)
            labels[top : top + 8, left : left + 10] = label
        noise = chance.integers(0, 20, (*SIZE, 3)).astype(np.uint8)
        Image.fromarray(colours[labels] + noise).save(tmp_path / "images" / f"{number}.png")
        Image.fromarray(labels).save(tmp_path / "maps" / f"{number}.png")
        Image.fromarray((labels * 80).astype(np.uint8)).save(tmp_path / "depth" / f"{number}.png")
    return tmp_path


def data_of(scenes, **more):
    settings = PairsSettings(root=scenes / "images", maps=scenes / "maps", val_share=0.4, **more)
    return folders.held_out(settings)


@pytest.fixture
def segmented(scenes):
    data = data_of(scenes, content="segmentation")
    return save(scenes / "model", MapSettings(), data, tokenizer(4, content="segmentation"))


def test_maps_of_the_data_are_obeyed_or_not(scenes, segmented):
    found = evaluate(segmented, scenes / "images", **WANTED)
    number = found.record.numbers["miou"]
    assert number.beside["real images"] > 0.6
    assert number.value < 0.5
    assert number.value == pytest.approx(number.beside["conditions exchanged"], abs=0.2)
    held_out = number.protocol["count"]
    assert 2 <= held_out < 16
    assert number.protocol["training"]["count"] == 16 - held_out
    assert number.protocol["segmenter"] == "linear discriminant"
    assert {"segmentation_accuracy", "cells_fd", "nats_per_token"} <= found.record.numbers.keys()
    model = smalti.load(segmented)
    assert found.evidence.fake.conditions([0, 1]).shape == (2, *SIZE)
    again = model.sample(num=1, map=found.evidence.fake.conditions([0])[0], seed=0).tensors
    assert imaging.to_uint8(found.evidence.fake.show([0])).equal(imaging.to_uint8(again))
    nats = model.nats_per_token(
        found.evidence.real.show(range(held_out)), map=found.evidence.real.conditions(range(held_out))
    )
    assert found.record.numbers["nats_per_token"].value == pytest.approx(nats, rel=0.02)  # 8 bits apart
    found.save(scenes / "out")
    assert record.read(scenes / "out") == found.record
    page = (scenes / "out" / "report.html").read_text()
    assert "Above conditions, below them what was drawn" in page
    assert "conditions exchanged" in page


def test_judges_learn_from_training_images_and_from_no_others(scenes, segmented, monkeypatch):
    seen = {}
    monkeypatch.setattr(measure, "obeyed", lambda judge, given, **more: seen.update(more, fake=given) or {})
    found = evaluate(segmented, scenes / "images", **WANTED).evidence
    for name, pairs in seen.items():
        side = getattr(found, name)
        assert take(pairs.images, [1, 0]).equal(side.show([1, 0])), name
        assert take(pairs.conditions, [1, 0]).equal(side.conditions([1, 0])), name
    assert set(seen) == {"fake", "real", "train"}
    assert not found.train.show([0]).equal(found.real.show([0]))


def test_maps_of_another_folder_are_named(scenes, segmented, tmp_path):
    other = tmp_path / "others"
    (scenes / "images").rename(other)
    with pytest.raises(UserError, match="the folder of the maps of these images, got none; --maps FOLDER"):
        evaluate(segmented, other, **WANTED)
    with pytest.raises(UserError, match="training images with what they show, to learn from"):
        evaluate(segmented, other, maps=scenes / "maps", **WANTED)
    found = evaluate(segmented, other, maps=scenes / "maps").record
    assert "miou" not in found.numbers
    assert any("without obeyed" in note for note in found.notes)
    assert found.numbers["cells_fd"].protocol["count"] == 16


def test_the_command_takes_maps(scenes):
    model = save(scenes / "model", MapSettings(), {}, tokenizer(1))
    words = ["evaluate", model, scenes / "images", "--metrics", "fd", "--num", "4"]
    told = CliRunner().invoke(group, [*map(str, words), "--maps", str(scenes / "depth")])
    assert told.exit_code == 0, told.output
    assert "cells_fd" in told.output
    without = CliRunner().invoke(group, list(map(str, words)))
    assert "--maps FOLDER" in str(without.exception) + without.output


def test_boxes_of_the_data_are_obeyed_or_not(coco, tmp_path):
    names = ("tree", "house", "cloud")
    settings = BoxesSettings(classes=3, names=names, no_tokens=64, max_objects=30)
    model = save(tmp_path / "model", settings, {"kind": "coco", "root": str(coco)})
    found = evaluate(model, coco, **WANTED)
    number = found.record.numbers["box_recall"]
    assert 0 <= number.value <= 1
    assert number.protocol["count"] == 6
    assert number.protocol["training"]["count"] == 6
    assert set(number.beside) == {"conditions exchanged", "real images"}
    found.save(tmp_path / "out")
    assert "Above conditions" in Path(tmp_path / "out" / "report.html").read_text()


def test_poses_of_the_data_are_obeyed_or_not(coco_keypoints, tmp_path):
    data = {"kind": "coco_keypoints", "root": str(coco_keypoints), "min_height": 8}
    model = save(tmp_path / "model", KeypointsSettings(places=8), data)
    found = evaluate(model, coco_keypoints, **WANTED)
    number = found.record.numbers["keypoints"]
    assert 0 <= number.value <= 1
    assert (number.protocol["count"], number.protocol["training"]["count"]) == (6, 6)
    found.save(tmp_path / "out")
    assert (tmp_path / "out" / "report.html").is_file()


def test_conditions_are_shown():
    pose = Pose(("left_elbow", "left_wrist"), ((Joint(0.25, 0.5), Joint(0.75, 0.5)),))
    (image,) = drawn([pose], (17, 25))
    assert image[:, 8, 12].max() > -0.5
    assert image[:, 0, 12].eq(-1).all()
    scene = Scene((Object(1, 0.25, 0.25, 0.75, 0.75),))
    (image,) = drawn([scene], (17, 25))
    assert image.shape == (3, 17, 25)
    assert not image[:, 4, 6].equal(image[:, 0, 0])
    assert image[:, 8, 12].equal(image[:, 0, 0])
    labels = torch.zeros(1, 4, 6, dtype=torch.int64)
    assert drawn(labels, (4, 6)).shape == (1, 3, 4, 6)
    assert drawn(torch.full((1, 1, 4, 6), 2.0), (4, 6)).eq(1).all()


def test_classes_are_for_models_that_are_told_some(scenes, segmented):
    with pytest.raises(UserError, match="a model that is told classes, for --per-class"):
        evaluate(segmented, scenes / "images", per_class=2)
    with pytest.raises(UserError, match="leave --train out"):
        evaluate(segmented, scenes / "images", train=scenes / "images")
