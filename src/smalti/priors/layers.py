"""Layers that are quick for few rows on a CPU, as when codes are drawn one by one or in fronts."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TURNED_TO = 64  # rows of bfloat16 that are quicker as (W x^T)^T
CUT_FROM, SMALL_TO, CUT_TO = 4, 14, 48  # rows of float32 that are quicker by pieces of the weights
PIECE = 64 * 1024  # weights of a piece at least, up to SMALL_TO rows: MKL takes them from where they lie
PIECES = 8  # beyond SMALL_TO rows, where MKL copies weights first; weights too few for so many stay whole
ALONE = 4096  # numbers that one core computes faster than two agree on sharing them


class Linear(nn.Linear):
    """nn.Linear, up to rounding; same weights, same names.

    On a CPU without gradients, measured on two cores with AMX (torch 2.13, oneDNN 3.12, MKL): one row is
    quicker as a matrix times a vector. In bfloat16 few rows are quicker as (W x^T)^T, with the bias added
    after rounding; in float32 some rows are quicker by pieces of the output, by 6 to 30 %, than in the one
    product that MKL would share out (more cores were not tried).
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias)
        most = in_features * out_features // PIECE
        self.pieces = next((n for n in (32, 16, PIECES) if n <= most and out_features % n == 0), 1)

    def forward(self, x: Tensor) -> Tensor:
        """... i -> ... o."""
        weight, bias, rows = self.weight, self.bias, x.numel() // self.in_features
        if (
            not 0 < rows <= TURNED_TO
            or x.dtype is not weight.dtype
            or not x.is_cpu
            or torch.is_grad_enabled()
        ):
            return F.linear(x, weight, bias)
        if rows == 1 and x.dtype in (torch.float32, torch.bfloat16):
            found = torch.mv(weight, x.reshape(-1))
        elif x.dtype is torch.bfloat16:
            # laid out as any output is: with other strides attention would take its slow, unfused way
            found = torch.mm(weight, x.reshape(rows, -1).t()).t().contiguous()
        elif x.dtype is torch.float32 and self.pieces > 1 and CUT_FROM <= rows <= CUT_TO:
            found = self._in_pieces(x.reshape(rows, -1))
        else:
            return F.linear(x, weight, bias)
        if bias is not None:
            found.add_(bias)
        return found.view(*x.shape[:-1], -1)

    def _in_pieces(self, rows: Tensor) -> Tensor:
        count = self.pieces if len(rows) <= SMALL_TO else PIECES
        pieces = self.weight.view(count, -1, self.in_features).transpose(1, 2)
        found = torch.bmm(rows.expand(count, -1, -1), pieces)
        return found.transpose(0, 1).reshape(len(rows), -1)


class LayerNorm(nn.LayerNorm):
    """nn.LayerNorm without the checks that take longer than a row does."""

    def forward(self, x: Tensor) -> Tensor:
        """... w -> ... w."""
        return torch.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


class GELU(nn.Module):
    """The exact GELU, up to rounding: a short row in float32 is not shared between cores."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape in and out."""
        if x.numel() > ALONE or x.dtype is not torch.float32 or not x.is_cpu or torch.is_grad_enabled():
            return F.gelu(x)
        return torch.addcmul(x, x, torch.erf(x * math.sqrt(0.5))).mul_(0.5)


class Dropout(nn.Dropout):
    """nn.Dropout that costs no call where nothing is dropped: codes are drawn one by one."""

    def __call__(self, x: Tensor) -> Tensor:
        """Any shape in and out."""
        found: Tensor = super().__call__(x) if self.training else x
        return found
