"""How near `smalti plan` comes to what trainings take: memory and time of a step, predicted against measured.

Plan and training run in processes of their own, in turns. Memory: the most that a training's process takes,
beyond what it took before it read its recipe. Time: the median step after the losses have all begun, without
the wait for data; by the wall clock, and by the processor's, which other work on the machine changes less.
A ratio is predicted over measured. By lines: from batches of 1, 2 and 4 samples alone.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from common import options, report

# recipes in small, with all that counts within a minute: words for both commands
RECIPES: Mapping[str, str] = {
    "tokenizer_300": "size=64 network.width=32 quantize_start=6 batch=8 losses.adversarial.start=12 "
    "losses.adversarial.discriminator_start=12 steps=36",
    "tokenizer_300, recomputed": "size=96 network.width=32 quantize_start=0 batch=6 recompute=true steps=24 "
    "losses.adversarial.start=0 losses.adversarial.discriminator_start=0",
    "vqgan_ema": "batch=12 steps=24",
    "prior_300": "tokenizer=emoji size=64 prior.layers=4 batch=16 steps=40",
    "prior_masked_300": "tokenizer=emoji size=64 prior.layers=4 batch=24 accumulate=2 steps=40",
    "prior_boxes_minutes": "tokenizer=emoji steps=40",
    "prior_pixelsnail_300": "tokenizer=emoji size=64 batch=16 prior.layers=3 steps=40",
}
DATA = {"prior_boxes_minutes"}  # whose recipes name theirs
BOUNDS = {"memory": 0.15, "seconds": 0.25}

# what `smalti plan --json` tells, without trying what would take less
PLAN = """
import json, sys
from smalti import config
from smalti.planning import less, page
from smalti.planning.plan import plan
from smalti.training.settings import TrainingSettings

less.PATIENCE = 0.0
recipe, data, *words = sys.argv[1:]
print(json.dumps(page.facts(plan(recipe, data or None, **config.overrides(words, TrainingSettings)))))
"""
# a training that watches itself: bytes before and at most, seconds of each step
TRAIN = """
import json, sys, time
from contextlib import contextmanager
from smalti import config
from smalti.planning.measuring import Resident
from smalti.training import fit, train
from smalti.training.settings import TrainingSettings
import torch

steps = []

class Watched(fit.Pace):
    @contextmanager
    def working(self):
        began = time.perf_counter(), time.process_time()
        with super().working():
            yield
        steps.append((time.perf_counter() - began[0], time.process_time() - began[1]))

fit.Pace = Watched
recipe, data, out, *words = sys.argv[1:]
resident = Resident(torch.device("cpu"))
train.train(recipe, data or None, out, **config.overrides(words, TrainingSettings))
print(json.dumps({"memory": resident.most(), "steps": steps}))
"""


def main() -> None:
    """One row for each recipe."""
    given = options(__doc__)
    turns = 1 if given.short or given.figures else 3
    names = list(RECIPES)[::3] if given.short else list(RECIPES)
    report("plan", rows(names, turns), given.out, device=given.device, size={"turns": turns})


def rows(names: list[str], turns: int) -> Iterator[dict[str, Any]]:
    for name in names:
        recipe = name.partition(",")[0]
        words, data = RECIPES[name].split(), "" if recipe in DATA else "scenes"
        found = [(_planned(recipe, data, words), _trained(recipe, data, words)) for _ in range(turns)]
        row: dict[str, Any] = {"recipe": name}
        for what, unit in (("memory", 2**20), ("wall", 1e-3), ("processor", 1e-3)):
            predicted, lines, measured = (
                median(of(turn, what) for turn in found) / unit for of in (_predicted, _by_lines, _measured)
            )
            row |= {
                f"{what}, predicted": predicted, f"{what}, measured": measured,
                f"{what}, ratio": predicted / measured, f"{what}, by lines": lines / measured,
            }  # fmt: skip
        bounds = (("memory", BOUNDS["memory"]), ("processor", BOUNDS["seconds"]))
        row["within"] = all(abs(row[f"{what}, ratio"] - 1) <= bound for what, bound in bounds)
        yield row


def _predicted(turn: tuple[Any, Any], what: str) -> float:
    plan, _ = turn
    return plan["memory"]["total"] - plan["memory"]["process"] if what == "memory" else plan["step"][what]


def _by_lines(turn: tuple[Any, Any], what: str) -> float:
    plan, _ = turn
    memory = plan["memory_by_lines"] - plan["memory"]["process"]
    return memory if what == "memory" else plan["step_by_lines"][what]


def _measured(turn: tuple[Any, Any], what: str) -> float:
    plan, told = turn
    if what == "memory":
        return told["memory"]
    last = told["steps"][plan["phases"][-1]["first"] + 1 :]  # the first one makes moments
    return median(step[what == "processor"] for step in last)


def _planned(recipe: str, data: str, words: list[str]) -> Any:
    return json.loads(_told([sys.executable, "-c", PLAN, recipe, data, *words]))


def _trained(recipe: str, data: str, words: list[str]) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "run")
        command = [sys.executable, "-c", TRAIN, recipe, data, out, *words]
        return json.loads(_told(command).splitlines()[-1])


def _told(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
