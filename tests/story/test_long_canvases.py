"""Drawing that takes more than a minute says so: how many cells, how long, and what would be quicker."""

import re
from pathlib import Path

import pytest
from PIL import Image
from tiny import generator

import smalti
from smalti.cli import pace


def told(capsys, pace_of, steps, clock) -> str:
    for spent, count in steps:
        clock[0] += spent
        pace_of(100, count)
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("steps", "line"),
    [
        ([(0, 0), (1, 1), (1.5, 1)], "100 cells to draw take about 2 min at this pace; with this"),
        ([(5, 0), (1, 1), (1.5, 1)], "about 2 min"),  # what came before the first cells counts for nothing
        ([(0, 50), (1, 1), (1.5, 1)], "about 1 min"),  # kept cells take no time
        ([(0, 0), (200, 1)], "about 5 h 33 min"),
        ([(0, 0), (1, 4), (1, 4)], ""),  # 25 seconds
        ([(0, 0), (1, 4), (1, 4), (50, 10)], "about 5 min"),  # slower than it seemed
    ],
)
def test_an_estimate_after_the_first_cells(capsys, steps, line):
    clock = [0.0]
    found = told(capsys, pace.Pace("; with this", clock=lambda: clock[0]), steps, clock)
    assert line in found
    assert bool(found) == bool(line)


def test_the_line_is_said_once(capsys):
    clock = [0.0]
    found = told(capsys, pace.Pace("", clock=lambda: clock[0]), [(0, 0), *[(5, 1)] * 4], clock)
    assert found.count("cells to draw") == 1


def test_several_processes_draw_as_much_in_the_same_time(capsys):
    clock, steps = [0.0], [(0, 0), (2, 1), (2, 1)]
    found = told(capsys, pace.Pace("", 4, clock=lambda: clock[0]), steps, clock)
    assert "400 cells to draw take about 3 min" in found


@pytest.mark.parametrize("verb", ["sample", "complete"])
@pytest.mark.parametrize(
    ("size", "cells", "hint"),
    [("8x24", 48, True), ("8x8", 16, False), ("12x8", 24, True)],
)
def test_a_long_canvas_names_the_stride(home, smalti_command, monkeypatch, verb, size, cells, hint):
    monkeypatch.setattr(pace, "LONG", 0.0)
    monkeypatch.setattr(pace, "FIRST", 0.0)
    smalti.save(generator(), "model")
    Image.new("RGB", (24, 12), "red").save("red.png")
    words = [verb, "model", *["red.png"] * (verb == "complete"), "--label", 0, "--size", size]
    status, _, err = smalti_command(*words, "out")
    assert status == 0
    assert f"{cells} cells to draw take about 0 min" in err
    remedy = re.search(r"--stride \d+", err)
    assert bool(remedy) == hint
    if remedy:
        status, _, err = smalti_command(*words, "again", *remedy[0].split())
        assert (status, "--stride" in err) == (0, False)


def test_a_short_one_says_nothing(home, smalti_command):
    smalti.save(generator(), "model")
    assert smalti_command("sample", "model", "out", "--label", 0, "--size", "8x24")[::2] == (0, "")


def test_help_and_documents_say_one_thing(home, smalti_command):
    for verb in ("sample", "complete"):
        shown = " ".join(smalti_command(verb, "--help")[1].split())
        assert "the training crop unless given" in shown
        assert "scaled until it just covers the size" in shown
        assert "its own is drawn" not in shown
    root = Path(__file__).parents[2]
    text = " ".join((root / "docs" / "training.md").read_text().split())
    assert "scaled until it just covers the size that is drawn, `--size` or else the training crop" in text
