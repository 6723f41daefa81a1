"""`smalti evaluate` and `smalti encode` on scenes, which are made; models of several conditions."""

import json

import numpy as np
import pytest
import torch
from spaces import seen_by_cells
from tiny import NETWORK, generator, of_images

import smalti
from smalti import about, imaging
from smalti.conditions.boxes import BoxesSettings
from smalti.conditions.computed.edges import EdgesSettings
from smalti.conditions.coordinates import CoordinatesSettings
from smalti.conditions.joint import JointSettings
from smalti.conditions.label import LabelSettings
from smalti.conditions.map import MapSettings
from smalti.conditions.none import NoConditionSettings
from smalti.conditions.text import TextSettings
from smalti.data.protocol import Batch
from smalti.data.scenes import Scenes, ScenesSettings
from smalti.data.shards import ShardsSettings, TokenShards
from smalti.errors import UserError
from smalti.evaluation.described import value
from smalti.evaluation.run import evaluate
from smalti.metrics.obeyed.choice import most_learned
from smalti.metrics.obeyed.protocol import Judge
from smalti.metrics.obeyed.text import Text
from smalti.pipeline import Pipeline, PipelineSettings
from smalti.priors.gpt import GPTSettings
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings
from smalti.training.precompute import encode

GRID, SIZE = (16, 20), (32, 40)  # a crop of the models, of factor 2
DATA = {"kind": "scenes", "size": list(SIZE), "count": 40, "val_count": 8, "seed": 3, "people": 0.25}
CLASSES = {"classes": 4, "names": Scenes.classes}
LABEL = LabelSettings(**CLASSES)
SEVERAL = JointSettings(
    of={"label": LABEL, "boxes": BoxesSettings(**CLASSES, max_objects=4), "place": CoordinatesSettings()}
)


@pytest.fixture(autouse=True)
def quick_networks():
    with seen_by_cells():
        yield


@pytest.fixture
def saved(tmp_path):
    """Saves a model of noise, which says that it was trained on scenes."""

    def save(condition, data=DATA):
        smalti.save(generator(condition=condition, grid=GRID), tmp_path / "model", {"data": data})
        return tmp_path / "model"

    return save


def scene(number, split="val"):
    return Scenes(ScenesSettings(**{**DATA, "size": SIZE}), split)[number]


def test_a_tokenizer_is_judged_by_scenes_that_were_held_out(saved):
    saved(LABEL)
    found = evaluate(saved(LABEL) / "tokenizer", "scenes", num=5, size=SIZE, metrics=("psnr",))
    assert found.record.numbers["psnr"].protocol["count"] == 5
    assert found.record.notes[0] == "5 images of scenes (val)"
    other = ScenesSettings(size=SIZE)  # what a model that tells of no scenes is judged by
    first = imaging.to_float(Scenes(other, "val")[0].image[None])
    assert found.evidence.real.show([0]).equal(first)


def test_a_prior_of_classes_draws_those_of_scenes(saved, monkeypatch):
    monkeypatch.setattr(Judge, "most", 12)
    found = evaluate(saved(LABEL), "scenes", num=4, metrics=("fd", "accuracy", "nats"))
    assert {"cells_fd", "cells_accuracy", "nats_per_token"} <= found.record.numbers.keys()
    real, train = found.evidence.real, found.evidence.train
    numbers = [0, 2, 4, 6]  # evenly over eight
    assert list(real.labels) == [scene(number).label for number in numbers]
    assert list(found.evidence.fake.labels) == list(real.labels)
    for row, number in enumerate(numbers):
        assert real.show([row]).equal(imaging.to_float(scene(number).image[None]))
    assert train.count == 12, "as many as a judge learns from, of forty"
    assert train.show([0]).equal(imaging.to_float(scene(0, "train").image[None]))
    assert evaluate(saved(LABEL), "scenes", num=4, train_num=7, metrics=("fd",)).evidence.train.count == 7
    found = evaluate(saved(LABEL), "scenes", split="train", num=4, metrics=("fd",))
    assert found.evidence.train is None
    assert found.record.notes[0] == "4 images of scenes (train)"


