"""Several processes, each with its rows of all weights, gradients and moments (FSDP2, arXiv:2304.11277)."""

import copy
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, Shard

from smalti.strategy import DataParallel, Rows, blocks


class Sharded(DataParallel):
    """Of each weight every process holds some rows, one after the other; blocks are gathered while they run.

    `wrap` trains a twin of what it is given, whose own weights are empty from then on, but within `whole`.
    """

    is_sharded = True

    def wrap(self, module: nn.Module) -> nn.Module:
        """See Strategy."""
        # latents are views of others: nothing here writes to what a network gave
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view")
        kept = _kept_whole(module)
        twin = _without_weights(module, kept)
        device = next(module.parameters()).device
        how: dict[str, Any] = {
            "mesh": init_device_mesh(device.type, (self.count,)),
            "ignored_params": _kept_whole(twin),
        }
        for part in (*blocks(twin), twin):
            fully_shard(part, **how)
        given = dict(module.named_parameters())
        state = {
            name: nn.Parameter(self._sharded(given[name], like), requires_grad=like.requires_grad)
            for name, like in twin.named_parameters()
            if isinstance(like, DTensor)
        }
        twin.load_state_dict(state, strict=False, assign=True)
        for parameter in set(module.parameters()) - kept:
            _empty(parameter)
        return twin

    def inner(self, wrapped: nn.Module) -> nn.Module:
        """See Strategy."""
        return wrapped

    @contextmanager
    def unsynchronised(self, modules: Iterable[nn.Module]) -> Iterator[None]:
        """See Strategy."""
        sharded = [module for module in modules if isinstance(module, FSDPModule)]
        for module in sharded:
            module.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            for module in sharded:
                module.set_requires_gradient_sync(True)

    def finish_gradients(self, networks: Iterable[nn.Module]) -> None:
        """See Strategy."""
        for parameter in (p for network in networks for p in network.parameters()):
            if parameter.grad is not None and not isinstance(parameter.grad, DTensor):
                dist.all_reduce(parameter.grad)
                parameter.grad /= self.count

    def held(self, tensor: Tensor) -> Tensor:
        """See Strategy."""
        return tensor.to_local() if isinstance(tensor, DTensor) else tensor

    def rows(self, tensor: Tensor) -> Rows | None:
        """See Strategy."""
        if not isinstance(tensor, DTensor):
            return None
        each = -(-len(tensor) // self.count)  # as torch.chunk has it: the last have fewer, or none
        return min(self.rank * each, len(tensor)), len(tensor)

    @torch.no_grad()
    def load(self, network: nn.Module, state: Mapping[str, Tensor]) -> None:
        """See Strategy."""
        for name, own in network.state_dict().items():
            self.held(own).copy_(self.part(own, state[name]))

    def part(self, own: Tensor, whole: Tensor) -> Tensor:
        """See Strategy."""
        rows = self.rows(own)
        return whole if rows is None else whole.narrow(0, rows[0], len(self.held(own)))

    @contextmanager
    def whole(
        self, shown: nn.Module, trained: nn.Module, weights: Mapping[str, Tensor] | None
    ) -> Iterator[bool]:
        """See Strategy."""
        places, first = dict(shown.named_parameters()), self.rank == 0
        for name, parameter in trained.named_parameters():
            held = self.held(parameter) if weights is None else weights[name]
            full = held if self.rows(parameter) is None else self._gathered(held.detach(), len(parameter))
            if first:
                places[name].data = full.clone()
        buffers = dict(shown.named_buffers())
        for name, buffer in trained.named_buffers():
            buffers[name].copy_(buffer)
        try:
            yield first
        finally:
            for name, parameter in trained.named_parameters():
                if isinstance(parameter, DTensor):
                    _empty(places[name])

    def clip(self, network: nn.Module, most: float | None) -> Float[Tensor, ""]:
        """See Strategy."""
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        held = [self.held(gradient) for gradient in gradients]
        parts = [one for one, gradient in zip(held, gradients, strict=True) if one is not gradient]
        whole = [one for one, gradient in zip(held, gradients, strict=True) if one is gradient]
        squared = nn.utils.get_total_norm(parts).square()
        dist.all_reduce(squared)
        norm = (squared + nn.utils.get_total_norm(whole).square()).sqrt()
        if most is not None:
            torch._foreach_mul_(held, (most / (norm + 1e-6)).clamp(max=1.0))  # as torch clips
        return norm

    def _sharded(self, whole: Tensor, like: DTensor) -> DTensor:
        """Return this process's rows of a weight, as those of `like` are held, in memory of their own."""
        first, _ = self.rows(like) or (0, 0)
        own = (
            whole.detach().narrow(0, first, len(like.to_local())).clone(memory_format=torch.contiguous_format)
        )
        stride = like.stride()
        return DTensor.from_local(
            own, like.device_mesh, [Shard(0)], run_check=False, shape=like.shape, stride=stride
        )

    def _gathered(self, held: Tensor, rows: int) -> Tensor:
        """Return all rows of a tensor of which each process holds some."""
        each = -(-rows // self.count)
        padded = held.new_zeros(each, *held.shape[1:])
        padded[: len(held)] = held
        return self.gather(padded)[:rows]


def _kept_whole(network: nn.Module) -> set[nn.Parameter]:
    parts = (module for module in network.modules() if getattr(module, "is_kept_whole", False))
    return {parameter for part in parts for parameter in part.parameters()}


def _without_weights(module: nn.Module, kept: set[nn.Parameter]) -> nn.Module:
    """Return a twin whose weights, but for those kept, are on no device: they are never there twice."""
    memo: dict[int, Any] = {
        # whatever the layout: FSDP takes plain ones alone
        id(p): nn.Parameter(torch.empty(p.shape, dtype=p.dtype, device="meta"), requires_grad=p.requires_grad)
        for p in module.parameters()
        if p not in kept
    }
    return copy.deepcopy(module, memo)


def _empty(parameter: Tensor) -> None:
    """Give a weight's memory back."""
    parameter.data = parameter.data.new_empty(0)
