"""What the tests of drawing share: the rule in its plainest form, and the house's own way."""

from typing import Any, NamedTuple

import torch

from smalti.drawing import loop
from smalti.drawing.canvas import Canvas
from smalti.drawing.guidance import Guided, Weighted
from smalti.drawing.plan import begin
from smalti.heads.categorical import Categorical
from smalti.tokens.choice import choose
from smalti.tokens.noise import keys


class Drawing(NamedTuple):
    """A prior and the condition that it draws under."""

    prior: Any
    guided: Guided


def drawing(prior, prompt, **more) -> Drawing:
    scale = more.pop("scale", 1.0)
    null = more.pop("null", None) if scale != 1 else None
    return Drawing(prior, Guided([Weighted(prompt, scale)], null=null, limit=more["limit"]))


def draw(scored: Drawing, canvas: Canvas) -> torch.Tensor:
    """As the house does it."""
    return loop.draw(scored.prior.decoder(scored.guided, canvas), canvas, Categorical())


class Cell(NamedTuple):
    """A cell of a canvas and the window through which the prior sees it."""

    row: int
    column: int
    top: int  # first row of the window
    left: int  # its first column
    place: int  # row-major number of the cell inside the window


def locate(row, column, grid, window, shift=0, stride=1) -> Cell:
    top, left = (
        begin(at, size, side, shift=shift, stride=stride)
        for at, size, side in zip((row, column), grid, window, strict=True)
    )
    return Cell(row, column, top, left, (row - top) * window[1] + column - left)


def cell_by_cell(scored: Drawing, canvas: Canvas) -> torch.Tensor:
    """The rule of arXiv:2012.09841, section 3.3: a pass for each unknown cell, without a cache.

    Row by row; a canvas of one window in the prior's order.
    """
    (height, width), (rows, columns) = canvas.grid, canvas.window
    codes, places = canvas.codes.clone(), canvas.order.argsort()
    order = canvas.order.tolist() if canvas.grid == canvas.window else range(height * width)
    canvas.progress(int(canvas.known.sum()) * len(codes))
    for number in order:
        row, column = divmod(number, width)
        if canvas.known[row, column]:
            continue
        cell = locate(row, column, canvas.grid, canvas.window, canvas.shift, canvas.stride)
        window = codes[:, cell.top : cell.top + rows, cell.left : cell.left + columns]
        seen = window.flatten(1)[:, canvas.order[: places[cell.place]]]
        prefix = scored.guided.prefix([(cell.top, cell.left)], canvas.window)
        logits = scored.prior.prefill(scored.guided.repeated(seen), prefix)
        logits = scored.guided(logits[:, None], torch.tensor([[number]]))[:, 0]
        drawn = choose(logits, keys(canvas.seeds, torch.tensor(number)), canvas.choice)
        codes[:, row, column] = drawn
        canvas.progress(len(codes))
    return codes
