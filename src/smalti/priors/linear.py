"""A linear layer that is quick for few rows of bfloat16 on a CPU, as when codes are drawn one by one."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEW = 64  # rows up to which the weights' way to the processor is what costs


class Linear(nn.Linear):
    """nn.Linear, up to rounding; same weights, same names.

    For few rows of bfloat16 the product is taken as (W x^T)^T, and one row as two: measured quicker on a CPU
    with AMX (torch 2.13, oneDNN 3.12). In float32 a whole step gained nothing by it.
    """

    def forward(self, x: Tensor) -> Tensor:
        """... i -> ... o."""
        rows = x.numel() // x.shape[-1]
        if not self._turned(x, rows):
            return F.linear(x, self.weight, self.bias)
        columns = x.reshape(rows, -1).t()
        if rows == 1:
            columns = columns.expand(-1, 2).contiguous()
        if self.bias is None:
            found = torch.mm(self.weight, columns)
        else:
            found = torch.addmm(self.bias[:, None], self.weight, columns)
        return found[:, :rows].t().reshape(*x.shape[:-1], -1)

    def _turned(self, x: Tensor, rows: int) -> bool:
        """Whether the product is taken the other way round."""
        of_bfloat16 = x.dtype == self.weight.dtype == torch.bfloat16
        return of_bfloat16 and 0 < rows <= FEW and x.device.type == "cpu" and not torch.is_grad_enabled()
