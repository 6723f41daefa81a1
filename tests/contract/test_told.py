"""A prior is trained with every condition by its recipe, and is told by the data what a user will tell it."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import NETWORK

import smalti
from smalti import config, imaging, library
from smalti.conditions.boxes import BoxesSettings
from smalti.conditions.coordinates import Part
from smalti.conditions.label import LabelCondition, LabelSettings
from smalti.conditions.map import MapSettings
from smalti.conditions.points import PointsSettings
from smalti.data.coco import Coco, CocoSettings
from smalti.data.folder import Folder, FolderSettings
from smalti.data.loader import Loader, in_order
from smalti.data.pairs import Pairs, PairsSettings
from smalti.data.transforms import CropSettings
from smalti.errors import UserError
from smalti.pipeline import Pipeline, PipelineSettings
from smalti.priors.gpt import GPTSettings
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings
from smalti.training import log
from smalti.training.prior_task import PriorTask
from smalti.training.settings import PriorTraining

SMALL = {  # in place of what a recipe says: seconds, not weeks
    "size": 16,
    "batch": 4,
    "steps": 3,
    "workers": 0,
    "prior": {"kind": "gpt", "layers": 1, "heads": 2, "width": 16},
    "optimizer.lr": 1.0e-2,
    "log_every": 1,
    "validate_every": 3,
    "sample_every": 3,
    "checkpoint_every": 3,
}
HEIGHT, WIDTH = 24, 36  # pixels of the images
RECIPES = ["transformer_depth", "transformer_segmentation", "transformer_coordinates"]
RECIPES += ["transformer_boxes", "transformer_points"]
LOSSES = {  # of three steps, from the logarithm of the numbers that are scored: 8, 1024, 64
    "transformer_depth": [2.1015, 1.9791, 1.8423],
    "transformer_segmentation": [2.0970, 1.9699, 1.8327],
    "transformer_coordinates": [6.9440, 6.7596, 6.3936],
    "transformer_boxes": [4.1775, 4.0452, 3.7642],
    "transformer_points": [4.1719, 4.0754, 3.7644],
}


def tokenizer(channels: int = 3, **more) -> Tokenizer:
    torch.manual_seed(0)
    network = NetworkSettings(**NETWORK, multipliers=(1, 2), in_channels=channels, out_channels=channels)
    return Tokenizer(
        TokenizerSettings(network=network, quantizer=VectorQuantizerSettings(codebook_size=8), **more)
    )


@pytest.fixture
def places(request, tmp_path):
    """What the recipes are given: data, and tokenizers."""
    library.save(tokenizer(), tmp_path / "images_tokenizer")
    maps = {
        "transformer_depth": tokenizer(1),
        "transformer_segmentation": tokenizer(5, content="segmentation"),
    }

    def find(recipe: str) -> dict:
        found = {"tokenizer": str(tmp_path / "images_tokenizer")}
        kind = recipe.removeprefix("transformer_")
        if recipe in maps:
            library.save(maps[recipe], tmp_path / f"{kind}_tokenizer")
            found["condition_tokenizer"] = str(tmp_path / f"{kind}_tokenizer")
            found["data.maps"] = str(request.getfixturevalue("paired") / kind)
        if kind in ("boxes", "points"):
            found["data"] = request.getfixturevalue("coco" if kind == "boxes" else "open_images")
            found["condition.no_tokens"] = 64
        else:
            found["data"] = request.getfixturevalue("paired") / "images"
            found["data.val_share"] = 0.2
        return found

    return find


@pytest.mark.parametrize("recipe", RECIPES)
def test_its_recipe_trains(recipe, places, tmp_path):
    """It learns as it did when these figures were taken; it is saved, loaded and draws."""
    run = smalti.train(recipe, out=tmp_path / "run", **{**SMALL, **places(recipe)})
    lines = log.read(run / "log.jsonl")
    assert [line["step"] for line in lines if line["kind"] == "train"] == [1, 2, 3]
    losses = [line["loss/prior"] for line in lines if line["kind"] == "train"]
    assert losses == pytest.approx(LOSSES[recipe], abs=5e-3)
    assert any("nats_per_token" in line for line in lines if line["kind"] == "validation")
    assert (run / "samples" / "step-00000003.png").is_file()
    model = smalti.load(run)
    assert (model.condition.own is not None) == (recipe in RECIPES[:2])
    boxes = [("house", 0.0, 0.0, 0.5, 1.0)]
    told = {"map": torch.zeros(model.condition.own.channels, 16, 32)} if recipe in RECIPES[:2] else {}
    told |= {"boxes": boxes} if recipe == "transformer_boxes" else {}
    told |= {"points": [("house", 0.25, 0.5)]} if recipe == "transformer_points" else {}
    (drawn,) = model.sample(size=(16, 32), **told)
    assert drawn.size == (32, 16)
    metadata = json.loads(drawn.info["smalti"])
    assert told.keys() <= metadata.keys()
    assert len(drawn.info["smalti"]) < 1000


def test_classes_are_those_of_the_data(places, tmp_path):
    run = smalti.train("transformer_boxes", out=tmp_path / "run", **{**SMALL, **places("transformer_boxes")})
    assert smalti.load(run).condition.settings.names == ("tree", "house", "cloud")  # ids as words: 10, 2, 92
    values = {**SMALL, **places("transformer_boxes"), "condition.classes": 7}
    with pytest.raises(UserError, match=r"as many condition\.classes as the data have, 3, got 7"):
        smalti.train("transformer_boxes", out=tmp_path / "other", **values)


@pytest.mark.parametrize(
    ("recipe", "changes", "words"),
    [
        ("transformer_coordinates", {"condition": {"kind": "map"}}, r"with maps .* got data\.kind=folder"),
        ("transformer_depth", {"data.content": "image"}, r"data\.content=depth, which condition_tokenizer"),
        ("transformer_depth", {"condition_tokenizer": None}, r"a tokenizer of the maps .* got none"),
        ("transformer_coordinates", {"condition_tokenizer": "images"}, r"no second tokenizer .* got one"),
        ("transformer_boxes", {"data.max_objects": 31}, r"condition\.max_objects of at least .*=31, got 30"),
        ("transformer_coordinates", {"condition": {"kind": "boxes", "classes": 2}}, "annotated images"),
        ("transformer_depth", {"condition_tokenizer": "nowhere"}, "a trained condition tokenizer .*nowhere"),
        (
            "transformer_boxes",
            {"data.year": "2014"},
            r"COCO's format, got .*instances_train2014",
        ),
        ("transformer_boxes", {"data.min_objects": 5}, "images with 5 to 30 boxes .*none among 6"),
        ("transformer_points", {"data.names": ["house", "hut"]}, "names of classes in .*, got hut"),
        (
            "transformer_coordinates",
            {"condition": {"kind": "label", "classes": 2}},
            "images with classes .*",
        ),
        (
            "transformer_depth",
            {"condition": {"kind": "map", "shared": True}, "condition_tokenizer": None},
            r"data\.content=image, which tokenizer takes, got depth",
        ),
    ],
)
def test_what_does_not_fit_is_said(recipe, changes, words, places, tmp_path):
    values = {**SMALL, **places(recipe), **changes}
    if changes.get("condition_tokenizer") == "images":
        values["condition_tokenizer"] = values["tokenizer"]
    with pytest.raises(UserError, match=words):
        smalti.train(recipe, out=tmp_path / "run", **values)
    assert not (tmp_path / "run").exists()


def test_images_and_maps_are_cropped_alike(paired):
    """Maps that are their images stay so, whatever the crop; parts say where it lies."""
    how = PairsSettings(root=paired / "images", maps=paired / "images", val_share=0.0)
    crop = CropSettings(scale=(1.0, 1.5), filter="bilinear")
    loader = Loader(Pairs(how, "train"), size=(16, 16), crop=crop, batch=12, seed=3)
    batch = next(iter(loader.batches()))
    assert (batch.images - batch.maps).abs().max() < 0.02  # one is rounded to 8 bits after the resizing
    assert len({part for part in batch.parts}) > 6
    for part in batch.parts:
        assert 0 <= part.top <= part.height - 16
        assert 0 <= part.left <= part.width - 16
    (held,) = in_order(Pairs(how, "train"), size=(16, 16), crop=crop, batch=12)
    assert held.parts == (Part(0, 4, 16, 24),) * 12


def test_pairs_that_are_none(paired):
    where = {"root": paired / "images", "maps": paired / "depth", "content": "depth"}
    (paired / "depth" / "5.png").unlink()
    with pytest.raises(UserError, match="1 of 12 images without one, the first 5"):
        Pairs(PairsSettings(**where, val_share=0.0), "train")
    Image.new("L", (WIDTH, HEIGHT - 1)).save(paired / "depth" / "5.png")
    reader = Pairs(PairsSettings(**where, val_share=0.0), "train")
    with pytest.raises(
        UserError, match=r"a map of its image's size, 24 x 36 pixels, got 23 x 36 in .*5\.png"
    ):
        [reader[index] for index in range(len(reader))]


def test_class_numbers_wrap(paired):
    Image.new("L", (WIDTH, HEIGHT), 255).save(paired / "segmentation" / "0.png")
    where = {"root": paired / "images", "maps": paired / "segmentation", "content": "segmentation"}
    reader = Pairs(PairsSettings(**where, shift=True, val_share=0.0), "train")
    assert reader[0].segmentation.eq(0).all()
    assert reader[1].segmentation.min() >= 1


def test_scenes_are_told_with_their_crop(coco):
    reader = Coco(CocoSettings(root=coco), "val")
    crop = CropSettings(scale=(2.0, 2.0))
    (batch,) = in_order(reader, size=(12, 12), crop=crop, batch=6)
    assert {scene.crop for scene in batch.scenes} == {(1 / 3, 0.25, 2 / 3, 0.75)}
    tree, house = 0, 1
    first = batch.scenes[0].objects
    assert [thing.label for thing in first] == [house, tree + 3]  # a crowd
    assert first[1].box == (0.25, 0.25, 1.0, 0.75)


def test_a_condition_costs_no_place_in_the_fingerprint(tmp_path):
    """A generator with another tokenizer of maps is another model; saved and loaded it is the same."""
    settings = PipelineSettings(
        prior=GPTSettings(layers=1, heads=2, width=16), condition=MapSettings(), grid=(4, 4)
    )
    torch.manual_seed(1)
    model = Pipeline(settings, tokenizer(), tokenizer(1))
    before = library.fingerprint(model)
    library.save(model, tmp_path / "model")
    loaded = library.load(tmp_path / "model")
    assert library.fingerprint(loaded) == loaded.fingerprint == before
    told = torch.rand(1, 1, 8, 8)
    codes = torch.randint(0, 8, (1, 4, 4))
    assert loaded.logits(codes, map=told).equal(model.logits(codes, map=told))
    with torch.no_grad():
        model.condition.own.quantizer.codebook.weight[0, 0] += 1
    assert library.fingerprint(model) != before


@pytest.mark.parametrize("kind", ["map", "boxes", "points"])
def test_guidance_on_a_larger_canvas(kind):
    """The null prompt is as long as a window's; at scale 1 it says nothing, at 0 it alone speaks."""
    scene = {"classes": 2, "no_tokens": 32, "max_objects": 2, "dropout": 0.5}
    how = {"map": MapSettings(shared=True, dropout=0.5)}
    how |= {"boxes": BoxesSettings(**scene), "points": PointsSettings(**scene)}
    values = {"map": torch.linspace(-1, 1, 3 * 8 * 12).view(3, 8, 12), "boxes": [(1, 0.0, 0.0, 0.5, 1.0)]}
    values["points"] = [(1, 0.25, 0.5)]
    prior = GPTSettings(layers=1, heads=2, width=16)
    torch.manual_seed(1)
    model = Pipeline(PipelineSettings(prior=prior, condition=how[kind], grid=(4, 4)), tokenizer())
    with torch.no_grad():  # at first all scores are nearly alike
        for parameter in model.prior.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    drawn = {
        scale: model.sample(size=(8, 12), guidance_scale=scale, **{kind: values[kind]}).codes
        for scale in (0.0, 1.0, 3.0)
    }
    assert drawn[0.0].shape == drawn[3.0].shape == (1, 4, 6)
    assert not drawn[1.0].equal(drawn[3.0])
    other = {"map": -values["map"], "boxes": [(0, 0.5, 0.0, 1.0, 1.0)], "points": [(0, 0.75, 0.5)]}
    told_otherwise = model.sample(size=(8, 12), guidance_scale=0.0, **{kind: other[kind]}).codes
    assert told_otherwise.equal(drawn[0.0])


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ({"classes": 1}, r"condition\.classes of at least 2, .* got 1"),
        ({"classes": 3, "names": ["hanging", "standing", "lying"]}, "lying as number 2, .* got number 0"),
    ],
)
def test_classes_must_have_the_numbers_of_the_data(condition, words, photos, tmp_path):
    library.save(tokenizer(), tmp_path / "tokenizer")
    changes = {**SMALL, "condition": {"kind": "label", **condition}, "tokenizer": str(tmp_path / "tokenizer")}
    with pytest.raises(UserError, match=words):
        smalti.train("transformer_imagenet", photos, tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_classes_may_be_shown_under_other_names(photos):
    settings = FolderSettings(root=photos)
    reader = Folder(settings, "train")
    for names in (("flat", "upright"), ("lying", "upright")):
        LabelCondition.needs(LabelSettings(classes=2, names=names), settings, reader)
    with pytest.raises(UserError, match="the class standing as number 0"):
        LabelCondition.needs(LabelSettings(classes=2, names=("standing", "a")), settings, reader)


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_a_prior_is_told_the_classes_of_what_it_is_shown(paired, flip):
    """Class maps lie on their images also when mirrored, scaled and cut: in the prefix itself."""
    for number in range(12):  # an image whose levels are its classes
        labels = np.kron(np.random.default_rng(number).integers(0, 5, (6, 9)), np.ones((4, 4))).astype(
            np.uint8
        )
        Image.fromarray(np.repeat(labels[..., None] * 50, 3, -1)).save(paired / "images" / f"{number}.png")
        (paired / "images" / f"{number}.jpg").unlink()
        Image.fromarray(labels).save(paired / "segmentation" / f"{number}.png")
    how = PairsSettings(
        root=paired / "images", maps=paired / "segmentation", content="segmentation", val_share=0.0
    )
    crop = CropSettings(filter="nearest-exact", flip=flip, scale=(1.0, 1.2))
    batch = next(iter(Loader(Pairs(how, "train"), size=(16, 20), crop=crop, batch=12, seed=0).batches()))
    shown = (imaging.to_uint8(batch.images[:, 0]) / 50).round().long()
    torch.manual_seed(0)
    maps = tokenizer(5, content="segmentation")
    settings = PipelineSettings(
        prior=GPTSettings(layers=1, heads=2, width=16), condition=MapSettings(), grid=(8, 10)
    )
    training = config.parse(
        {
            "kind": "prior",
            "data": {"kind": "folder", "root": str(paired)},
            "size": [16, 20],
            "batch": 12,
            "steps": 1,
            "tokenizer": "none",
            "prior": {"kind": "gpt", "layers": 1, "heads": 2, "width": 16},
            "condition": {"kind": "map"},
        },
        PriorTraining,
    )
    task = PriorTask(training, Pipeline(settings, tokenizer(), maps))
    seen = []
    task.objective = lambda codes, prefix, rng, pkeep, grid: seen.append(prefix) or torch.zeros(())
    task.losses(batch, step=0)
    expected = maps.encode(imaging.one_hot(shown, 5)).flatten(1)
    assert seen[0].equal(expected)
    assert not maps.encode(imaging.one_hot(shown.flip(-1), 5)).flatten(1).equal(expected)


def test_held_out_maps_have_a_folder_of_their_own(paired):
    """Also where the others have maps of the same names."""
    (paired / "held").mkdir()
    (paired / "held_maps").mkdir()
    (paired / "images" / "3.jpg").rename(paired / "held" / "3.jpg")
    Image.new("L", (WIDTH, HEIGHT), 4).save(paired / "held_maps" / "3.png")
    where = {"root": paired / "images", "maps": paired / "segmentation", "content": "segmentation"}
    how = PairsSettings(**where, val=paired / "held", val_maps=paired / "held_maps")
    assert [sample.segmentation.unique().tolist() for sample in Pairs(how, "val")] == [[4]]
    assert len(Pairs(how, "train")) == 11
    assert Pairs(how, "train").maps == [
        paired / "segmentation" / f"{n}.png" for n in (0, 1, 10, 11, 2, *range(4, 10))
    ]
    shared = PairsSettings(**where, val=paired / "held")
    assert Pairs(shared, "val").maps == [paired / "segmentation" / "3.png"]
