"""A linear layer that is quick for few rows on a CPU, as when codes are drawn one by one or in fronts."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEW = 64  # rows up to which the weights' way to the processor is what costs
PIECES = 8  # of the weights in float32, each a product of its own
LARGE = 512 * 1024  # weights that are worth it, from SOME to MANY rows
SOME, MANY = 4, 48


class Linear(nn.Linear):
    """nn.Linear, up to rounding; same weights, same names.

    On a CPU without gradients, measured on two cores with AMX (torch 2.13, oneDNN 3.12, MKL):
    in bfloat16 few rows are quicker as (W x^T)^T, with the bias added after rounding; in float32 some rows
    are quicker by pieces of the output, by 6 to 30 %, than in the one product that MKL would share out (more
    cores were not tried).
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias)
        self.is_large = in_features * out_features >= LARGE and out_features % PIECES == 0

    def forward(self, x: Tensor) -> Tensor:
        """... i -> ... o."""
        weight, rows = self.weight, x.numel() // self.in_features
        if weight.dtype == torch.bfloat16:
            is_quicker = 0 < rows <= FEW and x.dtype == torch.bfloat16
        else:
            is_quicker = self.is_large and SOME <= rows <= MANY and weight.dtype == torch.float32
        if not is_quicker or torch.is_grad_enabled() or x.device.type != "cpu":
            return F.linear(x, weight, self.bias)
        way = self._turned if weight.dtype == torch.bfloat16 else self._in_pieces
        return way(x.reshape(rows, -1)).view(*x.shape[:-1], -1)

    def _turned(self, rows: Tensor) -> Tensor:
        if len(rows) == 1:
            found = torch.mv(self.weight, rows[0])
        else:  # laid out as any output is: with other strides attention would take its slow, unfused way
            found = torch.mm(self.weight, rows.t()).t().contiguous()
        return found if self.bias is None else found.add_(self.bias)

    def _in_pieces(self, rows: Tensor) -> Tensor:
        pieces = self.weight.view(PIECES, -1, self.in_features).transpose(1, 2)
        same = rows.expand(PIECES, -1, -1)
        if self.bias is None:
            found = torch.bmm(same, pieces)
        else:
            found = torch.baddbmm(self.bias.view(PIECES, 1, -1), same, pieces)
        return found.transpose(0, 1).reshape(len(rows), -1)


class Dropout(nn.Dropout):
    """nn.Dropout that costs no call where nothing is dropped: codes are drawn one by one."""

    def __call__(self, x: Tensor) -> Tensor:
        """Any shape in and out."""
        found: Tensor = super().__call__(x) if self.training else x
        return found
