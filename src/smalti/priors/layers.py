"""Layers that are quick on a CPU while canvases are drawn: code by code, in fronts, or window by window."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smalti.precision import computes_bf16, has_amx, is_x86

ROWS = 64  # that oneDNN is told of when it lays weights out: what it gives for 2 or more serves any number


class Linear(nn.Linear):
    """nn.Linear, same weights, same names; while `drawing` its results are the same up to rounding.

    then_gelu: results go through the exact GELU.
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, then_gelu: bool = False
    ) -> None:
        super().__init__(in_features, out_features, bias)
        self.then_gelu, self.is_drawing = then_gelu, False
        self.packed: Tensor | None = None  # the weights as oneDNN reads them, from their first use on

    def forward(self, x: Tensor) -> Tensor:
        """... i -> ... o."""
        weight, bias = self.weight, self.bias
        if not self.is_drawing or x.dtype is not weight.dtype:
            found = F.linear(x, weight, bias)
        elif x.numel() == self.in_features and x.dtype is torch.float32 and has_amx():
            found = torch.mv(weight, x.reshape(-1)).view(*x.shape[:-1], -1)
            found = found if bias is None else found.add_(bias)
        else:
            if self.packed is None:
                self.packed = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)
            then, how = ("gelu", "none") if self.then_gelu else ("none", "")  # of GELU the exact one
            fused: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.packed, bias, then, [], how)
            return fused
        return F.gelu(found) if self.then_gelu else found


@contextmanager
def drawing(prior: object) -> Iterator[None]:
    """Within it the linear layers of a prior on a CPU are quick, and their weights stay as they are.

    oneDNN gets the weights laid out as it reads them best, as torch's compiler does it: a second copy, freed
    at the end. The products of a step of 12 layers x 512 then take 0.3 to 0.6 of their time in fp32, 0.4 to
    0.7 in bf16 (AMD EPYC without AMX, two cores, torch 2.13, 1 to 64 rows). On Intel with AMX one row of fp32
    is quicker as a matrix times a vector. On other processors and devices nothing is changed.
    """
    parts = prior.modules() if isinstance(prior, nn.Module) else ()
    layers = [part for part in parts if isinstance(part, Linear) and part.weight.is_cpu]
    packs = is_x86() and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    types = [torch.float32, torch.bfloat16] if computes_bf16(torch.device("cpu")) else [torch.float32]
    for layer in layers:
        layer.is_drawing = packs and layer.weight.dtype in types
    try:
        yield
    finally:
        for layer in layers:
            layer.is_drawing, layer.packed = False, None


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
