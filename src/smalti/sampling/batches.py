"""Many pictures in batches of few: which rows go together, and their prompt."""

from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor

from smalti.conditions.protocol import Prompt


@dataclass(frozen=True)
class Rows:
    """The prompt of some rows of a batch; itself a Prompt."""

    prompt: Prompt
    rows: Int64[Tensor, " r"]

    def window(self, top: int, left: int, height: int, width: int) -> Int64[Tensor, "r m"]:
        """The prefix of these rows for a window of the canvas, in cells."""
        return self.prompt.window(top, left, height, width)[self.rows]


def split(num: int, size: int, device: torch.device, *, padded: bool) -> list[Int64[Tensor, " r"]]:
    """Row numbers 0 .. num - 1 in batches of size; padded: the last batch is filled up with the last row."""
    batches = [torch.arange(first, first + size, device=device) for first in range(0, num, size)]
    if padded:
        return [rows.clamp(max=num - 1) for rows in batches]
    return [rows[rows < num] for rows in batches]
