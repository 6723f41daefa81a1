"""Seconds a canvas that is larger than the window, against the algorithm of 2021: a whole window a cell.

Absolute positions, batch 1, a class as condition, or a map of 256 tokens a window. The algorithm of 2021
costs the same for every cell, so it is timed on the first cells of a canvas and scaled; codes are held equal
on a whole small canvas, for greedy and for drawn codes. Beside it a window that moves in steps of half its
side, which lays other codes, held against that rule cell by cell; and priors of the same size with relative
positions, which see 7 or 4 cells each way, whose rows skew 2 or 8 columns, held against their own teacher
forcing. Where several canvases are drawn together, seconds are those of one.

    python benchmarks/sliding.py --short --out runs/benchmarks
"""

from collections.abc import Iterator
from typing import Any

import common
import models
import torch
from baselines import gpt_2021
from memory import megabytes
from torch import Tensor

from smalti.drawing.plan import begin
from smalti.pipeline import Pipeline
from smalti.tokens.choice import Choice, choose
from smalti.tokens.noise import keys

TOP_K = 100
GRIDS = ((32, 32), (64, 64), (32, 96))
NEAR = ((7, 2), (7, 8), (4, 2))  # radius and skew
STRIDE = models.SIDE // 2
SEVERAL = 4  # canvases drawn together
TURNS, ENOUGH = 3, 60.0  # no further turn of a row after so many seconds


def main() -> None:
    """All canvases, with a map the first; both precisions."""
    given = common.options(__doc__)
    size = {"layers": 2, "width": 128} if given.short else {"layers": 12, "width": 512}
    rows = all_rows(given, size)
    common.report("sliding", rows, given.out, device=given.device, size=size, top_k=TOP_K)


def all_rows(given: common.Options, size: dict[str, int]) -> Iterator[dict[str, Any]]:
    """One canvas after the other."""
    grids = ((17, 24),) if given.short else GRIDS[1:2] if given.figures else GRIDS
    for condition in list(models.CONDITIONS)[: 1 if given.figures else None]:
        model = models.generator(**size, condition=condition).to(given.device)
        network = models.baseline(model)
        check(model, network, (17, 18) if given.short else (20, 24))
        check_stride(model, (17, 25) if given.short else (20, 24))
        moving, near = [(model, 1, 1), (model, STRIDE, 1)], []
        for radius, skew in NEAR[:1] if given.short else NEAR[:2] if given.figures else NEAR:
            prior = models.neighbourhood(**size, radius=radius, skew=skew, condition=condition)
            prior = prior.to(given.device)
            check_forced(prior, (17, 25))
            near.append((prior, 1, 1))
        widest, *_ = near[0]
        ours = [*moving, *near, (widest, 1, SEVERAL)]
        cells = 32 if given.short else 64
        for dtype in (torch.float32, torch.bfloat16):
            for grid in grids if condition == "class" else grids[:1]:  # a map doubles what is fed
                few = given.figures and dtype == torch.bfloat16  # the first, and the window that moves by 1
                asked = [moving[0], near[0]] if few else ours
                for one, *how in asked:
                    yield measure(one.to(dtype), network, grid, cells, *how)


def measure(
    model: Pipeline, network: gpt_2021.GPT, grid: tuple[int, int], cells: int, stride: int, canvases: int
) -> dict[str, Any]:
    """A row: whole canvases by us, against `cells` cells of one by the algorithm of 2021, scaled."""
    prefix, draw = models.prefixes(model, grid), gpt_2021.multinomial(top_k=TOP_K)
    ways = {
        "ours": lambda: laid(model, grid, stride=stride, canvases=canvases),
        "2021": lambda: gpt_2021.sliding_window(network, prefix, grid, draw, cells=cells),
    }
    memory: dict[str, int | None] = {}
    found = common.race(ways, TURNS, warm_up=0, enough=ENOUGH, memory=memory)
    scale = grid[0] * grid[1] / cells
    ours, theirs = [each / canvases for each in found["ours"]], [scale * each for each in found["2021"]]
    times = common.ratio(ours, theirs)
    prior, (condition,) = model.settings.prior, models.told(model, grid)
    return {
        "prior": prior.kind, "radius": getattr(prior, "radius", None), "skew": getattr(prior, "skew", None),
        "stride": stride, "canvases": canvases, "condition": condition, "cells": f"{grid[0]}x{grid[1]}",
        "dtype": common.word(next(model.prior.parameters()).dtype),
        "against": "2021, float32", "times faster": times, "our s": times.ours, "their s": times.theirs,
        "measured cells of theirs": cells, "our peak MB": megabytes(memory["ours"]),
        "their peak MB": megabytes(memory["2021"]),
    }  # fmt: skip


def check(model: Pipeline, network: gpt_2021.GPT, grid: tuple[int, int]) -> None:
    """Equal codes on a whole canvas, greedy and with equal noise; AssertionError else."""
    seeds = torch.zeros(1, dtype=torch.int64, device=model.order.device)

    def drawn(scores: Tensor, number: int) -> Tensor:
        return choose(scores, keys(seeds, torch.tensor(number)), Choice(top_k=TOP_K))

    for draw, top_k in ((gpt_2021.greedy, 1), (drawn, TOP_K)):
        theirs = gpt_2021.sliding_window(network, models.prefixes(model, grid), grid, draw)
        assert laid(model, grid, top_k).equal(theirs), f"other codes with top_k={top_k}"


def check_stride(model: Pipeline, grid: tuple[int, int]) -> None:
    """A canvas of a window that moves in steps is that of the plain rule; AssertionError else."""
    codes = torch.zeros(1, *grid, dtype=torch.int64, device=model.order.device)
    seed, prompt, sides = codes[:, 0, 0].clone(), models.prompt(model, grid), model.settings.grid
    for row in range(grid[0]):
        for column in range(grid[1]):
            top = begin(row, grid[0], sides[0], stride=STRIDE)
            left = begin(column, grid[1], sides[1], stride=STRIDE)
            seen = codes[:, top : top + sides[0], left : left + sides[1]].flatten(1)
            place = (row - top) * sides[1] + column - left
            with torch.no_grad():
                scores = model.prior.prefill(seen[:, :place], prompt.window(top, left, *sides))
            cell = torch.full_like(seed, row * grid[1] + column)
            codes[:, row, column] = choose(scores[:, : models.CODES], keys(seed, cell), Choice(top_k=TOP_K))
    assert laid(model, grid, stride=STRIDE).equal(codes), f"other codes with stride={STRIDE}"


def check_forced(model: Pipeline, grid: tuple[int, int]) -> None:
    """A greedy canvas is the argmax of teacher forcing; AssertionError else."""
    codes = laid(model, grid, top_k=1)
    tokens = (
        models.prompt(model, grid)
        .window(0, 0, *grid)
        .view(1, *(grid if model.prior.scope.prefix_length > 1 else (1, 1)))
    )
    with torch.no_grad():
        scores = model.prior.score(codes, tokens)
    assert scores.argmax(-1).view(codes.shape).equal(codes), "other codes than teacher forcing gives"


def laid(
    model: Pipeline, grid: tuple[int, int], top_k: int = TOP_K, stride: int = 1, canvases: int = 1
) -> Tensor:
    """Our codes of canvases, drawn together."""
    how = {"size": (grid[0] * models.FACTOR, grid[1] * models.FACTOR), "top_k": top_k, "stride": stride}
    how |= {"num": canvases, "micro_batch": canvases}
    return model.sample(**how, **models.told(model, grid)).codes


if __name__ == "__main__":
    main()