def test_a_prior_that_is_told_nothing(saved):
    found = evaluate(saved(NoConditionSettings()), "scenes", num=3, train_num=6, metrics=("fd", "nats"))
    assert found.record.numbers["cells_fd"].protocol["count"] == 3
    assert list(found.evidence.real.labels) == []


@pytest.mark.parametrize(("content", "number"), [("segmentation", "miou"), ("depth", "depth_order")])
def test_maps_of_scenes_are_those_that_the_model_is_told(tmp_path, monkeypatch, content, number):
    """Whatever data.content its training of shards began with; as many to learn from as the judge takes."""
    monkeypatch.setattr(Judge, "most", 12)
    channels = {"segmentation": 6, "depth": 1}[content]
    own = {"multipliers": (1, 1), "in_channels": channels, "out_channels": channels}
    how = {"content": "segmentation"} if content == "segmentation" else {}
    maps = Tokenizer(TokenizerSettings(network=NetworkSettings(**{**NETWORK, **own}), **how))
    pixels = Tokenizer(TokenizerSettings(network=NetworkSettings(**{**NETWORK, "multipliers": (1, 1)})))
    prior = GPTSettings(layers=1, heads=2, width=16)
    settings = PipelineSettings(prior=prior, condition=MapSettings(), grid=GRID)
    other = {"segmentation": "depth", "depth": "segmentation"}[content]
    smalti.save(Pipeline(settings, pixels, maps), tmp_path / "model", {"data": {**DATA, "content": other}})
    found = evaluate(tmp_path / "model", "scenes", num=4, metrics=("obeyed",))
    assert found.evidence.train.count == 12
    assert found.record.numbers[number].protocol["training"]["count"] == 12
    told = found.evidence.real.conditions([1])[0]
    there = Scenes(ScenesSettings(**{**DATA, "size": SIZE, "content": content}), "val")[2]
    assert told.equal(there.segmentation if content == "segmentation" else there.map)


def test_images_are_judged_by_scenes_of_their_size(tmp_path):
    chance = np.random.default_rng(0)
    np.savez(tmp_path / "images.npz", chance.integers(0, 255, (6, 32, 48, 3)).astype(np.uint8))
    found = evaluate(tmp_path / "images.npz", "scenes", num=4, train_num=6, metrics=("fd",))
    assert found.record.numbers["cells_fd"].protocol["size"] == "32 x 48"
    assert found.record.notes[0] == "4 images of scenes (val)"


def test_scenes_are_of_three_channels(tmp_path):
    network = NetworkSettings(**{**NETWORK, "in_channels": 1, "out_channels": 1})
    smalti.save(Tokenizer(TokenizerSettings(network=network)), tmp_path / "gray")
    with pytest.raises(UserError, match="a tokenizer of RGB images, as scenes are, got one of 1 channels"):
        evaluate(tmp_path / "gray", "scenes", num=3, size=SIZE)


