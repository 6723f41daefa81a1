"""Layers that are quick on a CPU while canvases are drawn: code by code, in fronts, or window by window."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smalti.precision import computes_bf16, has_amx

ROWS = 64  # that oneDNN is told of when it lays weights out: from 2 up one layout serves 1 to 256 (on Zen 4)


class Linear(nn.Linear):
    """nn.Linear, same weights, same names; within `drawing` its results are the same up to rounding.

    then_gelu: results go through the exact GELU.
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, then_gelu: bool = False
    ) -> None:
        super().__init__(in_features, out_features, bias)
        self.then_gelu = then_gelu

    def forward(self, x: Tensor) -> Tensor:
        """... i -> ... o."""
        drawn = _DRAWN.get()
        if drawn is not None and drawn.serves(self, x):
            return drawn.product(self, x)
        return self.finish(F.linear(x, self.weight, self.bias))

    def finish(self, found: Tensor) -> Tensor:
        """Return what follows the product, where that did not do it."""
        return F.gelu(found) if self.then_gelu else found


@contextmanager
def drawing(prior: object) -> Iterator[None]:
    """Within it, on this thread, linear layers of a prior on an x86 CPU are quick; weights must not change.

    oneDNN gets the weights laid out as it reads them best: a second copy, freed at the end. The products of a
    step of 12 layers x 512 then take 0.4 to 0.6 of their time in fp32, 0.4 to 0.7 in bf16 (AMD EPYC without
    AMX, two cores, torch 2.13, 1 to 64 rows). One row of fp32 needs no such layout: weights are read as they
    are, with AMX as a matrix times a vector, which was quicker there; the rest was not measured with AMX.
    Autocast does not reach these layers.
    """
    before = _DRAWN.set(_Drawn(_layers(prior), has_amx()))
    try:
        yield
    finally:
        _DRAWN.reset(before)


@dataclass(frozen=True)
class _Drawn:
    """The layers of one drawing, and their weights as oneDNN reads them, from their first use on."""

    layers: frozenset[nn.Module]
    has_amx: bool
    packed: dict[nn.Module, Tensor] = field(default_factory=dict)

    def serves(self, layer: Linear, x: Tensor) -> bool:
        return layer in self.layers and x.dtype is layer.weight.dtype and not torch.is_grad_enabled()

    def product(self, layer: Linear, x: Tensor) -> Tensor:
        """Multiply by operations that torch keeps for its compiler, with this signature in 2.11 to 2.13."""
        is_as_it_lies = x.numel() == layer.in_features and x.dtype is torch.float32
        if is_as_it_lies and self.has_amx:
            alone = torch.mv(layer.weight, x.reshape(-1)).view(*x.shape[:-1], -1)
            return layer.finish(alone if layer.bias is None else alone.add_(layer.bias))
        weight = layer.weight if is_as_it_lies else self._packed(layer)
        then, how = ("gelu", "none") if layer.then_gelu else ("none", "")  # of GELU the exact one
        found: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, layer.bias, then, [], how)
        return found

    def _packed(self, layer: Linear) -> Tensor:
        if layer not in self.packed:
            self.packed[layer] = torch.ops.mkldnn._reorder_linear_weight(layer.weight, ROWS)
        return self.packed[layer]


_DRAWN: ContextVar[_Drawn | None] = ContextVar("drawn", default=None)  # of a thread, not of the process


def _layers(prior: object) -> frozenset[nn.Module]:
    """Return the types whose products oneDNN computes here."""
    mkldnn = torch.backends.mkldnn
    is_x86 = platform.machine() in ("x86_64", "AMD64")
    if not (isinstance(prior, nn.Module) and is_x86 and mkldnn.is_available() and mkldnn.enabled):  # type: ignore[no-untyped-call]
        return frozenset()
    types = [torch.float32, torch.bfloat16] if computes_bf16(torch.device("cpu")) else [torch.float32]
    layers = (part for part in prior.modules() if isinstance(part, Linear))
    return frozenset(layer for layer in layers if layer.weight.is_cpu and layer.weight.dtype in types)


class LayerNorm(nn.LayerNorm):
    """nn.LayerNorm without the checks that take longer than a row does."""

    def forward(self, x: Tensor) -> Tensor:
        """... w -> ... w."""
        return torch.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


class Dropout(nn.Dropout):
    """nn.Dropout that costs no call where nothing is dropped: codes are drawn one by one."""

    def __call__(self, x: Tensor) -> Tensor:
        """Any shape in and out."""
        found: Tensor = super().__call__(x) if self.training else x
        return found
