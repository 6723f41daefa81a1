"""What is to be generated: b canvases of one size, and the progress of the work on them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from smalti.tokens import noise
from smalti.tokens.choice import Choice


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """b canvases of h x w cells, partly or not at all generated."""

    codes: Int64[Tensor, "b h w"]  # where known; what stands elsewhere is never read
    known: Bool[Tensor, "h w"]  # cells that keep their code; on the CPU
    seeds: Int64[Tensor, " b"]  # of each image
    window: tuple[int, int]  # rows and columns that the prior looks through, at most h and w
    order: Int64[Tensor, " n"]  # row-major cell of place 0 .. n - 1 of the window
    choice: Choice
    speculative: int = 1  # positions drawn in a pass through a window, by guesses; 1: one by one
    shift: int = 0  # 1: windows begin (side - 1) // 2 cells before the cell that is drawn, 0: side // 2
    stride: int = 1  # cells by which windows move, at most half a window
    how: Any = None  # the prior's own options, see `Prior.options`
    # told how many cells more are done, of all canvases
    progress: Callable[[int], object] = lambda count: None

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w)."""
        return self.codes.shape[1], self.codes.shape[2]

    def keys(self, positions: Int64[Tensor, "b p"], round: int = 0) -> Int64[Tensor, "b p"]:
        """Return the keys of the noise at positions in a round."""
        if round:
            return noise.keys(self.seeds[:, None], positions + round * self.known.numel())
        return self._first.gather(1, positions)

    @cached_property
    def _first(self) -> Int64[Tensor, "b n"]:
        """Return keys of the first round: made once, as few calls are what a small prior's step costs."""
        return noise.keys(self.seeds[:, None], torch.arange(self.known.numel(), device=self.seeds.device))
