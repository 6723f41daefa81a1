"""By which strategy several processes train: what a recipe asks for, and what fits."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import nn

from smalti import memory, strategy
from smalti.errors import UserError
from smalti.strategy import DataParallel

Kind = Literal["auto", "single", "ddp", "fsdp"]  # what a recipe may ask for
HELD = 5  # numbers for each weight in training: itself, its gradient, two moments, its running mean


@contextmanager
def using(
    kind: Kind, networks: Iterable[nn.Module], device: torch.device, *, scaled: bool = False
) -> Iterator[None]:
    """Within, several processes train some networks as a recipe asks for.

    auto is ddp where a process's memory holds twice all that there is of each weight, else fsdp. UserError
    for one process alone where there are several, and for shares whose gradients are scaled, as in fp16: each
    process would find another scale. One process has nothing to share, whatever is asked for.
    """
    count = strategy.current().count
    if kind == "single" and count > 1:
        remedy = "strategy=ddp or strategy=fsdp, or start it without torchrun"
        raise UserError("one process for strategy=single", f"{count} of torchrun", remedy)
    if kind == "auto":
        weights = sum(p.numel() for one in networks for p in one.parameters() if p.requires_grad)
        kind = "ddp" if scaled or 2 * HELD * 4 * weights < memory.of_device(device) else "fsdp"
    if kind == "fsdp" and scaled and count > 1:
        raise UserError("precision=bf16 or fp32 for strategy=fsdp", "fp16", "precision=bf16, or strategy=ddp")
    way: type[DataParallel] = DataParallel
    if kind == "fsdp" and count > 1:
        from smalti.sharded import Sharded  # seconds, and torch's compiler: only when used

        way = Sharded
    with strategy.several_as(way):
        yield
