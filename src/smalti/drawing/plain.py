"""A canvas as large as the window: places in the prior's order, each fed to a cache."""

import torch
from jaxtyping import Int64
from torch import Tensor

from smalti.drawing import parallel
from smalti.drawing.canvas import Canvas
from smalti.drawing.choice import choose
from smalti.drawing.guidance import Scorer


def draw(scorer: Scorer, canvas: Canvas) -> Int64[Tensor, "b h w"]:
    """Lay the unknown cells of canvases as large as the window, in any order."""
    assert canvas.grid == canvas.window, f"a canvas of {canvas.grid} through a window of {canvas.window}"
    sequence = canvas.codes.flatten(1)[:, canvas.order]  # b n, a copy
    known = canvas.known.flatten()[canvas.order.cpu()].tolist()
    if all(known):
        canvas.progress(sequence.numel())
    else:
        fill = _fill if canvas.parallel == 1 else parallel.fill
        fill(scorer, canvas, sequence, known)
    codes = torch.empty_like(sequence)
    codes[:, canvas.order] = sequence
    return codes.view(canvas.codes.shape)


def _fill(scorer: Scorer, canvas: Canvas, sequence: Tensor, known: list[bool]) -> None:
    """Draw every place that is not known, one by one; a known one is only fed."""
    batch, n = sequence.shape
    first = known.index(False)
    last = n - 1 - known[::-1].index(False)
    cache = scorer.new_cache(batch)
    scores = scorer.next(sequence[:, :first], scorer.prefix([(0, 0)], canvas.window), cache)
    canvas.progress(first * batch)
    for place in range(first, last + 1):
        if not known[place]:
            cells = canvas.order[place].expand(batch)
            sequence[:, place] = choose(scores, canvas.seeds, cells, canvas.choice)
        if place < last:
            scores = scorer.step(sequence[:, place], cache)
        canvas.progress(batch)
    canvas.progress((n - 1 - last) * batch)
