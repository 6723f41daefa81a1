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
    seed = mix(_TRAINING, *numbers)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            index = torch.cuda.current_device() if device.index is None else device.index
            torch.cuda.default_generators[index].manual_seed(seed)
        with _seeded_accelerator(device, seed):
            yield


@contextmanager
def _seeded_accelerator(device: torch.device, seed: int) -> Iterator[None]:
    """Within, the one generator of an XPU or of MPS draws from a seed; nothing for other devices."""
    if device.type in ("cpu", "cuda"):
        yield
        return
    module = torch.get_device_module(device)
    before = module.get_rng_state()
    module.manual_seed(seed)
    try:
        yield
    finally:
        module.set_rng_state(before)