def test_each_of_several_conditions_is_judged_by_itself(saved, tmp_path):
    path = saved(SEVERAL)
    found = evaluate(path, "scenes", num=6, train_num=20, metrics=("nats", "obeyed"))
    numbers = found.record.numbers
    assert numbers.keys() >= {"label_accuracy", "boxes_box_recall", "nats_per_token"}
    assert set(numbers["boxes_box_recall"].beside) == {"conditions exchanged", "real images"}
    assert numbers["label_accuracy"].protocol["classifier"] == "logistic regression"
    assert numbers["label_accuracy"].protocol["training"]["count"] == 20
    assert found.record.notes[1] == "without obeyed of place: no judge sees it"
    told = found.evidence.fake.conditions([1, 2])
    assert told["label"].tolist() == [scene(number).label for number in (1, 2)]
    assert told["boxes"][0].objects == scene(1).scene.objects
    model = smalti.load(path)
    given = {"label": int(told["label"][0]), "boxes": told["boxes"][0], "coordinates": None}
    again = model.sample(seed=1, label=given["label"], boxes=given["boxes"].objects).tensors
    assert imaging.to_uint8(found.evidence.fake.show([1])).equal(imaging.to_uint8(again))
    found.save(tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    labels = "; ".join(str(scene(number).label) for number in (0, 1, 2, 4, 5, 6))  # six evenly of eight
    assert f"Above conditions, below them what was drawn, and the real images. Told: {labels}" in page


def test_what_a_part_lacks_is_told_with_its_name(saved):
    found = evaluate(saved(SEVERAL), "scenes", split="train", num=4)
    assert not [name for name in found.record.numbers if name.startswith(("label", "boxes"))]
    (note,) = [note for note in found.record.notes if note.startswith("without obeyed: ")]
    what = "training images with what they show, to learn from"
    assert f"{what} (of boxes; label: {what})" in note
    with pytest.raises(UserError, match=r"to learn from \(of boxes; label"):
        evaluate(saved(SEVERAL), "scenes", split="train", num=4, metrics=("obeyed",))


def test_classes_of_several_conditions_must_be_those_of_the_data(saved):
    others = LabelSettings(classes=4, names=("cat", "dog", "cow", "hen"))
    model = saved(JointSettings(of={"label": others, "place": CoordinatesSettings()}))
    with pytest.raises(UserError, match=r"the model's classes \(cat, dog, cow, hen, ...\), got sphere, box"):
        evaluate(model, "scenes", num=4)


def test_the_card_of_several_conditions_has_the_classes_of_each():
    card = about.card(generator(condition=SEVERAL, grid=GRID), {}, "model")
    assert "pipe.sample(num=4, boxes=[('sphere', 0.1, 0.2, 0.6, 0.9)], label='sphere', seed=0)" in card


def test_as_many_training_scenes_as_the_judge_that_wants_most():
    assert most_learned(generator(condition=SEVERAL).condition) == Judge.most == 500
    text = JointSettings(of={"label": LABEL, "text": TextSettings()})
    assert most_learned(generator(condition=text).condition) == Text.most == 3000
    assert most_learned(of_images(EdgesSettings()).condition) == 500  # maps have several judges


def test_computed_maps_are_judged_as_they_are_though_there_are_class_maps():
    model = of_images(EdgesSettings())
    maps = torch.rand(2, 1, 8, 8) * 2 - 1
    classes = torch.zeros(2, 8, 8, dtype=torch.int64)
    batch = Batch(images=torch.zeros(2, 3, 8, 8), maps=maps, segmentations=classes)
    assert value(model, batch).equal(maps)


def test_scenes_become_shards_without_a_recipe(tmp_path):
    tokenizer = generator(grid=GRID).tokenizer
    tokenizer.provenance = {"data": {**DATA, "size": SIZE}}
    encode(tokenizer, "scenes", tmp_path / "own", size=SIZE, crop={"scale": (1.0, 1.0), "flip": 0.0})
    found = {split: TokenShards(ShardsSettings(root=tmp_path / "own"), split) for split in ("train", "val")}
    assert {split: len(one) for split, one in found.items()} == {"train": 40, "val": 8}
    assert found["val"].classes == Scenes.classes
    for number in (0, 7):
        sample, made = found["val"][number], scene(number)
        assert sample.codes.equal(tokenizer.encode(imaging.to_float(made.image[None]))[0])
        assert (sample.label, sample.texts, sample.scene.objects) == (
            made.label,
            made.texts,
            made.scene.objects,
        )
    assert json.loads((tmp_path / "own" / "index.json").read_text())["made"]["data"]["seed"] == 3
    with pytest.raises(UserError, match="for --val-share, got --val-share with scenes"):
        encode(tokenizer, "scenes", tmp_path / "other", size=SIZE, val_share=0.1)
