"""The sampler for a canvas, and what it can be told: all give the same codes, up to rounding."""

import torch
from jaxtyping import Int64
from torch import Tensor

from smalti.drawing import band, plain, standing, wavefront
from smalti.drawing.canvas import Canvas
from smalti.drawing.guidance import Scorer
from smalti.drawing.request import Request
from smalti.errors import UserError
from smalti.priors.layers import drawing
from smalti.priors.protocol import Local, Prior


def draw(scorer: Scorer, canvas: Canvas) -> Int64[Tensor, "b h w"]:
    """Lay the unknown cells: with a cache where the canvas is one window, else with a window that moves.

    A canvas is at least as large as the window; it is equally large if the prior's order is not row by row.
    Under a prior whose cells see only cells near them nothing moves, and a canvas has any size. UserError if
    scores leave the range of fp16.
    """
    with drawing(scorer.prior):
        codes = _laid(scorer, canvas)
    scorer.check()
    return codes


def check(request: Request, prior: Prior, grid: tuple[int, int], crop: tuple[int, int], factor: int) -> None:
    """UserError for a stride or a `parallel` above 1 that the sampler for such a canvas has no use for.

    grid, crop: cells of the canvas and of a training crop, which is the window; factor: pixels a cell side.
    """
    most = longest_stride(prior, crop)
    if isinstance(prior, Local):
        why, one_by_one = "a prior of kind neighbourhood has no window that moves", False
        expected, got = "parallel=1, as this prior lays many cells at once anyway", str(request.parallel)
    else:
        why = "half of this model's window of {} x {} cells".format(*crop)
        one_by_one = grid == crop
        window, got = (f"{height * factor} x {width * factor}" for height, width in (crop, grid))
        expected = f"a canvas of one window, {window} pixels, for parallel above 1"
    if request.stride > most:
        raise UserError(f"a stride of at most {most}: {why}", str(request.stride), f"set stride={most}")
    if request.parallel > 1 and not one_by_one:
        raise UserError(expected, got, "leave parallel out")


def longest_stride(prior: Prior, crop: tuple[int, int]) -> int:
    """Cells by which a window may move at the most: half the smaller side of the training crop, in cells."""
    return 1 if isinstance(prior, Local) else max(1, min(crop) // 2)


def together(
    prior: Prior, grid: tuple[int, int], window: tuple[int, int], *, stride: int = 1, shift: int = 0
) -> int:
    """Rows of a batch that one canvas stands for: windows that are seen or held at once, at the most.

    Not counted are caches of a moving window, at borders or of prefixes, which have a bound of their own.
    """
    if isinstance(prior, Local):
        return band.together(grid, window, prior)
    if stride == 1:
        return wavefront.together(grid, window)
    return standing.together(grid, window, stride, shift)


def _laid(scorer: Scorer, canvas: Canvas) -> Int64[Tensor, "b h w"]:
    if isinstance(scorer.prior, Local):
        return band.draw(scorer, canvas, scorer.prior)
    if canvas.grid == canvas.window:
        return plain.draw(scorer, canvas)
    sides = zip(canvas.grid, canvas.window, strict=True)
    assert all(size >= side for size, side in sides), f"{canvas.grid} is smaller than {canvas.window}"
    in_rows = torch.equal(canvas.order.cpu(), torch.arange(len(canvas.order)))
    assert in_rows, "a moving window needs codes in row-major order"
    return wavefront.draw(scorer, canvas) if canvas.stride == 1 else standing.draw(scorer, canvas)
