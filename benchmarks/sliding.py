"""Seconds a canvas that is larger than the window, against the algorithm of 2021: a whole window a cell.

Absolute positions, batch 1, a class as condition, or a map of 256 tokens a window. The algorithm of 2021
costs the same for every cell, so it is timed on the first cells of a canvas and scaled; codes are held equal
on a whole small canvas, for greedy and for drawn codes. Beside it priors of the same size with relative
positions, which see 7, 4 or 3 cells each way and whose codes are others; they are held against their own
teacher forcing.

    python benchmarks/sliding.py --short --out runs/benchmarks
"""

from typing import Any

import common
import models
import torch
from baselines import gpt_2021
from memory import megabytes
from torch import Tensor

from smalti.generator import Generator
from smalti.sampling.choice import Choice, choose

TOP_K = 100
GRIDS = ((32, 32), (64, 64), (32, 96))
RADII = (7, 4, 3)
TURNS, ENOUGH = 3, 600.0  # no further turn of a row after so many seconds


def main() -> None:
    """All canvases, both precisions."""
    given = common.options(__doc__)
    size = {"layers": 2, "width": 128} if given.short else {"layers": 12, "width": 512}
    grids = ((17, 24),) if given.short else GRIDS
    rows = []
    for condition in models.CONDITIONS:
        model = models.generator(**size, condition=condition).to(given.device)
        network = models.baseline(model)
        check(model, network, (17, 18) if given.short else (20, 24))
        ours = [model]
        for radius in RADII[:1] if given.short else RADII:
            near = models.neighbourhood(**size, radius=radius, condition=condition).to(given.device)
            check_forced(near, (17, 25))
            ours.append(near)
        for dtype in (torch.float32, torch.bfloat16):
            for grid in grids:
                for one in ours:
                    rows.append(measure(one.to(dtype), network, grid, cells=32 if given.short else 64))
    common.report("sliding", rows, given.out, device=given.device, size=size, top_k=TOP_K)


def measure(model: Generator, network: gpt_2021.GPT, grid: tuple[int, int], *, cells: int) -> dict[str, Any]:
    """A row: the whole canvas by us, against `cells` cells by the algorithm of 2021, scaled."""
    prefix, draw = models.prefixes(model, grid), gpt_2021.multinomial(top_k=TOP_K)
    ways = {
        "ours": lambda: laid(model, grid),
        "2021": lambda: gpt_2021.sliding_window(network, prefix, grid, draw, cells=cells),
    }
    memory: dict[str, int | None] = {}
    found = common.race(ways, TURNS, warm_up=0, enough=ENOUGH, memory=memory)
    scale = grid[0] * grid[1] / cells
    times = common.ratio(found["ours"], [scale * seconds for seconds in found["2021"]])
    prior, (condition,) = model.settings.prior, models.told(model, grid)
    return {
        "prior": prior.kind, "radius": getattr(prior, "radius", None), "condition": condition,
        "cells": f"{grid[0]}x{grid[1]}", "dtype": common.word(next(model.prior.parameters()).dtype),
        "against": "2021, float32", "times faster": times, "our s": times.ours, "their s": times.theirs,
        "measured cells of theirs": cells, "our peak MB": megabytes(memory["ours"]),
        "their peak MB": megabytes(memory["2021"]),
    }  # fmt: skip


def check(model: Generator, network: gpt_2021.GPT, grid: tuple[int, int]) -> None:
    """Equal codes on a whole canvas, greedy and with equal noise; AssertionError else."""
    seeds = torch.zeros(1, dtype=torch.int64, device=model.order.device)

    def drawn(scores: Tensor, number: int) -> Tensor:
        return choose(scores, seeds, torch.full_like(seeds, number), Choice(top_k=TOP_K))

    for draw, top_k in ((gpt_2021.greedy, 1), (drawn, TOP_K)):
        theirs = gpt_2021.sliding_window(network, models.prefixes(model, grid), grid, draw)
        assert laid(model, grid, top_k).equal(theirs), f"other codes with top_k={top_k}"


def check_forced(model: Generator, grid: tuple[int, int]) -> None:
    """A greedy canvas is the argmax of teacher forcing; AssertionError else."""
    codes = laid(model, grid, top_k=1)
    (value,) = models.told(model, grid).values()
    prompt = model.condition.encode(value, num=1, grid=grid, device=codes.device)
    tokens = prompt.window(0, 0, *grid).view(1, *(grid if model.prior.prefix_length > 1 else (1, 1)))
    with torch.no_grad():
        scores = model.prior.score(codes, tokens)
    assert scores.argmax(-1).view(codes.shape).equal(codes), "other codes than teacher forcing gives"


def laid(model: Generator, grid: tuple[int, int], top_k: int = TOP_K) -> Tensor:
    """Our codes of one canvas."""
    size = (grid[0] * models.FACTOR, grid[1] * models.FACTOR)
    return model.sample(size=size, top_k=top_k, output="codes", **models.told(model, grid))


if __name__ == "__main__":
    main()
