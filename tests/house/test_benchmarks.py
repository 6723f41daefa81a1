"""Benchmarks ask a question, are run by `make bench` and write JSON; docs/performance.md is made of it."""

import ast
import json
import re
import sys
from datetime import date
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks"
SHARED = re.search(r"^SHARED := .*?,(.*)\)$", (ROOT / "Makefile").read_text(), re.M)[1].split()
SCRIPTS = sorted(path.name for path in FOLDER.glob("*.py") if path.name not in SHARED)
ASKED = {"sample", "sliding", "tokenizer", "train_step", "loader", "scaling", "limit"}


@pytest.fixture
def shared(monkeypatch):
    """Import what benchmarks share, as they do; forgotten afterwards, for the names are common ones."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(FOLDER)
    yield import_module
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(FOLDER)):
            del sys.modules[name]


def test_make_bench_runs_those_asked_for():
    assert {f"{name}.py" for name in ASKED} <= set(SCRIPTS)
    assert all((FOLDER / name).exists() for name in SHARED)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_asks_reads_its_options_and_reports(name):
    tree = ast.parse((FOLDER / name).read_text())
    assert len((ast.get_docstring(tree) or "").split("\n\n")[0]) > 40, "no question"
    called = {
        ast.unparse(node).removeprefix("common.") for node in ast.walk(tree) if isinstance(node, ast.Call)
    }
    assert "options(__doc__)" in called
    assert any(call.startswith("report(") for call in called), "no JSON"
    assert ast.unparse(tree.body[-1]).startswith("if __name__ == '__main__':\n    main()")


@pytest.mark.parametrize("name", sorted([*SCRIPTS, *SHARED]))
def test_a_script_can_be_read_and_imported(name, shared):
    assert len((FOLDER / name).read_text().splitlines()) <= 250
    shared(name.removesuffix(".py"))


def test_a_ladder_is_timed_fitted_and_written(shared, tmp_path, monkeypatch, capsys):
    scaling, common = shared("scaling"), shared("common")
    assert scaling.exponent([4, 16, 64], [3 * size**1.5 for size in (4, 16, 64)]) == pytest.approx(1.5)
    row = scaling.climb("nothing", "sizes", {1: list, 2: list, 4: list}, turns=2)
    monkeypatch.setattr(sys, "argv", ["/somewhere/scaling.py", "--short", "--out", str(tmp_path)])
    common.report("scaling", [{**row, "times": common.ratio([1.0, 2.0], [2.0, 6.0])}], tmp_path)
    found = json.loads((tmp_path / "scaling.json").read_text())
    assert found["command"] == "python benchmarks/scaling.py --short"
    assert found["short"]
    assert date.fromisoformat(found["date"])
    assert found["rows"][0]["sizes"] == [1, 2, 4]
    assert found["rows"][0]["times"]["middle"] == 2.5
    assert "2.50x (2.00 .. 3.00)" in capsys.readouterr().out


def test_performance_is_what_the_script_writes(shared):
    text = shared("performance").page(ROOT / "docs" / "benchmarks")
    assert (ROOT / "docs" / "performance.md").read_text() == text, "run python benchmarks/performance.py"


def test_a_figure_is_found_by_its_row(shared, tmp_path):
    """In the long form at its size only; what a short form gave does not count; what is not there is said."""
    performance, figures = shared("performance"), shared("figures")
    ratio = {"ours": 1.0, "theirs": 2.0, "low": 1.5, "middle": 2.0, "high": 2.5, "turns": 3}
    rows = [{"ours": "fp32", "pixels": pixels, "times faster": ratio} for pixels in (128, 256)]
    told = {"name": "train_step", "device": "a box", "accelerator": False, "threads": 1, "python": "3"}
    told |= {
        "versions": {"torch": "2"},
        "command": "python x.py",
        "short": False,
        "date": "2026-01-02",
        "question": "How?",
    }
    (tmp_path / "train_step.json").write_text(json.dumps({**told, "rows": rows}))
    lines = performance.page(tmp_path).splitlines()
    (line,) = [line for line in lines if line.startswith("| training step")]
    assert line.endswith("| 1.6x | 2x (1.5x .. 2.5x) | yes | `python x.py` |")
    others = [one for one in figures.FIGURES if one.only_on != "accelerator"]
    assert sum("| not measured |" in line for line in lines) == len(others) - 1
    (tmp_path / "train_step.json").write_text(json.dumps({**told, "rows": rows[:1]}))
    (line,) = [line for line in performance.page(tmp_path).splitlines() if line.startswith("| training step")]
    assert "not measured" in line
    (tmp_path / "train_step.json").write_text(json.dumps({**told, "short": True, "rows": rows[:1]}))
    (line,) = [line for line in performance.page(tmp_path).splitlines() if line.startswith("| training step")]
    assert line.endswith("| 2x (1.5x .. 2.5x) *short* |  | `python x.py` |")
