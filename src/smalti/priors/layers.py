"""Layers that are quick on a CPU while canvases are drawn: code by code, in fronts, or window by window."""

import platform
from copy import copy
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smalti.precision import computes_bf16, has_amx

M = TypeVar("M", bound=nn.Module)
ROWS = 64  # that oneDNN is told of when it lays weights out: from 2 up one layout serves 1 to 256 (on Zen 4)
# Of a prior with so few weights that a core's caches hold them: rows * inputs * outputs up to which torch's
# own call is quicker in fp32: oneDNN's takes some 10 us to begin (Zen 5, torch 2.13)
CACHED, FEW = 2**21, 2**18


class Linear(nn.Linear):
    """nn.Linear, same weights, same names; `pack` puts a quick one in its place.

    then_gelu: results go through the exact GELU.
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, then_gelu: bool = False
    ) -> None:
        super().__init__(in_features, out_features, bias)
        self.then_gelu = then_gelu

    def forward(self, x: Tensor) -> Tensor:
        """... i -> ... o."""
        found = F.linear(x, self.weight, self.bias)
        return F.gelu(found) if self.then_gelu else found


def pack(module: M) -> M:
    """Return a twin that shares its weights, with quick linear layers on an x86 CPU, for one drawing.

    The weights must not change while it is used, and it has no gradients. oneDNN gets them laid out as it
    reads them best: a second copy, that goes with the twin. The products of a step of 12 layers x 512 then
    take 0.4 to 0.6 of their time in fp32, 0.4 to 0.7 in bf16 (AMD EPYC without AMX, two cores, torch 2.13, 1
    to 64 rows). Results are the same up to rounding.
    """
    mkldnn, is_x86 = torch.backends.mkldnn, platform.machine() in ("x86_64", "AMD64")
    serves = is_x86 and mkldnn.is_available() and mkldnn.enabled  # type: ignore[no-untyped-call]
    if not serves or torch.is_autocast_enabled("cpu"):  # which would reach but a part of the products
        return module
    types = [torch.float32, torch.bfloat16] if computes_bf16(torch.device("cpu")) else [torch.float32]
    layers = (part for part in module.modules() if isinstance(part, Linear))
    served = {part for part in layers if part.weight.is_cpu and part.weight.dtype in types}
    few = FEW if sum(part.weight.numel() for part in served) <= CACHED else 0
    packed = {part: Packed(part, few=few, amx=has_amx()) for part in served}

    def twin(part: Any) -> Any:
        if part in packed:
            return packed[part]
        found = copy(part)
        found._modules = {name: inner and twin(inner) for name, inner in part._modules.items()}
        found.__dict__ |= {**part._parameters, **part._buffers, **found._modules}  # found without a search
        return found

    return twin(module)


class Packed(nn.Module):
    """A `Linear` in a drawing, and its weights as oneDNN reads them, from their first use on."""

    def __init__(self, layer: Linear, *, few: int, amx: bool) -> None:
        super().__init__()
        self.inside, self.then_gelu = layer.in_features, layer.then_gelu
        self.weight = layer.weight.detach()  # tensors, not parameters: found without a search
        self.bias = None if layer.bias is None else layer.bias.detach()
        is_fp32 = self.weight.dtype is torch.float32
        self.few = few // layer.out_features if is_fp32 else 0
        self.amx = amx and is_fp32
        self.packed: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """... i -> ... o, by operations that torch keeps for its compiler, the same in 2.11 to 2.13."""
        numbers = x.numel()
        if self.amx and numbers == self.inside:
            row = torch.mv(self.weight, x.reshape(-1)).view(*x.shape[:-1], -1)
            return self._finish(row if self.bias is None else row.add_(self.bias))
        if numbers <= self.few:
            return self._finish(F.linear(x, self.weight, self.bias))
        if self.packed is None:
            self.packed = torch.ops.mkldnn._reorder_linear_weight(self.weight, ROWS)
        then, how = ("gelu", "none") if self.then_gelu else ("none", "")  # of GELU the exact one
        found: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, then, [], how)
        return found

    def _finish(self, found: Tensor) -> Tensor:
        return F.gelu(found) if self.then_gelu else found


class RMSNorm(nn.RMSNorm):
    """nn.RMSNorm without the checks that take longer than a row does."""

    def forward(self, x: Tensor) -> Tensor:
        """... w -> ... w."""
        return torch.rms_norm(x, self.normalized_shape, self.weight, self.eps)


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
