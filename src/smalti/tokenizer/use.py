"""Using a network that may be in training: no gradients, no dropout, and nothing left changed."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def in_use(module: nn.Module) -> Iterator[None]:
    """Within, no gradients and no dropout; every part is afterwards in the mode it was in."""
    training = [part for part in module.modules() if part.training]
    try:
        for part in training:
            part.training = False
        with torch.no_grad():
            yield
    finally:
        for part in training:
            part.training = True
