"""Using a network: one that may be in training, and images in the layout that is fast."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

T = TypeVar("T")


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


def by_pieces(module: nn.Module, begin: Callable[[], Iterator[T]]) -> Iterator[T]:
    """Give the pieces of some work that uses a network, which is in use only while it goes on.

    In between the caller's modes are the caller's, so that several works can take turns.
    """
    with in_use(module), torch.inference_mode():
        work = begin()
    while True:
        with in_use(module), torch.inference_mode():
            try:
                piece = next(work)
            except StopIteration:
                return
        yield piece


def laid_out(x: Float[Tensor, "b e h w"]) -> Float[Tensor, "b e h w"]:
    """Return the same numbers, on a CPU with a place's channels side by side in memory.

    Its convolutions then do not turn them about: at 256 pixels 1.7 times as fast in bf16, 4 to 10 % faster in
    fp32, training likewise. CUDA's group norm would turn them back.
    """
    if x.device.type == "cpu":
        return x.contiguous(memory_format=torch.channels_last)
    return x


def lay_out(module: nn.Module) -> None:
    """Keep a network's weights in the same layout where its device has it, so that no call turns them.

    A step of training is 8 % faster so; the numbers stay, and files hold the plain layout.
    """
    if all(parameter.device.type == "cpu" for parameter in module.parameters()):
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # its stubs lack this form
