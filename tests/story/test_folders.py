"""From a person's folders to what is trained on, held out and numbered: splits, whole numbers, shards."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from tiny import TOKENIZER_TRAINING, generator

import smalti
from smalti.conditions.boxes import BoxesCondition, BoxesSettings
from smalti.conditions.label import LabelCondition, LabelSettings
from smalti.conditions.protocol import Known
from smalti.data.folder import Folder, FolderSettings
from smalti.data.maps import Maps, MapsSettings
from smalti.data.pairs import Pairs, PairsSettings
from smalti.data.protocol import Batch
from smalti.errors import UserError
from smalti.tokenizer import Tokenizer

NUMBERS = tuple(map(str, range(12)))
OLD = tuple(sorted(NUMBERS))  # 0, 1, 10, 11, 2, ...
PRIOR = {
    "kind": "prior",
    **{key: TOKENIZER_TRAINING[key] for key in ("data", "size", "crop", "batch", "optimizer", "log_every")},
    "steps": 1,
    "tokenizer": "tok",
    "prior": {"kind": "gpt", "layers": 1, "heads": 2, "width": 16},
    "condition": {"kind": "label"},
}


def images(root: Path, *names: str, sides: tuple[int, int] = (24, 32)) -> Path:
    """Oblong images, no two alike."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = sum((place + 1) * byte for place, byte in enumerate(name.encode()))
        pixels = np.random.default_rng(seed).integers(0, 256, (*sides, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return root


@pytest.fixture
def recipes(home) -> None:
    Path("tok.yaml").write_text(yaml.safe_dump({**json.loads(json.dumps(TOKENIZER_TRAINING)), "steps": 1}))
    Path("prior.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(PRIOR))))


@pytest.fixture
def tok(recipes, home) -> Path:
    """A tokenizer that says nothing of its making."""
    smalti.save(generator().tokenizer, "tok")
    return Path("tok")


def succeed(outcome) -> str:
    status, _, err = outcome
    assert status == 0, err
    return err


def rows(folder: str) -> dict[str, int]:
    return {
        split: sum(len(load_file(path)["codes"]) for path in Path(folder).glob(f"{split}-*"))
        for split in ("train", "val")
    }


# 4: splits


def test_splits_are_trained_on_and_held_out_and_encoded_alike(recipes, smalti_command):
    names = ["Train/x/0.png", "Train/y/1.png", "Train/y/2.png", "Test/x/0.png", "Test/y/3.png"]
    images(Path("data"), *names, "Predict/9.png")
    err = succeed(smalti_command("train", "tok.yaml", "--data", "data", "--out", "run"))
    assert "training on 3 images" in err
    assert "held out: 2 images" in err
    assert "Train trained on, Test held out, Predict left alone" in err
    assert json.loads(Path("run/classes.json").read_text()) == ["x", "y"]
    begun = yaml.safe_load(Path("run/settings.yaml").read_text())["data"]["splits"]
    assert begun == {"train": ["Train"], "val": ["Test"], "neither": ["Predict"]}
    err = succeed(smalti_command("encode", "run", "data", "tokens", "--batch", 3))
    assert "held out: 2 of 5 images" in err
    assert "Train trained on, Test held out, Predict left alone" in err
    assert rows("tokens") == {"train": 3, "val": 2}
    assert load_file("tokens/val-00000.safetensors")["labels"].tolist() == [0, 1]
    assert sorted(load_file("tokens/train-00000.safetensors")["labels"].tolist()) == [0, 1, 1]

    images(Path("data"), "dev/x/5.png")  # which comes later: the run stays what it is
    Path("data").rename("moved")
    err = succeed(
        smalti_command("train", "tok.yaml", "--data", "moved", "--out", "run", "--resume", "steps=2")
    )
    assert "Train trained on, Test held out, Predict left alone" in err
    err = succeed(smalti_command("train", "tok.yaml", "--data", "moved", "--out", "new"))
    assert "Train trained on, dev held out, Predict and Test left alone" in err


def test_what_the_user_says_wins_over_names(recipes, smalti_command):
    images(Path("data"), "Train/0.png", "Train/1.png", "Val/2.png")
    images(Path("other"), "a.png")
    words = ("train", "tok.yaml", "--data", "data")
    err = succeed(smalti_command(*words, "--out", "a", "data.classes=none", "data.val_share=0"))
    assert "training on 3 images" in err
    err = succeed(smalti_command(*words, "--out", "b", "data.val=other"))
    assert "training on 2 images" in err
    assert "held out: 1 images" in err
    status, _, err = smalti_command(
        "train", "tok.yaml", "--data", "data/Val/..", "--out", "c", "data.splits={}"
    )
    assert (status, "splits" in err) == (0, False), err
    Path("boxes.yaml").write_text(yaml.safe_dump({**PRIOR, "data": {"kind": "coco", "root": "data"}}))
    status, _, err = smalti_command("train", "boxes.yaml", "--out", "d", "data.classes=none")
    assert (status, "got data.classes; data.kind=folder has it" in err) == (2, True), err  # as it was typed


def test_a_run_begun_before_there_were_splits_keeps_its_meaning(recipes, smalti_command):
    """Train and Test were two classes then; of maps and pairs they were pooled."""
    images(Path("data"), *(f"{part}/{number}.png" for part in ("Train", "Test") for number in range(4)))
    succeed(smalti_command("train", "tok.yaml", "--data", "data", "--out", "run", "data.splits={}"))
    settings = yaml.safe_load(Path("run/settings.yaml").read_text())
    del settings["data"]["splits"]
    Path("run/settings.yaml").write_text(yaml.safe_dump(settings))
    made = json.loads(Path("run/model/config.json").read_text())
    del made["provenance"]["data"]  # nor did its model say then what it was trained on
    Path("run/model/config.json").write_text(json.dumps(made))
    succeed(smalti_command("encode", "run", "data", "tokens"))
    assert rows("tokens") == {"train": 7, "val": 1}, "what the tokenizer held out"
    err = succeed(smalti_command("train", "tok.yaml", "--out", "run", "--resume", "steps=2"))
    assert "training on 7 images" in err
    assert "2 classes: Train 4, Test 3" in err or "2 classes: Test 4, Train 3" in err


def test_folders_of_tests_alone_are_asked_about(home):
    images(Path("data"), "test/x/0.png", "val/x/1.png")
    with pytest.raises(UserError, match=r"splits \['test', 'val'\]; name data/test itself .*classes=none"):
        Folder(FolderSettings(root=Path("data")), "train")


@pytest.mark.parametrize("split", ["train", "val"])
def test_maps_and_pairs_have_splits_too(home, split):
    names = [f"{part}/{number}.png" for part in ("Train", "Val") for number in range(3)]
    images(Path("images"), *names)
    for number, name in enumerate(names):
        (Path("maps") / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (32, 24), number).save(Path("maps") / name)
    wanted = {"train": [0, 1, 2], "val": [3, 4, 5]}[split]
    maps = Maps(MapsSettings(root=Path("maps"), classes=6), split)
    assert [int(maps[index].segmentation.max()) for index in range(len(maps))] == wanted
    how = PairsSettings(root=Path("images"), maps=Path("maps"), content="segmentation")
    pairs = Pairs(how, split)
    assert [int(pairs[index].segmentation.max()) for index in range(len(pairs))] == wanted


# 6: classes that are called by numbers


def test_whole_number_classes_from_the_folder_to_the_label(tok, smalti_command):
    images(Path("data"), *(f"{name}/{number}.png" for name in NUMBERS for number in range(2)))
    words = ("train", "prior.yaml", "--data", "data", "--out", "run", "data.val_share=0")
    succeed(smalti_command(*words, "size=8"))
    assert json.loads(Path("run/classes.json").read_text()) == list(NUMBERS)
    model = smalti.load("run")
    codes = torch.randint(0, 12, (1, 4, 4), generator=torch.Generator().manual_seed(1))
    by_number = model.logits(codes, label=Known(torch.tensor([2])))
    assert model.logits(codes, label=2).equal(by_number)
    assert model.logits(codes, label="2").equal(by_number)
    assert not model.logits(codes, label="10").equal(by_number)
    succeed(smalti_command("sample", "run", "a", "--label", 2))
    succeed(smalti_command("sample", "run", "b", "--label", "002"))
    assert Path("a/00000.png").read_bytes() != b""
    pixels = [np.asarray(Image.open(f"{name}/00000.png")) for name in "ab"]
    assert np.array_equal(*pixels)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("10", "9", "2"), ("2", "9", "10")),
        (("012", "002", "010"), ("002", "010", "012")),
        (("-1", "1", "0", "-2"), ("-2", "-1", "0", "1")),
        (("1.5", "10", "2"), ("1.5", "2", "10")),
        (("c10", "c2", "1"), ("1", "c10", "c2")),
        (("2019-10", "2019-2"), ("2019-10", "2019-2")),
    ],
)
def test_the_order_of_names_that_are_numbers(names, expected, home):
    images(Path("data"), *(f"{name}/{number}.png" for name in names for number in range(2)))
    assert Folder(FolderSettings(root=Path("data")), "train").classes == expected


