"""A person with captioned images trains a model that draws what a text says: from files to PNG."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tiny import generator

import smalti
from smalti import imaging
from smalti.conditions.text import TextSettings

COLOURS = {"red": (220, 40, 40), "green": (40, 190, 60), "blue": (40, 60, 220)}
TINY = (
    "size=16",
    "steps=4",
    "batch=4",
    "sample_every=4",
    "validate_every=4",
    "checkpoint_every=2",
    "log_every=1",
)
NETWORK = (
    "{width: 8, blocks: 1, multipliers: [1, 2], attention_levels: [], mid_attention: false,"
    " latent_channels: 8, code_dim: 4, groups: 4}"
)


@pytest.fixture
def captioned(home):
    """Twenty images of 18 x 24 pixels, of a coloured thing each, and a table of captions with a split."""
    rows = [["file", "caption", "group", "split"]]
    for number in range(20):
        colour, thing = list(COLOURS)[number % 3], ("disc", "bar")[number // 10]
        pixels = np.full((18, 24, 3), 230, dtype=np.uint8)
        pixels[6:12, (9 if thing == "disc" else 3) : (15 if thing == "disc" else 21)] = COLOURS[colour]
        (home / "images" / "all").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(home / "images" / "all" / f"{number}.png")
        split = "val" if number % 5 == 0 else "train"
        rows.append([f"all/{number}.png", f"a {colour} {thing}: number {number}", thing, split])
    with (home / "images" / "captions.csv").open("w", newline="") as out:
        csv.writer(out).writerows(rows)
    return home


def train_tokenizer(run):
    words = ("--data", "images", "--out", "runs/tokenizer", "data.captions=captions.csv", "crop.flip=0.0")
    tiny = (f"network={NETWORK}", "losses={perceptual: {kind: none}}", "quantizer.codebook_size=16")
    tiny += ("quantize_start=0", "discriminator_optimizer=null")
    return run("train", "tokenizer_300", *words, *TINY, *tiny)


def train_prior(run, out, *words):
    tiny = "prior={kind: modern, layers: 1, heads: 2, width: 16}"
    return run(
        "train",
        "prior_text_300",
        "tokenizer=runs/tokenizer",
        "--out",
        out,
        *TINY,
        tiny,
        "condition.vocabulary=300",
        *words,
    )


def test_from_captioned_images_to_what_a_text_says(captioned, smalti_command):
    status, _, complaint = train_tokenizer(smalti_command)
    assert status == 0, complaint
    words = ("encode", "runs/tokenizer", "images", "tokens", "--size", "16", "--crops", "2", "--flip", "0")
    status, _, complaint = smalti_command(*words)
    assert status == 0, complaint
    assert "held out: 4 of 20 images, as the tokenizer's training did" in complaint
    status, _, complaint = train_prior(smalti_command, "runs/prior", "--data", "tokens")
    assert status == 0, complaint
    assert "text: a vocabulary of 281 tokens, learned of 16 captions; the longest has " in complaint
    status, told, _ = smalti_command("info", "runs/prior")
    assert "condition: text: up to 24 tokens of 300, " in told

    words = ("sample", "runs/prior", "drawn", "--text", "a green bar", "--text", "a purple disc")
    with pytest.warns(UserWarning, match="no caption of the training had: purple; nothing was learned of it"):
        status, _, complaint = smalti_command(*words, "--num", 2, "--guidance", 3)
    assert status == 0, complaint
    found = [imaging.read_metadata(path) for path in sorted((captioned / "drawn").glob("*.png"))]
    assert [one["text"] for one in found] == ["a green bar"] * 2 + ["a purple disc"] * 2
    assert [one["seed"] for one in found] == [0, 1, 2, 3]
    (captioned / "texts.txt").write_text("a red disc\na blue bar\n")
    words = ("complete", "runs/prior", "images/all/0.png", "completed", "--text", "texts.txt")
    status, _, complaint = smalti_command(*words)
    assert status == 0, complaint
    assert len(list((captioned / "completed").glob("*.png"))) == 2

    status, _, complaint = smalti_command(
        "evaluate", "runs/prior", "images", "--metrics", "nats", "--out", "evaluated"
    )
    assert status == 0, complaint
    record = json.loads((captioned / "evaluated" / "metrics.json").read_text())
    assert record["subject"]["conditions"] == "text of the data"
    assert record["numbers"]["nats_per_token"]["protocol"]["count"] == 4
    assert "a red disc: number 0" in (captioned / "evaluated" / "report.html").read_text()


def test_a_model_of_other_images_is_judged_by_those_that_the_table_holds_out(captioned, smalti_command):
    model = generator("modern", grid=(4, 6), condition=TextSettings(vocabulary=290))
    model.condition.learn(SimpleNamespace(captions=lambda: iter(["a red disc", "a blue bar"])))
    smalti.save(model, "model", {"size": model.crop_size})
    words = ("--captions", "captions.csv", "--metrics", "nats", "--out", "evaluated")
    status, _, complaint = smalti_command("evaluate", "model", "images", *words)
    assert status == 0, complaint
    record = json.loads((captioned / "evaluated" / "metrics.json").read_text())
    assert record["numbers"]["nats_per_token"]["protocol"]["count"] == 4


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "expected a text, got none; give text="),
        (("--text", " "), "expected a text, got ' '; give text="),
        (("--text", "red " * 30), "expected a text of at most 24 tokens, got "),
        (("--text", "gone.txt"), "expected a .txt file with a text in each line"),
    ],
)
def test_a_slip_in_a_text_is_one_line(home, smalti_command, words, told):
    model = generator("modern", condition=TextSettings(vocabulary=290))
    model.condition.learn(SimpleNamespace(captions=lambda: iter(["a red disc", "a red bar"])))
    smalti.save(model, "model")
    status, _, complaint = smalti_command("sample", "model", "drawn", *words)
    assert (status, complaint.count("\n")) == (2, 1), complaint
    assert told in complaint
    assert not (home / "drawn").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "expected images with captions for condition.kind=text, got none in images"),
        (("data.captions=gone.csv",), "got gone.csv, which is not there"),
        (("data.captions=sidecar",), "got 20 of 20 images without one, the first images"),
        (("data.captions=odd.csv",), "expected a column caption in images/odd.csv, got file, words"),
    ],
)
def test_a_slip_in_captions_is_one_line(captioned, smalti_command, words, told):
    smalti.save(generator().tokenizer, "runs/tokenizer")
    (captioned / "images" / "odd.csv").write_text("file,words\nall/0.png,a red disc\n")
    status, _, complaint = train_prior(smalti_command, "runs/prior", "--data", "images", *words)
    assert (status, complaint.count("\n")) == (2, 1), complaint
    assert told in complaint
    assert not (captioned / "runs" / "prior").exists()
