"""One process or several (torchrun): who am I, and what do we share. For one all of this is nothing."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from inspect import signature
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor, nn
from tqdm import tqdm

from smalti.errors import UserError


def rank() -> int:
    """The number of this process, 0 .. world() - 1."""
    return int(os.environ.get("RANK", "0"))


def world() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def say(text: str) -> None:
    """Tell the person at the terminal, on stderr; process 0 alone does."""
    if rank() == 0:
        tqdm.write(text, file=sys.stderr)


def choose(device: str) -> torch.device:
    """The device of this process: "cpu", "cuda" or "auto" (CUDA where there is one).

    Raises UserError for "cuda" on a machine without.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("a CUDA device", "none that torch can use", "device=cpu, or a torch built for CUDA")
    if device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


@contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Within, the processes that torchrun started can talk."""
    if world() == 1:
        yield
        return
    import torch.distributed as dist

    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def distribute(module: nn.Module) -> nn.Module:
    """The module with gradients averaged over the processes; the module itself where there is one process."""
    if world() == 1:
        return module
    from torch.nn.parallel import DistributedDataParallel

    # torch from 2.13 on warns of the name that 2.11 has
    known = signature(DistributedDataParallel.__init__).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    quiet: dict[str, Any] = {name: False}
    return DistributedDataParallel(module, **quiet)


@contextmanager
def unsynchronised(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Within, gradients stay in their process: for all but the last part of an accumulated batch."""
    with ExitStack() as stack:
        for module in modules:
            no_sync = getattr(module, "no_sync", None)
            if no_sync is not None:
                stack.enter_context(no_sync())
        yield


def gather(rows: Shaped[Tensor, "b ..."]) -> Shaped[Tensor, "all_b ..."]:
    """The rows of all processes, in the same order everywhere. Every process has as many."""
    if world() == 1:
        return rows
    import torch.distributed as dist

    parts = [torch.empty_like(rows) for _ in range(world())]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


def share(tensors: Iterable[Tensor]) -> None:
    """Overwrite tensors with those of process 0. All processes give as many, of the same shapes."""
    if world() == 1:
        return
    import torch.distributed as dist

    for tensor in tensors:
        dist.broadcast(tensor, 0)


def unlike_one(networks: Iterable[nn.Module]) -> str | None:
    """What several processes do otherwise than one process with the whole batch; None: nothing."""
    modules = [module for network in networks for module in network.modules()]
    if world() == 1 or not any(isinstance(module, nn.BatchNorm2d) for module in modules):
        return None
    return (
        f"each of {world()} processes normalises with the batch statistics of its own pictures (BatchNorm of "
        "the critic); losses.adversarial.patchgan.norm=act has none"
    )
