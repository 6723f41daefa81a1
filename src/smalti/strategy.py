"""How a training runs, in one process or in several (torchrun): nothing else asks how many there are.

Networks say by attributes of their classes what they are made of:
  is_block      one of those that run one after the other, each by one call
  is_kept_whole training writes to its weights outside the optimizer as well, so that every process has all of
                them: what is written to weights that are gathered for a while would be gone with them
"""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from inspect import signature
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from tqdm import tqdm

from smalti import devices

T = TypeVar("T")
Rows = tuple[int, int]  # of a tensor that lies in parts: the first row of this one, and how many there are


class Strategy:
    """One process: most of what several must agree on is nothing. All processes call its methods together."""

    count = 1  # processes that train together
    is_sharded = False  # whether each process holds but its rows of weights, moments and running means
    launch: tuple[str, ...] = ("smalti",)  # the words that start a command like this one

    @property
    def rank(self) -> int:
        """Return the number of this process, from 0."""
        return int(os.environ.get("RANK", "0"))

    def say(self, text: str) -> None:
        """Tell the person at the terminal, on stderr; process 0 alone does."""
        if self.rank == 0:
            tqdm.write(text, file=sys.stderr)

    @contextmanager
    def joined(self, device: torch.device) -> Iterator[None]:
        """Within, the processes can talk."""
        yield

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return the module with gradients averaged over the processes; see `inner`."""
        return module

    def inner(self, wrapped: nn.Module) -> nn.Module:
        """Return the module that is trained within what `wrap` gave: the one given, or, sharded, its twin."""
        return wrapped

    @contextmanager
    def unsynchronised(self, modules: Iterable[nn.Module]) -> Iterator[None]:
        """Within, gradients stay in their process: for all but the last part of an accumulated batch.

        modules: what `wrap` gave.
        """
        yield

    def finish_gradients(self, networks: Iterable[nn.Module]) -> None:
        """Average, once the last part of a batch is passed backward, what `wrap` leaves to be averaged."""

    def held(self, tensor: Tensor) -> Tensor:
        """Return what of a weight, or of what belongs to one, this process holds; writing to it counts."""
        return tensor

    def rows(self, tensor: Tensor) -> Rows | None:
        """Return which rows those are; None: all."""
        return None

    def part(self, own: Tensor, whole: Tensor) -> Tensor:
        """Return of a whole tensor what this process holds of a weight, or of what belongs to one."""
        return whole

    def load(self, network: nn.Module, state: Mapping[str, Tensor]) -> None:
        """Give a trained network the whole state of a checkpoint."""
        network.load_state_dict(state)

    @contextmanager
    def whole(
        self, shown: nn.Module, trained: nn.Module, weights: Mapping[str, Tensor] | None
    ) -> Iterator[bool]:
        """Within, process 0 can use `shown`, the network that was wrapped; gives whether this is that one.

        All processes enter and leave together. trained: what is trained in its place. weights: by name what
        this process holds of those to be shown; None: those of `trained`.
        """
        yield self.rank == 0

    def average(self, tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        """Return the mean over all processes, without gradient."""
        return tensor.detach()

    def gather(self, rows: Shaped[Tensor, "b ..."]) -> Shaped[Tensor, "all_b ..."]:
        """Return the rows of all processes, in the same order everywhere. Every process has as many."""
        return rows

    def collect(self, thing: T) -> list[T]:
        """Return what every process gives, anything that pickles, in the order of the processes."""
        return [thing]

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors with those of process 0. All processes give as many, of the same shapes."""

    def clip(self, network: nn.Module, most: float | None) -> Float[Tensor, ""]:
        """Return the norm of a network's gradient, which is cut to the length `most`; None: left as it is."""
        norm = nn.utils.get_total_norm([p.grad for p in network.parameters() if p.grad is not None])
        if most is not None:
            nn.utils.clip_grads_with_norm_(network.parameters(), most, norm)
        return norm

    def unlike_one(self, networks: Iterable[nn.Module]) -> str | None:
        """Return what is done otherwise than by one process with the whole batch; None: nothing."""
        return None


class DataParallel(Strategy):
    """Several processes, each with all weights and its share of every batch."""

    def __init__(self) -> None:
        self.count = int(os.environ["WORLD_SIZE"])
        self.launch = ("torchrun", f"--nproc-per-node={self.count}", "-m", "smalti")

    @contextmanager
    def joined(self, device: torch.device) -> Iterator[None]:
        """See Strategy. A command that has begun it keeps it: what it calls joins nothing more."""
        if dist.is_initialized():
            yield
            return
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        try:
            yield
        finally:
            dist.destroy_process_group()

    def wrap(self, module: nn.Module) -> nn.Module:
        """See Strategy."""
        from torch.nn.parallel import DistributedDataParallel

        # torch from 2.13 on warns of the name that 2.11 has
        known = signature(DistributedDataParallel.__init__).parameters
        name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        quiet: dict[str, Any] = {name: False}
        return DistributedDataParallel(module, **quiet)

    def inner(self, wrapped: nn.Module) -> nn.Module:
        """See Strategy."""
        return wrapped.module  # type: ignore[return-value]  # which `wrap` gave it

    @contextmanager
    def unsynchronised(self, modules: Iterable[nn.Module]) -> Iterator[None]:
        """See Strategy."""
        with ExitStack() as stack:
            for module in modules:
                stack.enter_context(module.no_sync())  # type: ignore[operator]  # which `wrap` gave it
            yield

    def average(self, tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        """See Strategy."""
        total = tensor.detach().clone()
        dist.all_reduce(total)
        return total / self.count

    def gather(self, rows: Shaped[Tensor, "b ..."]) -> Shaped[Tensor, "all_b ..."]:
        """See Strategy."""
        parts = [torch.empty_like(rows) for _ in range(self.count)]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    def collect(self, thing: T) -> list[T]:
        """See Strategy."""
        things: list[Any] = [None] * self.count
        dist.all_gather_object(things, thing)
        return things

    def share(self, tensors: Iterable[Tensor]) -> None:
        """See Strategy."""
        for tensor in tensors:
            dist.broadcast(tensor, 0)

    def unlike_one(self, networks: Iterable[nn.Module]) -> str | None:
        """See Strategy."""
        modules = [module for network in networks for module in network.modules()]
        if not any(isinstance(module, nn.BatchNorm2d) for module in modules):
            return None
        return (
            f"each of {self.count} processes normalises with the batch statistics of its own images "
            "(BatchNorm of the discriminator); losses.adversarial.patchgan.norm=act has none"
        )


def blocks(network: nn.Module) -> list[nn.Module]:
    """Return the blocks of a network, in their order."""
    return [module for module in network.modules() if getattr(module, "is_block", False)]


_several: ContextVar[type[DataParallel]] = ContextVar("several", default=DataParallel)


def current() -> Strategy:
    """Return that of this process, by what torchrun has put into its environment, and by `several_as`."""
    return _several.get()() if int(os.environ.get("WORLD_SIZE", "1")) > 1 else Strategy()


@contextmanager
def several_as(way: type[DataParallel]) -> Iterator[None]:
    """Within, several processes share their work in this way."""
    before = _several.set(way)
    try:
        yield
    finally:
        _several.reset(before)


def choose(device: str) -> torch.device:
    """Return the device of this process: see `devices.find`. Of several GPUs each process has its own.

    Raises UserError for one that torch cannot use here.
    """
    found = devices.find(device)
    if found.type != "cuda" or found.index is not None:
        return found
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
