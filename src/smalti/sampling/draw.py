"""The sampler for a canvas: all of them give the same codes, up to rounding."""

import torch
from jaxtyping import Int64
from torch import Tensor

from smalti.sampling import plain, wavefront
from smalti.sampling.canvas import Canvas
from smalti.sampling.guidance import Scorer


def draw(scorer: Scorer, canvas: Canvas) -> Int64[Tensor, "b h w"]:
    """Lay the unknown cells: with a cache where the canvas is one window, else with a window that moves.

    A canvas is at least as large as the window; it is equally large if the prior's order is not row by row.
    """
    if canvas.grid == canvas.window:
        return plain.draw(scorer, canvas)
    sides = zip(canvas.grid, canvas.window, strict=True)
    assert all(size >= side for size, side in sides), f"{canvas.grid} is smaller than {canvas.window}"
    in_rows = torch.equal(canvas.order.cpu(), torch.arange(len(canvas.order)))
    assert in_rows, "a moving window needs codes in row-major order"
    return wavefront.draw(scorer, canvas)
