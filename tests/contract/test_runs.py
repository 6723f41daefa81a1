"""A run folder: what is in it, how it goes on after it was stopped, and what it refuses."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tiny import NETWORK, TOKENIZER_TRAINING, TRAINING

import smalti
from smalti import imaging, library
from smalti.data.folder import Folder, FolderSettings
from smalti.data.shards import ShardsSettings, TokenShards
from smalti.errors import UserError
from smalti.training import log
from smalti.training.precompute import encode
from smalti.training.prior_task import PriorTask
from smalti.training.tokenizer_task import TokenizerTask

TOKENIZER = {
    **TOKENIZER_TRAINING,
    "network": {**NETWORK, "multipliers": (1, 2, 2), "dropout": 0.1},
    "quantizer": {"codebook_size": 16, "kmeans_start": True, "revive_below": 0.3},
    "losses": {
        **TOKENIZER_TRAINING["losses"],
        "adversarial": {"start": 4, "discriminator_start": 2, "patchgan": {"width": 8, "layers": 2}},
    },
    "optimizer": {"lr": 1.0e-3, "warmup": 2, "schedule": "cosine"},
    "clip": 1.0,
    "ema": 0.9,
    "sample_every": 4,
    "validate_every": 4,
    "checkpoint_every": 4,
}
PRIOR = {
    **TRAINING,
    "kind": "prior",
    "tokenizer": "given below",
    "prior": {"kind": "modern", "layers": 1, "heads": 2, "width": 16, "residual_dropout": 0.2},
    "condition": {"kind": "label", "dropout": 0.3},
    "pkeep": 0.8,
    "checkpoint_every": 4,
}


LAST = {"tokenizer": ("loss/autoencoder", 0.73902), "prior": ("loss/prior", 2.76588)}  # of the last step


@pytest.fixture
def recipes(tmp_path) -> dict[str, Path]:
    for recipe in (TOKENIZER, PRIOR):
        (tmp_path / f"{recipe['kind']}.yaml").write_text(yaml.safe_dump(recipe))
    return {kind: tmp_path / f"{kind}.yaml" for kind in ("tokenizer", "prior")}


@pytest.fixture
def tokenizer(recipes, photos, tmp_path) -> Path:
    """The run folder of a tokenizer that has seen hardly anything."""
    return smalti.train(recipes["tokenizer"], data=photos, out=tmp_path / "tok", steps=2)


def test_what_a_run_folder_holds(recipes, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    changes = {"optimizer.lr": 2.0e-3, "discriminator_optimizer": {"lr": 5.0e-4}}
    out = smalti.train(recipes["tokenizer"], data=photos, **changes)
    assert out == Path("runs") / "tokenizer"
    settings = yaml.safe_load((out / "settings.yaml").read_text())
    assert settings["data"]["root"] == str(photos)
    assert settings["optimizer"]["lr"] == 2.0e-3
    assert settings["optimizer"]["betas"] == [0.9, 0.95]  # what the recipe left open is written out
    assert sorted(path.name for path in (out / "samples").iterdir()) == [
        "step-00000004.png",
        "step-00000008.png",
    ]
    assert [path.name for path in sorted((out / "checkpoints").iterdir())] == [
        "step-00000004",
        "step-00000008",
    ]
    lines = log.read(out / "log.jsonl")
    assert [line["step"] for line in lines if line["kind"] == "train"] == list(range(1, 9))
    assert [line["step"] for line in lines if line["kind"] == "validation"] == [4, 8]
    names = {
        "loss/autoencoder",
        "loss/discriminator",
        "gradient/discriminator",
        "lr/discriminator",
        "adaptive_weight",
        "codebook_usage",
    }
    assert names | {"images_per_second", "data_wait", "memory_gib", "skipped"} <= lines[-2].keys()
    rates = [(line["lr/autoencoder"], line["lr/discriminator"]) for line in lines if line["kind"] == "train"]
    assert rates[:2] == [(1.0e-3, 5.0e-4), (2.0e-3, 5.0e-4)]  # a warm-up of two steps; none
    assert lines[-2]["lr/autoencoder"] == pytest.approx(0.0, abs=1e-12)  # the cosine's end
    model = smalti.load(out)
    assert isinstance(model, smalti.Tokenizer)
    metadata = json.loads((out / "model" / "config.json").read_text())["provenance"]
    assert metadata["steps"] == 8


def stop_after(step: int, task: type, monkeypatch) -> None:
    """Make a run receive SIGTERM in the middle of a step."""
    real = task.after_step

    def after_step(self, parts, number):
        begun = real(self, parts, number)
        if number == step - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return begun

    monkeypatch.setattr(task, "after_step", after_step)


@pytest.mark.parametrize("kind", ["tokenizer", "prior"])
def test_a_stopped_run_goes_on_as_if_it_had_not_been(
    kind, recipes, photos, tmp_path, monkeypatch, request, capsys
):
    """Bit-equal weights, moments, averages, log: dropout, chance in the task, an adversary, a schedule."""
    more = {"tokenizer": str(request.getfixturevalue("tokenizer"))} if kind == "prior" else {}
    task = PriorTask if kind == "prior" else TokenizerTask
    whole = smalti.train(recipes[kind], data=photos, out=tmp_path / "whole", **more)
    with monkeypatch.context() as patched:
        stop_after(5, task, patched)
        with pytest.raises(SystemExit) as ended:
            smalti.train(recipes[kind], data=photos, out=tmp_path / "parts", **more)
    assert ended.value.code == 128 + signal.SIGTERM
    told = capsys.readouterr()
    assert "--resume" in told.out + told.err
    parts = tmp_path / "parts"
    assert (parts / "checkpoints" / "step-00000005").is_dir()
    assert smalti.load(parts)
    torch.manual_seed(1234)  # whatever the state of the default generator
    smalti.train(recipes[kind], out=parts, resume=True)
    last = Path("checkpoints") / "step-00000008"
    a, b = (load_file(run / last / "tensors.safetensors") for run in (whole, parts))
    assert a.keys() == b.keys()
    assert {name.split("/")[0] for name in a} == {"network", "ema", "optimizer", "recent"}
    for name, tensor in a.items():
        assert torch.equal(tensor, b[name]), name
    assert (whole / last / "state.json").read_text() == (parts / last / "state.json").read_text()
    written = [
        [
            {
                name: value
                for name, value in line.items()
                if name.startswith(("loss/", "step", "lr/", "gradient/"))
            }
            for line in log.read(run / "log.jsonl")
            if line["kind"] == "train"
        ]
        for run in (whole, parts)
    ]
    assert len(written[0]) == 8
    name, figure = LAST[kind]  # not one run against another alone: a fault of both would be no difference
    assert written[0][-1][name] == pytest.approx(figure, abs=1e-3)
    assert written[0] == written[1]


def test_a_run_killed_before_its_first_checkpoint_begins_again(recipes, photos, tmp_path, monkeypatch):
    out = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(TokenizerTask, "after_step", lambda *_: (_ for _ in ()).throw(ArithmeticError))
        with pytest.raises(ArithmeticError):
            smalti.train(recipes["tokenizer"], data=photos, out=out)
    smalti.train(recipes["tokenizer"], out=out, resume=True, steps=1)
    assert [line["step"] for line in log.read(out / "log.jsonl") if line["kind"] == "train"] == [1]


def test_what_a_resumed_run_may_change(recipes, photos, tokenizer):
    smalti.train(recipes["tokenizer"], out=tokenizer, resume=True, steps=3, log_every=2)
    moved = photos.rename(photos.with_name("moved"))
    smalti.train(recipes["tokenizer"], data=moved, out=tokenizer, resume=True, steps=4)
    steps = [line["step"] for line in log.read(tokenizer / "log.jsonl") if line["kind"] == "train"]
    assert steps == [1, 2, 3, 4]
    with pytest.raises(UserError, match=r"optimizer\.lr"):
        smalti.train(recipes["tokenizer"], out=tokenizer, resume=True, **{"optimizer.lr": 1.0})
    with pytest.raises(UserError, match="resume"):
        smalti.train(recipes["tokenizer"], data=moved, out=tokenizer)


def test_a_resumed_run_wants_the_classes_it_began_with(recipes, photos, tokenizer, tmp_path):
    """The number of a class is its place among the names: another name moves the numbers."""
    given = {"tokenizer": str(tokenizer), "steps": 1}
    prior = smalti.train(recipes["prior"], data=photos, out=tmp_path / "prior", **given)
    (photos / "between").mkdir()
    (photos / "lying" / "1.png").rename(photos / "between" / "1.png")
    for run, recipe in ((prior, recipes["prior"]), (tokenizer, recipes["tokenizer"])):
        with pytest.raises(UserError) as caught:
            smalti.train(recipe, out=run, resume=True, steps=3)
        assert "lying, standing" in caught.value.expected
        assert caught.value.got == "between, lying, standing (new: between)"
        assert "--data" in caught.value.remedy
    (photos / "between" / "1.png").rename(photos / "lying" / "1.png")
    smalti.train(recipes["prior"], out=prior, resume=True, steps=3)
    (photos / "lying").rename(photos / "upright")
    with pytest.raises(UserError, match=r"standing, upright \(new: upright, gone: lying\)"):
        smalti.train(recipes["prior"], out=prior, resume=True, steps=4)


def test_shards_with_classes_in_another_order_are_another_run(recipes, photos, tokenizer, tmp_path):
    shards = encode(smalti.load(tokenizer), photos, tmp_path / "tokens", size=16)
    given = {"tokenizer": str(tokenizer), "steps": 1}
    run = smalti.train(recipes["prior"], data=shards, out=tmp_path / "prior", **given)
    index = json.loads((shards / "index.json").read_text())
    (shards / "index.json").write_text(json.dumps({**index, "classes": index["classes"][::-1]}))
    with pytest.raises(UserError, match=r"standing, lying \(another order\)"):
        smalti.train(recipes["prior"], out=run, resume=True, steps=2)


def test_what_is_told_leaves_the_standard_output_to_the_path(recipes, photos, tmp_path, capfd):
    smalti.train(recipes["tokenizer"], data=photos, out=tmp_path / "run", steps=1)
    told = capfd.readouterr()
    assert told.out == ""
    assert "training on 14 images" in told.err
    assert "held out: 2 images" in told.err


def test_another_seed_is_another_run_and_the_same_one_the_same(recipes, photos, tmp_path):
    def weights(name: str, **more) -> dict[str, torch.Tensor]:
        out = smalti.train(recipes["tokenizer"], data=photos, out=tmp_path / name, steps=2, **more)
        return smalti.load(out).state_dict()

    torch.manual_seed(1)
    first = weights("a")
    torch.manual_seed(2)
    again, other = weights("b"), weights("c", seed=1)
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
    assert not any(
        torch.equal(tensor, other[name]) for name, tensor in first.items() if name.endswith("conv1.weight")
    )


def test_training_leaves_the_default_generator_alone(recipes, photos, tmp_path):
    before = torch.get_rng_state()
    smalti.train(recipes["tokenizer"], data=photos, out=tmp_path / "run", steps=1)
    assert torch.equal(before, torch.get_rng_state())


def test_a_prior_learns_from_images_and_from_shards(recipes, photos, tmp_path, tokenizer):
    given = {"tokenizer": str(tokenizer), "steps": 2}
    shards = encode(smalti.load(tokenizer), photos, tmp_path / "tokens", size=16, crops=2)
    for data in (photos, shards):
        out = smalti.train(recipes["prior"], data=data, out=tmp_path / f"from-{data.name}", **given)
        model = smalti.load(out)
        assert model.condition.names == ("lying", "standing")
        lines = log.read(out / "log.jsonl")
        train = next(line for line in lines if line["kind"] == "train")
        assert train["ln_codebook_size"] == pytest.approx(2.7726, abs=1e-4)
        assert train["unigram_nats"] <= train["ln_codebook_size"]
        assert [line["kind"] for line in lines].count("validation") == 1
        assert library.fingerprint(model.tokenizer) == library.fingerprint(smalti.load(tokenizer))


def test_a_prior_that_cannot_be_trained(recipes, photos, tmp_path, tokenizer):
    def refuse(hint: str, data: Path = photos, **more) -> None:
        with pytest.raises(UserError) as caught:
            smalti.train(recipes["prior"], data=data, out=tmp_path / "refused", **more)
        assert hint in str(caught.value), caught.value
        assert not (tmp_path / "refused").exists()

    given = {"tokenizer": str(tokenizer)}
    refuse("smalti train", tokenizer=str(tmp_path / "absent"))
    refuse("multiple of 4", **given, size=18)
    refuse("classes", data=photos / "lying", **given)
    other = smalti.train(recipes["tokenizer"], data=photos, out=tmp_path / "other", steps=1, seed=7)
    shards = encode(smalti.load(other), photos, tmp_path / "tokens", size=16)
    refuse("tokenizer", data=shards, **given)
    refuse("16 x 16", data=shards, tokenizer=str(other), size=32)


def test_shards_hold_the_codes_of_crops(photos, tmp_path, tokenizer):
    model = smalti.load(tokenizer)
    assert isinstance(model, smalti.Tokenizer)
    out = encode(model, photos, tmp_path / "tokens", size=(40, 40), crops=3, batch=5)
    train, val = (TokenShards(ShardsSettings(root=out), split) for split in ("train", "val"))
    where = FolderSettings(root=photos, val_share=0.2)  # as the tokenizer was trained
    images = {split: Folder(where, split) for split in ("train", "val")}
    assert (len(train), len(val)) == (3 * len(images["train"]), len(images["val"]))
    assert train.classes == ("lying", "standing")
    train.check(library.fingerprint(model))
    # a crop as large as the image is the image, or its mirror image
    possible = {}
    for split, folder in images.items():
        for index in range(len(folder)):
            image = imaging.to_float(folder[index].image)[None]
            for version in (image, image.flip(3)):
                possible[tuple(model.encode(version).flatten().tolist())] = (split, folder.label(index))
    found = [(row, train[row]) for row in range(len(train))]
    assert all(possible[tuple(s.codes.flatten().tolist())] == ("train", s.label) for _, s in found)
    assert all(possible[tuple(val[row].codes.flatten().tolist())][0] == "val" for row in range(len(val)))
    again = encode(model, photos, tmp_path / "again", size=40, crops=3, batch=7)
    other = encode(model, photos, tmp_path / "other", size=16, crops=3, seed=1)
    same = encode(model, photos, tmp_path / "same", size=16, crops=3)
    codes = {
        path.name: load_file(path / "train-00000.safetensors")["codes"] for path in (out, again, other, same)
    }
    assert torch.equal(codes["tokens"].int(), codes["again"].int())
    assert not torch.equal(codes["other"].int(), codes["same"].int())
    with pytest.raises(UserError, match="tokens"):
        encode(model, photos, out, size=40)
    with pytest.raises(UserError, match="size as a multiple of 4"):
        encode(model, photos, tmp_path / "odd", size=18)
