"""A linear layer that is quick for few rows of bfloat16 on a CPU, as when codes are drawn one by one."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEW = 64  # rows up to which the weights' way to the processor is what costs


class Linear(nn.Linear):
    """nn.Linear, up to rounding; same weights, same names.

    For few rows of bfloat16 the product is taken as (W x^T)^T, and the bias added to it after rounding:
    measured quicker on a CPU with AMX (torch 2.13, oneDNN 3.12). In float32 nothing was gained by it.
    """

    def forward(self, x: Tensor) -> Tensor:
        """... i -> ... o."""
        if self.weight.dtype != torch.bfloat16 or not self._turned(x):
            return F.linear(x, self.weight, self.bias)
        rows = x.reshape(-1, x.shape[-1])
        if len(rows) == 1:
            found = torch.mv(self.weight, rows[0])
        else:  # laid out as any output is: with other strides attention would take its slow, unfused way
            found = torch.mm(self.weight, rows.t()).t().contiguous()
        if self.bias is not None:
            found.add_(self.bias)
        return found.view(*x.shape[:-1], -1)

    def _turned(self, x: Tensor) -> bool:
        """Whether the product is taken the other way round."""
        is_small = 0 < x.numel() <= FEW * x.shape[-1] and x.dtype == torch.bfloat16
        return is_small and x.device.type == "cpu" and not torch.is_grad_enabled()


class Dropout(nn.Dropout):
    """nn.Dropout that costs no call where nothing is dropped: codes are drawn one by one."""

    def __call__(self, x: Tensor) -> Tensor:
        """Any shape in and out."""
        found: Tensor = super().__call__(x) if self.training else x
        return found
