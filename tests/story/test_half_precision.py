"""A person has a model work in half precision: faster, and what it makes says so."""

import json
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file

import smalti
from smalti import imaging, precision
from smalti.tokenizer import Tokenizer

ENCODE = ("--size", 16, "--crops", 2, "--batch", 8)
BF16 = ("--precision", "bf16")


@pytest.fixture
def model(home) -> Path:
    smalti.save(tiny.generator(), home / "model", {"size": (8, 8)})
    return home / "model"


@pytest.mark.parametrize(("word", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
@pytest.mark.parametrize("verb", ["sample", "complete"])
def test_a_image_is_drawn_again_as_it_says(model, photos, smalti_command, verb, word, dtype):
    given = [photos / "lying" / "0.png"] if verb == "complete" else []
    words = (verb, model, *given, "out", "--label", "moon", "--seed", 3, "--precision", word)
    status, told, complaint = smalti_command(*words)
    assert (status, complaint) == (0, "")
    metadata = imaging.read_metadata(told.strip())
    assert metadata["precision"] == word
    if verb == "sample":
        again = smalti.load(model, dtype=dtype).sample(label=metadata["label"], seed=metadata["seed"])[0]
        assert imaging.open_rgb(told.strip()).equal(imaging.from_pil(again))
        assert metadata["model"] == smalti.load(model).fingerprint


def test_auto_asks_the_device(model, smalti_command, monkeypatch):
    for computes, said in ((True, "prior fp32, tokenizer bf16"), (False, None)):
        monkeypatch.setattr(precision, "computes_bf16", lambda device, answer=computes: answer)
        status, told, _ = smalti_command("sample", model, f"{computes}", "--label", 0, "--precision", "auto")
        assert (status, imaging.read_metadata(told.strip()).get("precision")) == (0, said)


def test_reconstructions_say_it_too(model, photos, smalti_command):
    for out, more, said in (("half", BF16, "bf16"), ("whole", (), None)):
        status, told, _ = smalti_command("reconstruct", model, photos / "lying" / "0.png", out, *more)
        assert (status, "dB" in told) == (0, True)
        assert imaging.read_metadata(f"{out}/00000-0.png").get("precision") == said


def interrupted(smalti_command, monkeypatch, *words: object) -> None:
    real, calls = Tokenizer.encode, []

    def watched(*args, **how):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args, **how)

    with monkeypatch.context() as patched:
        patched.setattr(Tokenizer, "encode", watched)
        assert smalti_command(*words)[0] == 130


def test_shards_say_it_and_go_on_in_the_same(model, photos, smalti_command, monkeypatch):
    words = ("encode", model, photos)
    assert smalti_command(*words, "whole", *ENCODE, *BF16)[0] == 0
    index = json.loads(Path("whole/index.json").read_text())
    assert index["precision"] == "bf16"
    assert index["tokenizer"] == smalti.load(model / "tokenizer").fingerprint

    interrupted(smalti_command, monkeypatch, *words, "part", *ENCODE, *BF16)
    begun = {path.name: path.read_bytes() for path in Path("part").iterdir()}
    status, _, complaint = smalti_command(*words, "part", *ENCODE, "--resume")
    (line,) = complaint.splitlines()
    assert status == 2
    assert "expected precision bf16, with which part was begun, got fp32; give what it was begun" in line
    assert {path.name: path.read_bytes() for path in Path("part").iterdir()} == begun

    assert smalti_command(*words, "part", *ENCODE, *BF16, "--resume")[0] == 0
    for path in Path("whole").glob("*.safetensors"):
        assert load_file(path)["codes"].equal(load_file(Path("part") / path.name)["codes"])


def test_shards_begun_before_they_said_it_are_in_fp32(model, photos, smalti_command, monkeypatch):
    words = ("encode", model, photos, "part", *ENCODE)
    interrupted(smalti_command, monkeypatch, *words)
    index = json.loads(Path("part/index.json").read_text())
    assert index.pop("precision") == "fp32"
    Path("part/index.json").write_text(json.dumps(index))
    status, _, complaint = smalti_command(*words, *BF16, "--resume")
    assert (status, "expected precision fp32, " in complaint) == (2, True)
    assert smalti_command(*words, "--resume")[0] == 0
    assert json.loads(Path("part/index.json").read_text())["precision"] == "fp32"
