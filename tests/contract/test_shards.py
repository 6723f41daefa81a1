"""Token shards hold what a prior is told: it learns from them as from the images, to the bit."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_told import SMALL, places  # noqa: F401, a fixture

import smalti
from smalti import library
from smalti.conditions.box_tokens import Object, Scene
from smalti.conditions.coordinates import Part
from smalti.conditions.pose import Joint, Pose
from smalti.data import shards as shards_module
from smalti.data.loader import in_order
from smalti.data.protocol import Sample
from smalti.data.shards import ShardMetadata, ShardsSettings, ShardWriter, TokenShards
from smalti.data.transforms import CropSettings
from smalti.errors import UserError
from smalti.training import log
from smalti.training.precompute import encode

TEN = {**SMALL, "size": [16, 24], "steps": 10, "validate_every": 5, "sample_every": 10}
STILL = {"crop.flip": 0.0, "crop.position": "center", "crop.scale": [1.0, 1.0]}  # nothing is chance
DROPPED = {"dropout": 0.3}
HIDDEN = {"condition.dropout": 0.3}
KINDS = {  # recipe and settings of it
    "depth": ("transformer_depth", HIDDEN),
    "reduced": ("transformer_depth", {"condition.size": 8, **HIDDEN}),
    "shared": ("transformer_depth", {"condition.shared": True, "data.content": "image"}),
    "segmentation": ("transformer_segmentation", {"data.merge": {4: 1}, "data.shift": False}),
    "low resolution": (
        "transformer_coordinates",
        {
            "condition": {
                "kind": "map",
                "shared": True,
                "compute": {"kind": "low_resolution", "factor": 2},
                **DROPPED,
            }
        },
    ),
    "coordinates": ("transformer_coordinates", {}),
    "boxes": ("transformer_boxes", HIDDEN),
    "points": ("transformer_points", {}),
    "joint": ("transformer_depth", {"condition": [{"kind": "map", **DROPPED}, {"kind": "coordinates"}]}),
    "keypoints": ("transformer_keypoints", HIDDEN),
    "text": (
        "transformer_coordinates",
        {"condition": {"kind": "text", "vocabulary": 300, "dropout": 0.3}, "data.captions": "sidecar"},
    ),
}


@pytest.fixture
def found(places, request):  # noqa: F811
    """What a recipe is given, by its name."""

    def find(recipe: str) -> dict:
        if recipe != "transformer_keypoints":
            return places(recipe)
        data = request.getfixturevalue("coco_keypoints")
        return {**places("transformer_coordinates"), "data": data, "data.min_joints": 1, "data.min_height": 8}

    return find


def asked(kind: str, found) -> tuple[str, dict, dict]:
    """Recipe, settings of its data and models, and those of them that a training on shards is given."""
    recipe, more = KINDS[kind]
    where = {**found(recipe), **more}
    if kind == "keypoints":
        del where["data.val_share"]
    if kind == "shared":
        where |= {"data.maps": where["data"], "condition_tokenizer": None}
    if kind == "text":
        for path in where["data"].glob("*.jpg"):
            number = int(path.stem)
            path.with_suffix(".txt").write_text(
                "\n".join(f"Bild {k * number} größer" for k in range(1 + number % 3))
            )
    ours = ("tokenizer", "condition_tokenizer", "condition")
    return recipe, where, {key: where[key] for key in where if key in ours or key.startswith("condition.")}


def encoded(where: dict, recipe: str, out: Path, **more) -> Path:
    """The images of a training as shards."""
    settings = {key: value for key, value in {**TEN, **where}.items() if key != "data"}
    tokenizer = smalti.load(where["tokenizer"])
    return encode(tokenizer, where["data"], out, recipe=recipe, settings=settings, **{"batch": 5, **more})


def numbers(run: Path) -> list[dict]:
    """What a log says of steps and validations, but for times."""
    lines = [line for line in log.read(run / "log.jsonl") if line["kind"] in ("train", "validation")]
    kept = ("step", "loss/prior", "nats_per_token", "gradient/prior", "unigram_nats")
    return [{key: line[key] for key in kept if key in line} for line in lines]


def arrays(folder: Path) -> dict[str, torch.Tensor]:
    """All rows of the training split, file behind file."""
    files = [load_file(path) for path in sorted(folder.glob("train-*.safetensors"))]
    return {name: torch.cat([file[name] for file in files]) for name in files[0]}


@pytest.mark.parametrize("kind", KINDS)
def test_shards_train_as_their_images_do(kind, found, tmp_path):
    recipe, where, told = asked(kind, found)
    where |= STILL
    by_images = smalti.train(recipe, out=tmp_path / "images_run", **{**TEN, **where})
    tokens = encoded(where, recipe, tmp_path / "tokens")
    by_shards = smalti.train(recipe, tokens, tmp_path / "shards_run", **{**TEN, **told})
    assert numbers(by_shards) == numbers(by_images)
    assert len(numbers(by_shards)) == 12
    left, right = smalti.load(by_images), smalti.load(by_shards)
    assert library.fingerprint(left) == library.fingerprint(right)
    assert left.condition.files() == right.condition.files()
    sheets = [run / "samples" / "step-00000010.png" for run in (by_images, by_shards)]
    assert sheets[0].read_bytes() == sheets[1].read_bytes()


def test_what_is_told_belongs_to_the_crop(found, tmp_path):
    """Several of an image, flipped and moved: each row has its own crop."""
    recipe, where, _ = asked("boxes", found)
    where["crop.scale"] = [1.0, 2.0]
    tokens = encoded(where, recipe, tmp_path / "tokens", crops=3, seed=4)
    reader = TokenShards(ShardsSettings(root=tokens), "train")
    assert (len(reader), reader.gives) == (18, {"codes", "part", "scene"})
    found = [reader[row] for row in range(len(reader))]
    assert {thing.label for thing in found[0].scene.objects} == {1, 3}  # 3: 0 in a crowd
    for row, sample in enumerate(found):
        assert sample.scene.objects == found[row % 6].scene.objects
        x0, y0, x1, y1 = sample.scene.crop
        left = 1 - x1 if sample.scene.is_flipped else x0
        height, width = sample.part.height, sample.part.width
        assert (y0, left) == pytest.approx((sample.part.top / height, sample.part.left / width))
        assert (y1 - y0, x1 - x0) == pytest.approx((16 / height, 24 / width))
    assert {sample.scene.is_flipped for sample in found} == {False, True}
    assert len({(sample.part, sample.scene.is_flipped) for sample in found}) > 12
    (batch,) = in_order(reader, size=(16, 24), crop=CropSettings(), batch=18)
    assert batch.scenes == tuple(sample.scene for sample in found)


def test_rows_come_back_as_they_were_given(tmp_path, monkeypatch):
    """Also of scenes without things, and of things of unequal number, in several files."""
    monkeypatch.setattr(shards_module, "ROWS", 2)
    noise = torch.Generator().manual_seed(0)
    rows = []
    for count in (0, 0, 3, 1, 0, 2, 0):
        boxes = torch.rand(count, 4, generator=noise, dtype=torch.float64).tolist()
        things = tuple(Object(number, *box) for number, box in enumerate(boxes))
        scene = Scene(things, crop=(0.1, 0.2, 1 / 3, 0.7), is_flipped=count % 2 == 1)
        texts = tuple(f"größer {number}" for number in range(count + 1))
        joints = torch.rand(count, 2, 2, generator=noise, dtype=torch.float64).tolist()
        figures = tuple(tuple(Joint(x, y, count % 3) for x, y in figure) for figure in joints)
        pose = Pose(("nose", "tail"), figures, crop=(0.2, 0.1, 0.9, 1 / 3), is_flipped=count % 2 == 0)
        told = {"map by abc": torch.randint(0, 2**17, (5,), generator=noise)}
        codes = torch.randint(0, 9, (2, 3), generator=noise)
        part = Part(count, 2**20, 2**21, 2**22)
        rows.append(
            Sample(codes=codes, scene=scene, part=part, label=count, precomputed=told, texts=texts, pose=pose)
        )
    metadata = ShardMetadata(
        tokenizer="abc",
        codebook_size=9,
        factor=2,
        classes=("a", "b", "c", "d"),
        holds=("label", "part", "scene", "pose", "text"),
        joints=("nose", "tail"),
        conditions={"map by abc": {"vocabulary": 2**17}},
    )
    writer = ShardWriter(tmp_path / "tokens", metadata)
    for first, last in ((0, 1), (1, 4), (4, 7)):
        writer.add("train", rows[first:last])
    reader = TokenShards(ShardsSettings(root=writer.close()), "train")
    assert len(list((tmp_path / "tokens").glob("train-*"))) == 2
    assert (len(reader), reader.most_objects()) == (7, 3)
    assert reader.gives == {"codes", "label", "part", "scene", "pose", "text", "map"}
    for row, given in enumerate(rows):
        found = reader[row]
        assert (found.scene, found.part, found.pose) == (given.scene, given.part, given.pose)
        assert (found.label, found.texts) == (given.label, given.texts)
        assert found.codes.equal(given.codes)
        assert found.precomputed["map by abc"].equal(given.precomputed["map by abc"])
    assert list(reader.captions()) == [text for given in rows for text in given.texts]
    index = json.loads((tmp_path / "tokens" / "index.json").read_text())
    (tmp_path / "tokens" / "index.json").write_text(json.dumps({**index, "holds": ["label", "smell"]}))
    with pytest.raises(UserError, match="smell"):
        TokenShards(ShardsSettings(root=tmp_path / "tokens"), "train")


@pytest.mark.parametrize("kind", ["depth", "boxes"])
def test_encoding_for_a_recipe_goes_on(kind, found, tmp_path, monkeypatch):
    recipe, where, _ = asked(kind, found)
    whole = encoded(where, recipe, tmp_path / "whole", crops=3)
    monkeypatch.setattr(shards_module, "ROWS", 7)
    real, calls = smalti.Tokenizer.encode, []

    def encode_four(*args, **how):
        calls.append(1)
        if len(calls) == 4 * (1 + (kind == "depth")):  # a map is encoded too
            raise ArithmeticError
        return real(*args, **how)

    with monkeypatch.context() as patched:
        patched.setattr(smalti.Tokenizer, "encode", encode_four)
        with pytest.raises(ArithmeticError):
            encoded(where, recipe, tmp_path / "tokens", crops=3)
    other = {**where, **({"data.min_objects": 1} if kind == "boxes" else {"data.val_share": 0.3})}
    with pytest.raises(UserError, match="expected data "):
        encoded(other, recipe, tmp_path / "tokens", crops=3, resume=True)
    encoded(where, recipe, tmp_path / "tokens", crops=3, resume=True)
    left, right = arrays(whole), arrays(tmp_path / "tokens")
    assert left.keys() == right.keys()
    assert all(left[name].equal(right[name]) for name in left)


def test_shards_of_before_hold_labels(photos, tmp_path, found):
    """Read, and gone on with in the order that they were begun in."""
    tokenizer = smalti.load(found("transformer_coordinates")["tokenizer"])
    how = {"size": 16, "crops": 2, "seed": 3}
    now = encode(tokenizer, photos, tmp_path / "now", **how)
    index = json.loads((now / "index.json").read_text())
    assert (index.pop("holds"), index.pop("conditions")) == (["label", "part"], {})
    made = {key: value for key, value in index["made"].items() if key not in ("order", "data")}
    before = tmp_path / "before"
    before.mkdir()
    begun = {**index, "made": made, "train": [], "val": [], "complete": False}
    (before / "index.json").write_text(json.dumps(begun))
    encode(tokenizer, photos, before, **how, resume=True)
    old, new = ({**arrays(folder)} for folder in (before, now))
    assert old.keys() == {"codes", "labels"}
    assert new.keys() == {"codes", "labels", "parts"}
    assert new["labels"].tolist() == (tens := new["labels"][: len(new["labels"]) // 2].tolist()) * 2
    assert tens == sorted(tens)
    assert old["labels"].tolist() != new["labels"].tolist()
    assert sorted(map(str, old["codes"].int().tolist())) == sorted(map(str, new["codes"].int().tolist()))
    readers = [TokenShards(ShardsSettings(root=folder), "train") for folder in (before, now)]
    assert readers[0].gives == {"codes", "label"}
    assert readers[0].summary().fingerprint() == readers[1].summary().fingerprint()


def test_shards_that_lack_what_a_prior_is_told(found, photos, tmp_path):
    """One line each, with what to type."""
    remedy = "smalti encode TOKENIZER IMAGES OUT --for RECIPE"

    def refuse(recipe: str, tokens: Path, told: dict, *hints: str) -> None:
        with pytest.raises(UserError) as caught:
            smalti.train(recipe, tokens, tmp_path / "refused", **{**TEN, **told})
        assert all(hint in str(caught.value) for hint in (*hints, remedy)), caught.value
        assert not (tmp_path / "refused").exists()

    _, where, models = asked("coordinates", found)
    plain = encode(smalti.load(models["tokenizer"]), photos, tmp_path / "plain", size=(16, 24))
    for kind in ("depth", "boxes"):
        recipe, _, told = asked(kind, found)
        refuse(recipe, plain, told, f"condition.kind={'map' if kind == 'depth' else 'boxes'}", "shards")
    index = json.loads((plain / "index.json").read_text())
    (plain / "index.json").write_text(json.dumps({**index, "holds": ["label"]}))
    refuse("transformer_coordinates", plain, models, "where crops lie", "data.kind=shards")
    recipe, where, told = asked("depth", found)
    depths = encoded(where, recipe, tmp_path / "depths")
    other = smalti.load(told["condition_tokenizer"])
    other.encoder.conv_in.weight.data[0, 0, 0, 0] += 1e-3
    library.save(other, tmp_path / "other")
    told["condition_tokenizer"] = str(tmp_path / "other")
    refuse(recipe, depths, told, "codes of the map by ", f"in {depths}, got map by ")
    refuse(recipe, depths, {**told, "condition.size": 8}, " at 8 in ")


def test_what_encode_takes_with_and_without_a_recipe(found, tmp_path):
    recipe, where, _ = asked("depth", found)
    tokenizer = smalti.load(where["tokenizer"])

    def refuse(hint: str, data, **more) -> None:
        with pytest.raises(UserError) as caught:
            encode(tokenizer, data, tmp_path / "refused", **more)
        assert hint in str(caught.value), caught.value
        assert not (tmp_path / "refused").exists()

    settings = {key: value for key, value in {**TEN, **where}.items() if key != "data"}
    maps = {"data.maps": where["data.maps"]}
    refuse("the recipe of a prior", where["data"], recipe="vqgan_depth", settings=maps)
    refuse("size as a multiple of 2", where["data"], recipe=recipe, settings={**settings, "size": 15})
    tokens = encode(tokenizer, where["data"], tmp_path / "tokens", recipe=recipe, settings=settings, size=8)
    assert TokenShards(ShardsSettings(root=tokens), "train")[0].codes.shape == (4, 4)  # size as an option
    del settings["data.maps"], settings["data.val_share"]
    refuse("images to encode, got data.kind=shards", tokens, recipe=recipe, settings=settings)
