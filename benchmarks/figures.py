"""The figures to reach, and where they stand in the benchmarks' JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure to reach, and the rows that hold it."""

    what: str
    goal: float | None  # at least; None: to be ahead, above 1
    file: str  # JSON without its ending
    row: Mapping[str, Any]  # what the row says
    size: Mapping[str, Any] = field(default_factory=dict)  # what it says too, in the long form
    column: str = "times faster"
    on_accelerator: float | None = None  # the goal there, where it is another
    only_on: str = ""  # "cpu" or "accelerator": asked for there alone


def _sampling() -> list[Figure]:
    plain = "cached sampling, 256 tokens, 12 layers x 512, batch {}, {}"
    found = []
    for dtype, goals in (("float32", {1: 1.6, 8: 2.5}), ("bfloat16", {1: 2.2, 8: 3.5})):
        size = {"layers x width": "12 x 512"}
        for batch, goal in goals.items():
            row = {"batch": batch, "dtype": dtype, "against": "growing cache"}
            what = plain.format(batch, dtype) + ", against the growing cache"
            found.append(Figure(what=what, goal=goal, file="sample", row=row, size=size))
    for batch in (1, 8):
        for peer in ("transformers", "x-transformers"):
            row = {"batch": batch, "dtype": "float32", "against": peer}
            what = plain.format(batch, "float32") + f", against {peer}"
            found.append(Figure(what=what, goal=None, file="sample", row=row, size=size))
    for model, batches in (("12 x 512", (1, 8, 64)), ("2 x 128", (1, 8, 64))):
        for batch in batches:
            row = {"layers x width": model, "batch": batch, "dtype": "bfloat16", "against": "our fp32"}
            what = f"cached sampling, {model}, batch {batch}, bfloat16 against our float32"
            found.append(Figure(what=what, goal=1.0, file="sample", row=row))
    return found


def _limits() -> list[Figure]:
    what, found = "decoding at batch 1, {}, {}: share of the bandwidth of a copy {}", []
    cases = [
        ("12 x 512", "float32", where, 0.5, "cpu") for where in ("beyond the cache", "of the model's size")
    ]
    for size in ("12 x 768", "24 x 1024"):
        cases.append((size, "bfloat16", "beyond the cache", 0.6, "accelerator"))
    for size, dtype, where, goal, device in cases:
        row = {"dtype": dtype, "against": f"copy {where}"}
        found.append(
            Figure(what=what.format(size, dtype, where), goal=goal, file="limit_decoding", row=row,
                   size={"layers x width": size}, column="share", only_on=device)
        )  # fmt: skip
    return found


def _canvases() -> list[Figure]:
    window = {"prior": "gpt", "condition": "label", "stride": 1}
    size, what = {"cells": "64x64"}, "sliding window, 64x64 cells, absolute positions, {}"
    near = {"prior": "neighbourhood", "radius": 7, "skew": 2, "condition": "label", "canvases": 1}
    return [
        Figure(what=what.format("float32"), goal=1.4, on_accelerator=4.0, file="sliding",
               row={**window, "dtype": "float32"}, size=size),
        Figure(what=what.format("bfloat16"), goal=5.0, file="sliding",
               row={**window, "dtype": "bfloat16"}, size=size),
        Figure(what=what.format("float32, stride 8"), goal=7.0, file="sliding",
               row={**window, "dtype": "float32", "stride": 8}, size=size),
        Figure(what="sliding window, 64x64 cells, relative positions, radius 7, skew 2, float32", goal=80.0,
               file="sliding", row={**near, "dtype": "float32"}, size=size),
    ]  # fmt: skip


def _networks() -> list[Figure]:
    work, size = {"work": "encode + decode"}, {"pixels": 256}
    what = "tokenizer, encode + decode at 256 px, {} against {}"
    sides = (
        ("float32", "2021, float32", 1.3),
        ("bfloat16", "2021, float32", 3.0),
        ("float32", "diffusers, float32", 1.0),
        ("bfloat16", "diffusers, bfloat16", 1.0),
    )
    found = [
        Figure(what=what.format(ours, theirs), goal=goal, file="tokenizer",
               row={**work, "ours": ours, "theirs": theirs}, size=size)
        for ours, theirs, goal in sides
    ]  # fmt: skip
    for peer in ("torch.cdist", "vector-quantize-pytorch"):
        for column in ("times faster", "times less memory"):
            row = {"codes": 16384, "theirs": peer}
            name = f"codebook search, 16384 codes, against {peer}: {column.removeprefix('times ')}"
            found.append(Figure(what=name, goal=None, file="codebook_search", row=row, column=column))
    what = "training step (VQGAN, both networks), 256 px, float32"
    found.append(Figure(what=what, goal=1.6, file="train_step", row={"ours": "fp32"}, size=size))
    return found


FIGURES = (*_sampling(), *_limits(), *_canvases(), *_networks())
