"""What is read, parsed or allocated is so once: counted, not timed."""

import json
from dataclasses import replace

import pytest
import torch
import yaml
from tiny import TOKENIZER_TRAINING, TRAINING, generator

import smalti
from smalti import library
from smalti.conditions.boxes import BoxesSettings
from smalti.conditions.coordinates import CoordinatesSettings
from smalti.conditions.label import LabelSettings
from smalti.conditions.map import MapSettings
from smalti.conditions.none import NoConditionSettings
from smalti.data import coco as coco_reader
from smalti.losses.hed import HED
from smalti.losses.patchgan import PatchGAN, PatchGANSettings
from smalti.weights.catalogue import WEIGHTS, File


@pytest.mark.parametrize("kind", ["gpt", "modern", "llamagen", "neighbourhood"])
def test_23_info_reads_headers_only(kind, tmp_path, monkeypatch):
    model = generator(kind, grid=(4, 6), order="row")
    smalti.save(model, tmp_path / "model", {"steps": 7})
    parameters = sum(parameter.numel() for parameter in model.prior.parameters()) / 1e6
    own = sum(parameter.numel() for parameter in model.tokenizer.parameters()) / 1e6
    monkeypatch.setattr(library, "load_file", None)  # what would be called
    for file in tmp_path.rglob("model.safetensors"):  # the numbers go, headers and lengths stay
        data = file.read_bytes()
        begin = 8 + int.from_bytes(data[:8], "little")
        file.write_bytes(data[:begin] + b"\xff" * (len(data) - begin))
    told = library.outline(tmp_path / "model").words.splitlines()
    made_by = library.read_config(tmp_path / "model")["fingerprint"]
    assert told == [
        f"{tmp_path / 'model'}: generator {made_by}",
        f"tokenizer: factor 2, 12 codes, 3 channels, {own:.2f} M parameters, quantizer vq",
        f"prior: {kind}, {parameters:.2f} M parameters, crop 8 x 12 pixels",
        "condition: label: brick, grass, moon",
        "steps: 7",
    ]


@pytest.mark.parametrize(
    "condition",
    [
        NoConditionSettings(),
        CoordinatesSettings(),
        MapSettings(shared=True),
        BoxesSettings(classes=3, names=("sun", "sea", "sky")),
    ],
    ids=lambda condition: condition.kind,
)
def test_23_info_knows_models_of_every_condition(condition, tmp_path):
    smalti.save(generator(condition=condition, grid=(4, 6), order="row"), tmp_path / "model")
    assert f"condition: {condition.kind}" in library.outline(tmp_path / "model").words


@pytest.mark.parametrize("missing", ["model.safetensors", "tokenizer/model.safetensors"])
def test_23_info_still_says_what_is_not_whole(missing, tmp_path):
    smalti.save(generator(), tmp_path / "model")
    smalti.save(generator("modern"), tmp_path / "other")
    file = tmp_path / "model" / missing
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(smalti.UserError, match="copy it again"):
        library.outline(tmp_path / "model")
    file.write_bytes((tmp_path / "other" / "model.safetensors").read_bytes())
    with pytest.raises(smalti.UserError, match="not of one model"):
        library.outline(tmp_path / "model")


def counted(monkeypatch, owner, name: str, key=lambda *args, **_: args[0]) -> list:
    """What a function is called with, from now on."""
    real, calls = getattr(owner, name), []

    def watched(*args, **options):
        calls.append(key(*args, **options))
        return real(*args, **options)

    monkeypatch.setattr(owner, name, watched)
    return calls


def test_23_the_weights_of_the_perceptual_distance_are_read_once(photos, tmp_path, monkeypatch):
    reads = []

    class Distance(torch.nn.Module):
        def forward(self, a, b):
            return (a - b).square().mean((1, 2, 3))

    def read():
        reads.append(1)
        return Distance()

    nowhere, there = (
        File(path="none.pth", package="no_such_package"),
        File(path="__init__.py", package="smalti"),
    )
    for name, file in (("lpips_vgg", nowhere), ("hed", there)):
        monkeypatch.setitem(WEIGHTS, name, replace(WEIGHTS[name], parts=((file,),)))
    monkeypatch.setattr(HED, "read", read)
    recipe = {**TOKENIZER_TRAINING, "losses": {"perceptual": {"kind": "auto"}}, "steps": 1, "size": [16, 24]}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(recipe))))
    run = smalti.train(tmp_path / "recipe.yaml", data=photos, out=tmp_path / "run")
    assert len(reads) == 1
    assert yaml.safe_load((run / "settings.yaml").read_text())["losses"]["perceptual"]["kind"] == "hed"


def test_23_annotations_are_parsed_once_for_each_split(coco, tmp_path, monkeypatch):
    parsed = counted(monkeypatch, coco_reader, "read", key=lambda path, keys: path.name)
    smalti.save(generator().tokenizer, tmp_path / "tok")
    recipe = {**TRAINING, "kind": "prior", "steps": 1, "tokenizer": str(tmp_path / "tok"), "size": [8, 12]}
    recipe |= {"prior": {"kind": "gpt", "layers": 1, "heads": 1, "width": 8}, "condition": {"kind": "boxes"}}
    recipe |= {"data": {"kind": "coco", "root": str(coco)}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(recipe))))
    run = smalti.train(tmp_path / "recipe.yaml", out=tmp_path / "run")
    once = [f"{part}_{split}2017.json" for split in ("train", "val") for part in ("instances", "stuff")]
    assert sorted(parsed) == sorted(once)
    assert smalti.load(run).settings.condition.names == ("tree", "house", "cloud")


@pytest.mark.parametrize("kind", ["tokenizer", "prior"])
def test_23_a_model_to_begin_with_is_read_once(kind, photos, tmp_path, monkeypatch):
    model = generator(grid=(8, 12), condition=LabelSettings(classes=2, names=("lying", "standing")))
    discriminator = PatchGAN(PatchGANSettings(width=4, layers=1)).state_dict()
    if kind == "tokenizer":
        smalti.save(model.tokenizer, tmp_path / "begin", discriminator=discriminator)
    else:
        smalti.save(model, tmp_path / "begin")
    tiny = {"batch": 2, "steps": 1, "workers": 0}
    tiny |= {"losses.perceptual.weight": 0.0, "size": [16, 24]} if kind == "tokenizer" else {}
    reads = counted(monkeypatch, library, "load_file", key=lambda path: str(path.relative_to(tmp_path)))
    run = smalti.train(f"{kind}_300", data=photos, out=tmp_path / "run", init_from=tmp_path / "begin", **tiny)
    other = "discriminator" if kind == "tokenizer" else "tokenizer/model"
    assert sorted(reads) == sorted([f"begin/{other}.safetensors", "begin/model.safetensors"])
    assert smalti.load(run)
