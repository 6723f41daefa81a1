"""What every task keeps: what is trained, by which losses, and how it is measured and shown."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from smalti.data.protocol import Batch
from smalti.generator import Generator
from smalti.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Losses:
    """What a batch gives."""

    minimise: Mapping[str, Float[Tensor, ""]]  # by network, fp32; a network that rests at this step is absent
    statistics: Mapping[str, Float[Tensor, ""]]  # more numbers for the log, detached
    codes: Int64[Tensor, "b h w"]
    latents: Float[Tensor, "b d h w"] | None = None  # before quantisation, detached


class Task(Protocol):
    """A member, built from its settings. All that is random in it follows from (seed, step, process)."""

    networks: Mapping[str, nn.Module]  # what is trained, in the order of the optimizers
    averaged: str  # the network whose weights are averaged, shown and saved

    def start(self, batch: Batch) -> None:
        """Called once, before the first step, with the first pictures."""
        ...

    def distribute(self, wrap: Callable[[nn.Module], nn.Module]) -> Sequence[nn.Module]:
        """Run the networks through wrap(...) from now on; gives what wrap gave."""
        ...

    def losses(self, batch: Batch, step: int) -> Losses:
        """One forward pass. Changes nothing, writes nothing and does not wait for the device.

        (But for the running statistics of a critic with BatchNorm.)
        """
        ...

    def after_step(self, parts: Sequence[Losses], step: int) -> None:
        """Called after each step with what `losses` gave for the parts of its batch."""
        ...

    def summary(self) -> dict[str, float]:
        """Numbers over the last steps, for a log line: use of the codebook."""
        ...

    def validate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Numbers on held-out pictures."""
        ...

    def samples(self, batch: Batch) -> UInt8[Tensor, "3 H W"]:
        """One picture that shows what the model can do."""
        ...

    def model(self) -> Tokenizer | Generator:
        """What a user loads."""
        ...


def stream(device: torch.device, *numbers: int) -> torch.Generator:
    """A generator for one purpose at one step: a function of the numbers alone, so that nothing need be saved."""
    ...
