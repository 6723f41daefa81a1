"""Loss curves of small trainings, as they were: stored with the machines on which they are so to the bit.

On any other machine they are so but for rounding. Run as a program this file adds the machine.
"""

import json
import platform
import re
import sys
import tempfile
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # where pytest has it, for when this is run by itself

import kills
from tiny import TRAINING

import smalti
from smalti.training import log

STORED = Path(__file__).parent / "own" / "loss_curves.json"
PRIOR = {**TRAINING, "kind": "prior", "size": [16, 24], "condition": {"kind": "none"}}
RECIPES = {
    "tokenizer": {**kills.RECIPE, "steps": 12},
    "gpt": {**PRIOR, "prior": {"kind": "gpt", "layers": 1, "heads": 2, "width": 16}, "steps": 12},
    "masked": {**PRIOR, "prior": {"kind": "masked", "layers": 1, "heads": 2, "width": 16}, "steps": 12},
}


def machine() -> str:
    """Return what rounding depends on: the processor's kind, torch, its threads."""
    told = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    kind = re.search(r"model name\s*: (.+)", told)
    name = kind[1] if kind else platform.processor() or platform.machine()
    return f"{name} {torch.backends.cpu.get_cpu_capability()} torch {torch.__version__}"


def curves(home: Path) -> dict[str, dict[str, list[float]]]:
    """Return every number that is a loss or a gradient's length, by recipe and name."""
    images, found = kills.images(home), {}
    for name, recipe in RECIPES.items():
        (home / f"{name}.yaml").write_text(json.dumps(recipe))  # which is YAML too
        tokenizer = {} if name == "tokenizer" else {"tokenizer": home / "tokenizer"}
        run = smalti.train(home / f"{name}.yaml", data=images, out=home / name, **tokenizer)
        lines = [line for line in log.read(run / "log.jsonl") if line["kind"] == "train"]
        names = [key for key in lines[-1] if key.startswith(("loss/", "gradient/"))]
        found[name] = {key: [line[key] for line in lines if key in line] for key in names}
    return found


@pytest.mark.slow
def test_losses_fall_as_they_did(tmp_path, capsys):
    stored = json.loads(STORED.read_text())
    found = curves(tmp_path)
    known = stored.get(machine())
    for recipe, numbers in (known or next(iter(stored.values()))).items():
        assert found[recipe].keys() == numbers.keys()
        for name, values in numbers.items():
            if known is not None:
                assert found[recipe][name] == values, f"{recipe} {name}, to the bit"
            assert found[recipe][name] == pytest.approx(values, rel=0.02, abs=2e-3), f"{recipe} {name}"
    with capsys.disabled():
        print(
            f"\nloss curves: {len(RECIPES)} recipes, {'to the bit' if known else 'within 2 %'} ({machine()})"
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as home:
        known = json.loads(STORED.read_text()) if STORED.is_file() else {}
        STORED.write_text(json.dumps({**known, machine(): curves(Path(home))}, indent=1) + "\n")
