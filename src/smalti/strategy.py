"""How a training runs, in one process or in several (torchrun): nothing else asks how many there are."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from inspect import signature
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from tqdm import tqdm

from smalti import devices

T = TypeVar("T")


class Strategy:
    """One process: most of what several must agree on is nothing. All processes call its methods together."""

    count = 1  # processes that train together
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
        """Return the module with gradients averaged over the processes."""
        return module

    @contextmanager
    def unsynchronised(self, modules: Iterable[nn.Module]) -> Iterator[None]:
        """Within, gradients stay in their process: for all but the last part of an accumulated batch.

        modules: what `wrap` gave.
        """
        yield

    def gather_state(self, module: nn.Module) -> dict[str, Tensor]:
        """Return the whole state of a module, in every process."""
        return module.state_dict()

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


def current() -> Strategy:
    """Return that of this process, by what torchrun has put into its environment."""
    return DataParallel() if int(os.environ.get("WORLD_SIZE", "1")) > 1 else Strategy()


def choose(device: str) -> torch.device:
    """Return the device of this process: see `devices.find`. Of several GPUs each process has its own.

    Raises UserError for one that torch cannot use here.
    """
    found = devices.find(device)
    if found.type != "cuda" or found.index is not None:
        return found
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
