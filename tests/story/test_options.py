"""Numbers that no command can work with are told in one line, before anything is written."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny import generator

import smalti
from smalti import imaging

DRAWING = {
    "--num": ("0", "-3", "1.5", "many", "nan"),
    "--seed": ("x", "1.5", "99999999999999999999"),
    "--temperature": ("-1", "0", "nan", "inf", "hot"),
    "--top-k": ("-1", "0", "2.5"),
    "--top-p": ("0", "2", "-0.5", "nan", "most"),
    "--min-p": ("2", "-1", "nan"),
    "--guidance": ("nan", "inf", "-inf", "much"),
    "--stride": ("0", "-1", "1.5", "3", "x"),
    "--micro-batch": ("0", "-4", "x"),
    "--speculative": ("0", "-2", "1.5", "x"),
    "--precision": ("half", "16", ""),
    "--size": ("0", "0x0", "30x", "x30", "9", "-8", "8.5", "8x8x8", "\N{SUPERSCRIPT TWO}", ""),
}
OPTIONS = {
    "sample": DRAWING,
    "complete": {**DRAWING, "--keep": ("2", "-1", "nan", "half")},
    "encode": {
        "--size": ("0", "0x8", "8x", "9", "-8"),
        "--crops": ("0", "-1", "1.5", "x"),
        "--batch": ("0", "-1", "x", "nan"),
        "--workers": ("-1", "x"),
        "--seed": ("x", "0.5"),
        "--precision": ("half", "BF17"),
        "--scale": ("0.5 2", "2 1", "nan nan", "inf inf", "1 inf", "1 x", "1"),
    },
}
RECIPE = ("steps=0", "batch=-1", "size=0", "size=[0,8]", "workers=-1", "ema=2", "seed=x")
RECIPE += ("optimizer.lr=.inf", "optimizer.lr=.nan", "losses.l1=.inf", "crop.scale=[1,.inf]")


@pytest.fixture
def ways(home, photos) -> dict[str, tuple[object, ...]]:
    """A command with nothing wrong; models are shared by all its options."""
    smalti.save(generator(), "model", {"size": (8, 8)})
    return {
        "sample": ("sample", "model", "out", "--label", "moon"),
        "complete": ("complete", "model", photos / "lying" / "0.png", "out", "--label", "moon"),
        "encode": ("encode", "model", photos, "out"),
        "train": ("train", "tokenizer_300", "--data", photos, "--out", "out"),
    }


def is_told(outcome: tuple[int, str, str]) -> bool:
    status, out, err = outcome
    lines = err.splitlines()
    told = len(lines) == 1 and lines[0].startswith("smalti: expected ") and ", got " in lines[0]
    return status == 2 and told and out == "" and not Path("out").exists()


@pytest.mark.parametrize(("verb", "option"), [(verb, option) for verb in OPTIONS for option in OPTIONS[verb]])
def test_options(ways, smalti_command, verb, option):
    for value in OPTIONS[verb][option]:
        values = value.split() if option == "--scale" else [value]
        outcome = smalti_command(*ways[verb], option, *values)
        assert is_told(outcome), (verb, option, value, outcome)


def test_options_of_some_priors_alone(ways, smalti_command):
    smalti.save(generator("masked"), "masked")
    own = ("--steps", 3, "--order", "halton", "--mask-schedule", "arccos", "--guidance-schedule", "linear")
    words = ("sample", "masked", "out", "--label", "moon", "--size", "8x12", "--guidance", 2)
    for option, value in (
        ("--steps", 0),
        ("--steps", "x"),
        ("--order", "spiral"),
        ("--confidence-noise", "nan"),
    ):
        outcome = smalti_command(*words, option, value)
        assert is_told(outcome), outcome
    outcome = smalti_command(*ways["sample"], "--steps", 3)
    assert is_told(outcome), outcome
    assert "this model takes label= as its only condition, got steps=; leave it out" in outcome[2]
    assert smalti_command(*words, *own, "--confidence-noise", 1)[0] == 0


def test_settings_of_a_recipe(ways, smalti_command):
    for word in RECIPE:
        outcome = smalti_command(*ways["train"], word)
        assert is_told(outcome), (word, outcome)
        key = re.escape(word.partition("=")[0])
        assert re.search(rf"a valid {key}(\.\d)?, got ", outcome[2]), outcome


def test_words_that_are_missing_or_unknown(ways, smalti_command):
    for words, hint in (
        (("sample",), "see smalti sample --help"),
        (("sample", "model"), "OUT"),
        (("sample", "model", "out", "more"), "more"),
        ((*ways["sample"], "--temprature", 1), "--temperature"),
        ((*ways["encode"], "--batch"), "--batch"),
        (("--nothing",), "see smalti --help"),
    ):
        outcome = smalti_command(*words)
        assert is_told(outcome), (words, outcome)
        assert hint in outcome[2], outcome


def test_help_and_version_are_no_mistakes(home, smalti_command):
    for words, shown in (
        (("--help",), "sample"),
        (("sample", "--help"), "--top-k"),
        (("--version",), "smalti"),
    ):
        status, out, err = smalti_command(*words)
        assert (status, shown in out, err) == (0, True, "")
    status, out, err = smalti_command()
    assert (status, "Usage" in out + err) == (2, True)


def test_numbers_at_the_edge_of_their_range(ways, smalti_command):
    edge = ("--top-k", 10**9, "--top-p", 1, "--min-p", 1, "--guidance", -1, "--seed", -5, "--micro-batch", 1)
    edge += ("--stride", 2)
    assert smalti_command(*ways["sample"], *edge)[0] == 0
    odd = ("--batch", 3, "--crops", 2, "--size", "6x10", "--scale", 1, 1, "--seed", -3)
    assert smalti_command(*ways["encode"][:3], "tokens", *odd)[0] == 0


def test_many_places_a_pass_draw_the_same_images(ways, smalti_command):
    for verb, words in (("sample", ways["sample"]), ("complete", ways["complete"])):
        *_, out = words[:-2]
        drawn = {}
        for count in (1, 6):
            place = f"{verb}-{count}"
            told = [place if word == out else word for word in words]
            assert smalti_command(*told, "--num", 3, "--speculative", count)[0] == 0
            drawn[count] = [imaging.open_rgb(path) for path in sorted(Path(place).glob("*.png"))]
        assert len(drawn[6]) == 3
        assert all(map(torch.equal, drawn[6], drawn[1]))
    assert smalti_command(*ways["sample"], "--speculative", 2, "--size", "8x12")[0] == 0, (
        "larger canvases too"
    )


@pytest.mark.parametrize(
    ("typed", "ours"),
    [("--parallel", "--speculative"), ("--cfg-scale", "--guidance-scale"), ("--num-images", "--num")],
)
def test_an_option_of_another_name_is_told_ours(smalti_command, typed, ours):
    status, out, told = smalti_command("sample", "model", "out", typed, "2")
    assert (status, out) == (2, "")
    assert told.count("\n") == 1
    assert told.endswith(f"; here it is {ours}\n"), told


@pytest.mark.parametrize("command", ["sample", "evaluate", "train"])
def test_help_is_as_short_below_as_above(command):
    """In a process of its own: click keeps a command's help option as its first context had it."""
    done = subprocess.run([sys.executable, "-m", "smalti", command, "-h"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: smalti {command}")
