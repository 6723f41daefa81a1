"""Randomness that is a function of numbers (seed, step, process): none of it has to be saved."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from smalti.data.loader import mix

_TRAINING = -1  # sets these draws apart from the loader's, which mix seed, pass and index


def generator(*numbers: int) -> torch.Generator:
    """Return a generator on the CPU for one purpose.

    The same numbers give the same draws on every machine.
    """
    return torch.Generator().manual_seed(mix(_TRAINING, *numbers))


@contextmanager
def seeded(device: torch.device, *numbers: int) -> Iterator[None]:
    """Within, what draws from torch's default generators (first weights, dropout) draws from these numbers.

    Afterwards the default generators are as they were before.
    """
    devices = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(mix(_TRAINING, *numbers))
        if device.type == "cuda":
            index = torch.cuda.current_device() if device.index is None else device.index
            torch.cuda.default_generators[index].manual_seed(mix(_TRAINING, *numbers))
        yield
