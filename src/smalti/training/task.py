"""What every task keeps: what is trained, by which losses, and how it is measured and shown."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from smalti.data.protocol import Batch
from smalti.pipeline import Pipeline
from smalti.quantizers.usage import RecentCodes
from smalti.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Losses:
    """What a batch gives."""

    minimise: Mapping[str, Float[Tensor, ""]]  # by network, fp32; a network that rests at this step is absent
    statistics: Mapping[str, Float[Tensor, ""]]  # more numbers for the log, detached
    codes: Int64[Tensor, "b h w"] | None  # None without a codebook
    latents: Float[Tensor, "b m h w"] | None = None  # before quantisation, detached


@runtime_checkable  # for the shape checker of the tests
class Task(Protocol):
    """A network, or two that learn from each other. Given its parts, on the device where they are to stay."""

    averaged: str  # the name of the network whose weights are averaged, shown and saved
    shown: nn.Module  # the network of the model that `model` gives: that one, or, sharded, its whole twin
    recent: RecentCodes  # the last codes of this process, by which `summary` goes; kept in checkpoints
    # parts of a batch that go to the device; what conditions check stays, so that nobody waits for a GPU
    computed: Sequence[str]

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Return what is trained, see `distribute` too; each has its optimizer."""
        ...

    def start(self, batch: Batch) -> None:
        """Called once, before the first step, with the first images."""
        ...

    def distribute(self, wrap: Callable[[nn.Module], nn.Module]) -> Sequence[nn.Module]:
        """Run the networks inside what wrap(...) gives from now on; return those.

        `networks` are then those within, see `Strategy.inner`.
        """
        ...

    def state(self) -> Mapping[str, Tensor]:
        """Return tensors beside those of the networks that a checkpoint keeps, which may be written to."""
        ...

    def losses(self, batch: Batch, step: int, part: int = 0) -> Losses:
        """Return one forward pass of part number `part` of a batch.

        Writes nothing and does not wait for the device.

        Changes nothing either, but for the running statistics of a discriminator with BatchNorm.
        """
        ...

    def after_step(self, parts: Sequence[Losses], step: int) -> bool:
        """Go on after a step, with what `losses` gave for the parts of its batch.

        Whether it began something anew, so that averages over the weights before mean nothing.
        """
        ...

    def summary(self) -> dict[str, float]:
        """Return numbers over the last steps, for a line of the log."""
        ...

    def validate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Return numbers on held-out images."""
        ...

    def samples(self, batch: Batch) -> UInt8[Tensor, "c H W"]:
        """Return one sheet that shows what the model can do."""
        ...

    def model(self) -> Tokenizer | Pipeline:
        """Return what a user loads."""
        ...
