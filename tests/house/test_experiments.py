"""The paper's comparisons: predicted before they ran, run by `make experiments`, told on one page."""

import ast
import csv
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

ROOT = Path(__file__).parents[2]
FOLDER, RESULTS = ROOT / "experiments" / "paper", ROOT / "docs" / "experiments"
NAMES = re.search(r"^COMPARISONS := (.*)$", (ROOT / "Makefile").read_text(), re.M)[1].split()
SHARED = {"common", "results", "chart", "page"}


@pytest.fixture(scope="module")
def page():
    spec = importlib.util.spec_from_file_location("paper_page", FOLDER / "page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_make_runs_all_of_them(page):
    assert {path.stem for path in FOLDER.glob("*.py")} == SHARED | set(NAMES)
    assert set(page.TITLES) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_script_asks_and_predicts(name):
    tree = ast.parse((FOLDER / f"{name}.py").read_text())
    told = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("PAPER", "PREDICTION")
    }
    assert "?" in ast.get_docstring(tree).split("\n\n")[0], "no question"
    assert all(len(told[what]) > 40 for what in ("PAPER", "PREDICTION"))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_a_script_can_be_read(path):
    assert len(path.read_text().splitlines()) <= 400


def test_the_page_is_what_the_script_writes(page):
    text = page.page(RESULTS)
    assert (ROOT / "docs" / "experiments.md").read_text() == text, "run python experiments/paper/page.py"


def test_what_the_page_shows_is_there_and_small():
    for path in RESULTS.glob("*.json"):
        found = json.loads(path.read_text())
        assert not {"/", "\\"} & set(found["command"].removeprefix("python experiments/paper/")), "a path"
        for picture in found["pictures"]:
            assert (RESULTS / picture["file"]).stat().st_size < 200_000


def test_a_comparison_is_told_as_it_came_out(page, tmp_path):
    form = dict.fromkeys(("side", "tokenizer_steps", "prior_steps", "layers", "width", "samples"), 3)
    rows = [{"f": 2, "seed": seed, "FD": 10.0 + seed, "weights": 1500} for seed in (0, 1)]
    claims = [{"what": "it falls", "holds": False, "clear": False, "numbers": [2.0, 1.0]}]
    claims += [{"what": "it rises", "holds": None, "clear": True, "numbers": [None, 1.0]}]
    told = dict.fromkeys(("question", "how", "paper", "prediction", "date", "torch", "command"), "words")
    told |= {"name": "figure8", "form": {"name": "small", **form}, "space": "lite0", "distance": "hed"}
    told |= {"keys": ["f"], "rows": rows, "claims": claims, "pictures": []}
    (tmp_path / "figure8.json").write_text(json.dumps(told))
    (tmp_path / "remarks.yaml").write_text("figure8: Steps were too few.\n")
    text = page.page(tmp_path)
    assert "| f | lite0-FD | weights |\n| --- | --- | --- |\n| 2 | 10.5 (1.000) | 1,500 |" in text
    assert "- it falls: **not as in the paper**, within the spread of seeds (2.000, 1.000)." in text
    assert "- it rises: not run (not run, 1.000)." in text
    assert "Steps were too few." in text
    assert text.count("Not run.\n") == len(NAMES) - 1


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """Pictograms of three groups; the cache that all scripts share."""
    folder = tmp_path_factory.mktemp("short")
    generator = torch.Generator().manual_seed(0)
    lines = []
    for number in range(45):
        group, size = number % 3, 8 + number % 12
        pixels = torch.full((40, 40, 3), 255, dtype=torch.uint8)
        pixels[20 - size : 20 + size, 20 - size : 20 + size] = torch.randint(
            0, 256, (3,), generator=generator, dtype=torch.uint8
        )
        pixels[..., group] //= 2
        Image.fromarray(pixels.numpy()).save(folder / f"{number}.png")
        lines.append((f"{number}.png", f"group-{group}", "val" if number % 4 == 0 else "train"))
    with (folder / "captions.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "group", "split"), *lines])
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_short_form_runs(name, short, page):
    cache, out = short / "cache", short / "out"
    command = [sys.executable, FOLDER / f"{name}.py", "--form", "short", "--out", out, "--cache", cache]
    told = subprocess.run(
        command, env={**os.environ, "SMALTI_IMAGES": str(short)}, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr[-2000:]
    found = json.loads((out / f"{name}.json").read_text())
    assert found["rows"]
    assert found["claims"]
    assert all((out / picture["file"]).exists() for picture in found["pictures"])
    assert found["question"] in page.page(out)