@pytest.mark.parametrize(
    ("names", "label", "number"),
    [
        (OLD, 2, 4),  # "2" is the fifth of an old model's names
        (OLD, "2", 4),
        (OLD, 10, 2),
        (OLD, np.int64(10), 2),
        (("002", "010", "000"), 10, 1),
        (("002", "010", "000"), "2", 0),
        (("7", "007", "cat"), 7, 0),
        (("7", "007", "cat"), "007", 1),
        (("02", "002", "cat"), 2, 2),  # neither is the one that is called 2
        (("cat", "2", "dog"), 2, 1),  # a class named by digits is not a number
        (("cat", "2", "dog"), 0, 0),
        (("cat", "dog", "hen"), "2", 2),
    ],
)
def test_a_name_that_is_there_wins(names, label, number):
    condition = generator(condition=LabelSettings(classes=len(names), names=names)).condition
    prompt = condition.context(label, num=1, grid=(4, 4), device=torch.device("cpu"))
    assert prompt.prefix.tolist() == [[number]]
    boxes = BoxesCondition(BoxesSettings(classes=len(names), names=names, no_tokens=81, max_objects=1))
    prompt = boxes.context([(label, 0.0, 0.0, 1.0, 0.5)], num=1, grid=(4, 8), device=torch.device("cpu"))
    assert prompt.window(0, 0, 4, 8)[0, 0] == number


