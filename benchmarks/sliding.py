"""Seconds a canvas that is larger than the window, against the algorithm of 2021: a whole window a cell.

Absolute positions, a class as condition, batch 1. The algorithm of 2021 costs the same for every cell, so it
is timed on the first cells of a canvas and scaled; codes are held equal on a whole small canvas, for greedy
and for drawn codes. Beside it a window that moves in steps of half its side, which lays other codes, held
against that rule cell by cell; and a prior of the same size with relative positions, whose codes are others
too, held against its own teacher forcing.

    python benchmarks/sliding.py --short --out runs/benchmarks
"""

from typing import Any

import common
import models
import torch
from baselines import gpt_2021
from torch import Tensor

from smalti.generator import Generator
from smalti.sampling import window
from smalti.sampling.canvas import Canvas
from smalti.sampling.choice import Choice, choose
from smalti.sampling.guidance import Scorer

TOP_K = 100
FACTOR = 2  # pixels a cell of the benchmark's tokenizer
GRIDS = ((32, 32), (64, 64), (32, 96))
STRIDE = models.SIDE // 2


def main() -> None:
    """All canvases, both precisions, both strides."""
    given = common.options(__doc__)
    size = {"layers": 2, "width": 128} if given.short else {"layers": 12, "width": 512}
    grids = ((17, 24),) if given.short else GRIDS
    model = models.generator(**size).to(given.device)
    near = models.neighbourhood(**size).to(given.device)
    network = models.baseline(model)
    check(model, network, (17, 25) if given.short else (20, 24))
    check_stride(model, (17, 25) if given.short else (20, 24))
    check_forced(near, (17, 25))
    rows = []
    for dtype in (torch.float32, torch.bfloat16):
        for grid in grids:
            cells = 32 if given.short else 64
            rows += measure(model.to(dtype), network, grid, cells=cells, turns=3)
            rows += measure(model, network, grid, cells=cells, turns=3, stride=STRIDE)
            rows += measure(near.to(dtype), network, grid, cells=cells, turns=3)
    common.report("sliding", rows, given.out, device=given.device, size=size, top_k=TOP_K)


def measure(
    model: Generator,
    network: gpt_2021.GPT,
    grid: tuple[int, int],
    *,
    cells: int,
    turns: int,
    stride: int = 1,
) -> list[dict[str, Any]]:
    """One row: the whole canvas by us, against `cells` cells by the algorithm of 2021, scaled."""
    prompt = torch.full((1, 1), 3, device=model.order.device)
    draw = gpt_2021.multinomial(top_k=TOP_K)
    ways = {
        "ours": lambda: laid(model, grid, stride=stride),
        "2021": lambda: gpt_2021.sliding_window(network, lambda top, left: prompt, grid, draw, cells=cells),
    }
    found = common.race(ways, turns, warm_up=0)
    scale = grid[0] * grid[1] / cells
    whole = [scale * seconds for seconds in found["2021"]]
    times = common.ratio(found["ours"], whole)
    kind = str(next(model.prior.parameters()).dtype).removeprefix("torch.")
    cells_of = f"{grid[0]}x{grid[1]}"
    return [{
        "prior": model.settings.prior.kind, "stride": stride, "cells": cells_of, "dtype": kind,
        "against": "2021, fp32", "times": times, "our s": times.ours, "their s": times.theirs,
        "measured cells of theirs": cells,
    }]  # fmt: skip


def check(model: Generator, network: gpt_2021.GPT, grid: tuple[int, int]) -> None:
    """Equal codes on a whole canvas, greedy and with equal noise; AssertionError else."""
    device = model.order.device
    prompt, seeds = torch.full((1, 1), 3, device=device), torch.zeros(1, dtype=torch.int64, device=device)

    def drawn(scores: Tensor, number: int) -> Tensor:
        return choose(scores, seeds, torch.full_like(seeds, number), Choice(top_k=TOP_K))

    for draw, top_k in ((gpt_2021.greedy, 1), (drawn, TOP_K)):
        theirs = gpt_2021.sliding_window(network, lambda top, left: prompt, grid, draw)
        assert laid(model, grid, top_k).equal(theirs), f"other codes with top_k={top_k}"


def check_stride(model: Generator, grid: tuple[int, int]) -> None:
    """A canvas of a window that moves in steps is that of the plain rule; AssertionError else."""
    zeros = torch.zeros(1, *grid, dtype=torch.int64, device=model.order.device)
    canvas = Canvas(
        codes=zeros,
        known=torch.zeros(grid, dtype=torch.bool),
        seeds=zeros[:, 0, 0],
        window=model.settings.grid,
        order=model.order,
        choice=Choice(top_k=TOP_K),
        stride=STRIDE,
    )
    prompt = model.condition.encode(3, num=1, grid=grid, device=zeros.device)
    scorer = Scorer(model.prior, prompt, limit=models.CODES)
    with torch.no_grad():
        expected = window.draw(scorer, canvas)
    assert laid(model, grid, stride=STRIDE).equal(expected), f"other codes with stride={STRIDE}"


def check_forced(model: Generator, grid: tuple[int, int]) -> None:
    """A greedy canvas is the argmax of teacher forcing; AssertionError else."""
    codes = laid(model, grid, top_k=1)
    with torch.no_grad():
        scores = model.prior.score(codes, torch.full((1, 1, 1), 3, device=codes.device))
    assert scores.argmax(-1).view(codes.shape).equal(codes), "other codes than teacher forcing gives"


def laid(model: Generator, grid: tuple[int, int], top_k: int = TOP_K, stride: int = 1) -> Tensor:
    """Our codes of one canvas."""
    size = (grid[0] * FACTOR, grid[1] * FACTOR)
    return model.sample(label=3, size=size, top_k=top_k, stride=stride, output="codes")


if __name__ == "__main__":
    main()
