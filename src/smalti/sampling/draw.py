"""The sampler for a canvas: all of them give the same codes, up to rounding."""

import torch
from jaxtyping import Int64
from torch import Tensor

from smalti.priors.protocol import Local, Prior
from smalti.sampling import band, plain, standing, wavefront
from smalti.sampling.canvas import Canvas
from smalti.sampling.guidance import Scorer


def draw(scorer: Scorer, canvas: Canvas) -> Int64[Tensor, "b h w"]:
    """Lay the unknown cells: with a cache where the canvas is one window, else with a window that moves.

    A canvas is at least as large as the window; it is equally large if the prior's order is not row by row.
    Under a prior whose cells see only cells near them nothing moves, and a canvas has any size.
    """
    if isinstance(scorer.prior, Local):
        return band.draw(scorer, canvas, scorer.prior.radius)
    if canvas.grid == canvas.window:
        return plain.draw(scorer, canvas)
    sides = zip(canvas.grid, canvas.window, strict=True)
    assert all(size >= side for size, side in sides), f"{canvas.grid} is smaller than {canvas.window}"
    in_rows = torch.equal(canvas.order.cpu(), torch.arange(len(canvas.order)))
    assert in_rows, "a moving window needs codes in row-major order"
    return wavefront.draw(scorer, canvas) if canvas.stride == 1 else standing.draw(scorer, canvas)


def together(
    prior: Prior, grid: tuple[int, int], window: tuple[int, int], *, stride: int = 1, shift: int = 0
) -> int:
    """The most cells of one canvas that go through the prior at once, or windows whose caches are held."""
    if isinstance(prior, Local):
        return band.together(grid, prior.radius)
    if stride == 1:
        return wavefront.together(grid, window)
    return standing.together(grid, window, stride, shift)