def test_a_name_wins_over_a_number_with_flags():
    """Of three classes number 4 is the second with its first flag; called 14 is a class all the same."""
    how = {"classes": 3, "names": ("3", "14", "15"), "no_tokens": 81, "max_objects": 1}
    boxes = BoxesCondition(BoxesSettings(**how, flags=("group", "occluded", "depiction")))
    for label, number in ((4, 4), (14, 1), (3, 0), (1, 1)):
        prompt = boxes.context([(label, 0.0, 0.0, 1.0, 0.5)], num=1, grid=(4, 8), device=torch.device("cpu"))
        assert prompt.window(0, 0, 4, 8)[0, 0] == number, label


def test_what_data_tell_is_a_number_and_no_name():
    condition = generator(condition=LabelSettings(classes=12, names=OLD)).condition
    batch = Batch(codes=torch.zeros(3, 4, 4).long(), labels=torch.tensor([2, 4, 11]))
    prompt = condition.encode(condition.from_batch(batch), num=3, grid=(4, 4), device=torch.device("cpu"))
    assert prompt.prefix.tolist() == [[2], [4], [11]]


def test_shards_begun_with_the_old_order_go_on_with_it(tok, smalti_command):
    images(Path("data"), *(f"{name}/{number}.png" for name in NUMBERS for number in range(3)))
    words = ("encode", "tok", "data", "tokens", "--size", 8)
    succeed(smalti_command(*words))
    index = json.loads(Path("tokens/index.json").read_text())
    assert index["classes"] == list(NUMBERS)
    index |= {"classes": list(OLD), "complete": False, "train": []}  # stopped before its first row
    Path("tokens/index.json").write_text(json.dumps(index))
    Path("tokens/train-00000.safetensors").unlink()
    succeed(smalti_command(*words, "--resume"))
    assert json.loads(Path("tokens/index.json").read_text())["classes"] == list(OLD)
    reader = Folder(FolderSettings(root=Path("data")), "train")
    wanted = [OLD.index(path.parent.name) for path in reader.paths]
    assert sorted(load_file("tokens/train-00000.safetensors")["labels"].tolist()) == sorted(wanted)


