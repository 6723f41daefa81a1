"""Many images in batches of few: which rows go together."""

import torch
from jaxtyping import Int64
from torch import Tensor


def split(num: int, size: int, device: torch.device, *, padded: bool) -> list[Int64[Tensor, " r"]]:
    """Return row numbers 0 .. num - 1 in batches of size.

    padded: the last batch is filled up with the last row.
    """
    batches = [torch.arange(first, first + size, device=device) for first in range(0, num, size)]
    if padded:
        return [rows.clamp(max=num - 1) for rows in batches]
    return [rows[rows < num] for rows in batches]
