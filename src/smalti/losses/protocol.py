"""What every term of a training's losses keeps: whose it is, how heavy, and its number."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

AUTOENCODER, DISCRIMINATOR = "autoencoder", "discriminator"  # the networks that are trained


class Logits(NamedTuple):
    """The discriminator's logits of each patch, high for real."""

    real: Float[Tensor, "b 1 y x"]
    fake: Float[Tensor, "b 1 y x"]


class LossTerm(nn.Module, ABC):
    """A summand of one network's loss. What it remembers from step to step are its buffers.

    Persistent buffers are in every checkpoint and alike in all processes; parameters stay as they are.
    """

    network: str = AUTOENCODER  # the one that lessens it
    # whether it is computed from logits: the discriminator runs while such a term counts
    of_logits: bool = False

    @abstractmethod
    def weight(self, step: int) -> float | None:
        """Return what the value counts at a step; None where it rests, and is not computed."""

    @abstractmethod
    def forward(
        self,
        real: Float[Tensor, "b c H W"],
        fake: Float[Tensor, "b c H W"],
        logits: Logits | None,
        step: int,
    ) -> tuple[Float[Tensor, ""], Mapping[str, Float[Tensor, ""]]]:
        """Return the value, unweighted and in fp32, and numbers for the log.

        real, fake: what the tokenizer was given and gave; fp32. logits: None before the discriminator runs.
        """

    def distances(self) -> Mapping[str, nn.Module]:
        """Return what validation is to report too, `(real, fake) -> "b"`, by name; nothing."""
        return {}

    def balance(
        self,
        fake: Float[Tensor, "b c H W"],
        reconstruction: Float[Tensor, "b c H W"],
        own: Float[Tensor, "b c H W"],
        last_layer: Float[Tensor, "..."],
    ) -> tuple[Float[Tensor, ""], Mapping[str, Float[Tensor, ""]]]:
        """Return a factor of the weight that depends on gradients, and numbers for the log; 1 and none.

        Asked of the autoencoder's terms of logits. reconstruction, own: gradients at `fake`, in fp32, of all
        terms without logits and of this one; the graph from last_layer to `fake` is there.
        """
        return torch.ones((), device=own.device), {}