def test_a_run_begun_with_the_old_order_goes_on_with_it(tok, smalti_command):
    images(Path("data"), *(f"{name}/{number}.png" for name in NUMBERS for number in range(2)))
    words = ("train", "prior.yaml", "--data", "data", "--out", "run", "size=8", "data.val_share=0")
    old = f"condition={{kind: label, classes: 12, names: {json.dumps(OLD)}}}"
    succeed(smalti_command(*words, old))  # as by init_from: the model's names have their numbers
    assert json.loads(Path("run/classes.json").read_text()) == list(OLD)
    succeed(smalti_command("train", "prior.yaml", "--out", "run", "--resume", "steps=2"))
    assert smalti.load("run").condition.names == OLD
    Path("run/classes.json").unlink()  # a run of before there was this file
    succeed(smalti_command("train", "prior.yaml", "--out", "run", "--resume", "steps=3"))
    reader = Folder(FolderSettings(root=Path("data"), val_share=0), "train")
    reader.number_as(OLD)
    numbers = {path.parent.name: reader.label(index) for index, path in enumerate(reader.paths)}
    assert numbers == {name: number for number, name in enumerate(OLD)}
    reader.number_as(("0", "1"))
    assert reader.classes == OLD


# 12: what encode holds out


@pytest.fixture
def many(home) -> Path:
    return images(Path("data"), *(f"{number:03}.png" for number in range(80)), sides=(8, 12))


def test_encode_holds_out_what_the_tokenizer_held_out(recipes, many, smalti_command):
    words = ("train", "tok.yaml", "--data", "data", "--out", "run", "size=8", "data.val_share=0.2")
    succeed(smalti_command(*words))
    held_out = len(Folder(FolderSettings(root=many, val_share=0.2), "val"))
    assert held_out > len(Folder(FolderSettings(root=many), "val"))
    err = succeed(smalti_command("encode", "run", "data", "tokens"))
    assert rows("tokens") == {"train": 80 - held_out, "val": held_out}
    assert f"held out: {held_out} of 80 images, as the tokenizer's training did" in err
    remedy = err.split("little; ")[1].split()
    assert remedy[0] == "--val-share"
    err = succeed(smalti_command("encode", "run", "data", "enough", *remedy))
    assert rows("enough")["val"] >= 32
    assert "warning" not in err

    made = json.loads(Path("run/model/config.json").read_text())
    del made["provenance"]["data"]  # a model of before: its run says it
    Path("run/model/config.json").write_text(json.dumps(made))
    succeed(smalti_command("encode", "run", many.resolve(), "again"))
    assert rows("again") == rows("tokens")
    Path("run/settings.yaml").unlink()
    err = succeed(smalti_command("encode", "run", "data", "unknown"))
    assert rows("unknown")["val"] == len(Folder(FolderSettings(root=many), "val"))
    assert "by default: the tokenizer does not say" in err


def test_nothing_held_out_as_asked_is_not_warned_of(tok, many, smalti_command):
    err = succeed(smalti_command("encode", "tok", "data", "none", "--size", 8, "--val-share", 0))
    assert "held out: 0 of 80 images, a share of 0.0 as asked for" in err
    assert "warning" not in err
    err = succeed(smalti_command("encode", "tok", "data", "few", "--size", 8, "--val-share", 0.01))
    assert "warning: below 32 held-out images" in err


def test_encode_holds_out_a_folder_as_the_tokenizer_or_as_asked(recipes, many, smalti_command):
    images(Path("more"), *(f"{number}.png" for number in range(40)), sides=(8, 12))
    succeed(smalti_command("train", "tok.yaml", "--data", "data", "--out", "run", "size=8", "data.val=more"))
    err = succeed(smalti_command("encode", "run", "data", "tokens"))
    assert rows("tokens") == {"train": 80, "val": 40}
    assert "warning" not in err
    succeed(smalti_command("encode", "run", "data", "share", "--val-share", 0.5))
    assert rows("share")["val"] == len(Folder(FolderSettings(root=many, val_share=0.5), "val"))
    succeed(smalti_command("encode", "run", "more", "turned", "--val", "data"))
    assert rows("turned") == {"train": 40, "val": 80}
    status, _, err = smalti_command("encode", "run", "data", "both", "--val", "more", "--val-share", 0.5)
    assert (status, "one of --val and --val-share" in err) == (2, True)
    Path("more").rename("gone")
    status, _, err = smalti_command("encode", "run", "data", "lost")
    assert (status, "more, which is not there; --val FOLDER or --val-share" in err) == (2, True)


