"""The notebook: what it is as a file, and its cells run from top to bottom."""

import ast
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

PATH = Path(__file__).parents[2] / "integrations" / "notebook.ipynb"
CELLS = json.loads(PATH.read_text(encoding="utf-8"))["cells"]
CODE = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]


def test_it_is_kept_without_what_it_gave():
    assert len(CODE) >= 8
    assert len({cell["id"] for cell in CELLS}) == len(CELLS)
    for cell in CELLS:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_its_links_lead_somewhere():
    text = "".join("".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "markdown")
    links = [part.partition(")")[0] for part in text.split("](")[1:]]
    assert links
    assert all((PATH.parent / link).is_file() for link in links)


def run(source: str, names: dict[str, Any]) -> Any:
    """Run a cell as a notebook does: what its last line gives is what it shows."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, PATH.name, "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), PATH.name, "eval"), names)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    names: dict[str, Any] = {}
    shown = [run(source, names) for source in CODE]
    pictures = [one for one in shown if hasattr(one, "_repr_png_")]
    assert len(pictures) == 5
    assert all(picture._repr_png_().startswith(b"\x89PNG") for picture in pictures)
    right, wrong = (float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()[-2:])
    assert right < wrong
