"""How many passes does exact speculative decoding save, and does that save time?

A trained prior draws the same images one place a pass and K places a pass; equal codes are asserted before
anything is timed. `passes a cell` is 1 one by one. `times` is the seconds of one by one over those with K,
turn by turn: above 1 it pays.

    PYTHONPATH=benchmarks OMP_NUM_THREADS=1 python experiments/speculative.py MODEL OUT
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import torch

import smalti
from smalti.pipeline import Pipeline

TEMPERATURES, TOP_KS, MANY, BATCHES = (0.5, 0.8, 1.0), (10, 100, None), (2, 4, 8, 16), (1, 8)
GREEDY = {"temperature": 1.0, "top_k": 1}  # knows no temperature
IMAGES = 8  # of each setting, over all classes
Draw = Callable[[], list[torch.Tensor]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "model", type=Path, help="model folder or run folder of a prior that lays cells one by one"
    )
    parser.add_argument("out", type=Path, help="folder of the JSON")
    parser.add_argument("--device", default="cpu", help="cpu, cuda ...")
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    model = smalti.load(given.model, device=given.device)
    assert isinstance(model, Pipeline), "a model that draws"
    choices = [{"temperature": t, "top_k": k} for t in TEMPERATURES for k in TOP_KS]
    rows = [
        row
        for batch in BATCHES
        for choice in (GREEDY, *choices)
        for row in measure(model, batch, given.turns, choice)
    ]
    metadata = {"model": str(given.model), "cells": len(model.order), "prior": str(model.settings.prior)}
    common.report("speculative", rows, given.out, device=torch.device(given.device), **metadata)


def measure(model: Pipeline, batch: int, turns: int, choice: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each K."""
    draws = {many: drawing(model, batch, speculative=many, **choice) for many in (1, *MANY)}
    found, passes = {}, {}
    for many, draw in draws.items():  # which also warms up
        found[many], count = counted(model, draw)
        assert all(map(torch.equal, found[many], found[1])), (many, choice)
        passes[many] = count / len(found[many]) / len(model.order)
    seconds = common.race({str(many): draw for many, draw in draws.items()}, turns, warm_up=0)
    rows = [
        {
            "batch": batch, **choice, "K": many, "passes a cell": passes[many],
            "times": common.ratio(seconds[str(many)], seconds["1"]),
        }
        for many in MANY
    ]  # fmt: skip
    print("\n".join(common.table(rows)), flush=True)
    return rows


def drawing(model: Pipeline, batch: int, **how: Any) -> Draw:
    """Codes of all images, `batch` at a time, all classes in turn."""
    classes = getattr(model.settings.condition, "classes", None)

    def draw() -> list[torch.Tensor]:
        found = []
        for first in range(0, IMAGES, batch):
            told = {"label": [row % classes for row in range(first, first + batch)]} if classes else {}
            found.append(model.sample(num=batch, seed=first, **told, **how).codes)
        return found

    return draw


def counted(model: Pipeline, draw: Draw) -> tuple[list[torch.Tensor], int]:
    """What is drawn, and the passes through the prior that it took."""
    count = 0

    def note(*_: object) -> None:
        nonlocal count
        count += 1

    with model.prior.norm.register_forward_hook(note):  # the last norm, once a pass in every member
        return draw(), count


if __name__ == "__main__":
    main()