def test_a_prior_keeps_what_its_tokenizer_held_out(recipes, many, smalti_command):
    words = ("--data", "data", "size=8", "data.val_share=0.2")
    succeed(smalti_command("train", "tok.yaml", "--out", "tok", *words))
    plain = ("condition={kind: none}", "data.val_share=0")
    succeed(smalti_command("train", "prior.yaml", "--out", "run", *words[:-1], *plain))
    succeed(smalti_command("encode", "run", "data", "tokens"))
    assert rows("tokens")["val"] == len(Folder(FolderSettings(root=many, val_share=0.2), "val"))


def test_a_resumed_encoding_holds_out_the_same(tok, many, smalti_command):
    succeed(smalti_command("encode", "tok", "data", "tokens", "--size", 8))
    index = json.loads(Path("tokens/index.json").read_text())
    succeed(smalti_command("encode", "tok", "data", "tokens", "--size", 8, "--resume"))
    status, _, err = smalti_command(
        "encode", "tok", "data", "tokens", "--size", 8, "--resume", "--val-share", 0.5
    )
    assert (status, "with which tokens was begun" in err) == (2, True)
    held_out = index["made"].pop("held_out")  # an index of before it was said
    Path("tokens/index.json").write_text(json.dumps(index))
    succeed(smalti_command("encode", "tok", "data", "tokens", "--size", 8, "--resume"))
    assert rows("tokens")["val"] == held_out


@pytest.mark.parametrize("held_out_rows", [1, 4])
def test_a_resumed_encoding_leaves_out_no_held_out_image(
    tok, many, smalti_command, monkeypatch, held_out_rows
):
    """Stopped before or among those that are held out, of which there are several and no two alike."""
    words = ("encode", "tok", "data", "tokens", "--size", 8, "--val-share", 0.1, "--batch", 16)
    succeed(smalti_command(*words[:3], "whole", *words[4:]))
    whole = {path.name: path.read_bytes() for path in Path("whole").iterdir()}
    found = rows("whole")
    codes = load_file("whole/val-00000.safetensors")["codes"]
    assert len(codes.unique(dim=0)) == len(codes) == found["val"] > 5
    passes, real = [], Tokenizer.encode

    def encode(self, images, **how):
        passes.append(1)
        if len(passes) == -(-found["train"] // 16) + held_out_rows:
            raise KeyboardInterrupt
        return real(self, images, **how)

    with monkeypatch.context() as patched:
        patched.setattr(Tokenizer, "encode", encode)
        assert smalti_command(*words)[0] == 130
    succeed(smalti_command(*words, "--resume"))
    assert {path.name: path.read_bytes() for path in Path("tokens").iterdir()} == whole


# 22


def test_counts_of_classes_look_at_each_image_once(home):
    """Names are compared as often as there are images, not as often as images times classes."""

    class Name(str):
        __slots__ = ()
        compared = 0
        __hash__ = str.__hash__

        def __eq__(self, other):
            Name.compared += 1
            return str.__eq__(self, other)

    images(Path("data"), *(f"c{number:03}/{index}.png" for number in range(60) for index in range(2)))
    reader = Folder(FolderSettings(root=Path("data"), val_share=0), "train")
    reader.number_as([Name(name) for name in reader.classes])
    Name.compared = 0
    assert reader.counts() == {f"c{number:03}": 2 for number in range(60)}
    assert [reader.label(index) for index in (0, 1, 2, 119)] == [0, 0, 1, 59]
    assert Name.compared <= 5 * 60
    reader.number_as([Name(name) for name in reversed(reader.classes)])
    Name.compared = 0
    reader.classes = tuple(map(Name, reader.classes))
    condition = LabelSettings(classes=60, names=tuple(map(Name, reader.classes)))
    Name.compared = 0
    LabelCondition.needs(condition, reader.pixels, reader)
    assert Name.compared <= 5 * 60
