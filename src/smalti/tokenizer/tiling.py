"""Images of any size in bounded memory: tile by tile, neighbours faded into one another where they overlap.

What it changes. The networks are not local: each group norm takes its mean and variance over the whole
image, and attention sees every cell. A tile has its own, so that the result is another one, however wide
the overlap. The demo's tokenizer, trained on crops of 8x8 cells, gives its photographs other codes in tiles
of 16 cells (36 % are equal), but is no further from them: 25.3 dB, and 24.3 in one piece. Tiles as small as
the crops show: colours shift at 8 cells, and edges of tiles are seen at 4 (experiments/tiles.py). An image
of one tile is not changed at all. Fading hides the seams that would else be seen in even areas.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Span(NamedTuple):
    """A tile's cells along one side: [begin, end), of which [first, last) is its own share."""

    begin: int
    end: int
    first: int
    last: int


def by_tiles(
    run: Callable[[Float[Tensor, "b e y x"]], Float[Tensor, "b o y2 x2"]],
    x: Float[Tensor, "b e H W"],
    *,
    cell: tuple[int, int],
    tile: int,
) -> Float[Tensor, "b o H2 W2"]:
    """Return what run gives for x, a tile of at most tile x tile cells at a time.

    cell: places a cell side in x and in what run gives, (16, 1) for an encoder and (1, 16) for a decoder of
    factor 16. A quarter of a tile on each inner side is shared with its neighbour, where the weight of one
    falls linearly as that of the other rises.
    """
    before, after = cell
    rows, columns = (list(spans(side // before, tile)) for side in x.shape[2:])
    if len(rows) == len(columns) == 1:
        return run(x)
    whole: Tensor | None = None
    for row in rows:
        for column in columns:
            part = x[:, :, row.begin * before : row.end * before, column.begin * before : column.end * before]
            found = run(part)
            found = found * _ramp(row, after).to(found)[:, None] * _ramp(column, after).to(found)
            if whole is None:
                sides = (side // before * after for side in x.shape[2:])
                whole = found.new_zeros(*found.shape[:2], *sides)
            place = slice(row.begin * after, row.end * after), slice(column.begin * after, column.end * after)
            whole[:, :, place[0], place[1]] += found
    assert whole is not None, "an image has a tile"
    return whole


def spans(cells: int, tile: int) -> Iterator[Span]:
    """Return tiles along a side of so many cells: as even as can be, none of more than `tile` cells."""
    count = 1 if cells <= tile else -(-cells // (tile - 2 * (tile // 4)))
    shared = min(tile // 4, cells // count // 2)  # on each inner side; a place lies in two tiles at most
    edges = [cells * number // count for number in range(count + 1)]
    for first, last in pairwise(edges):
        yield Span(max(0, first - shared), min(cells, last + shared), first, last)


def _ramp(span: Span, scale: int) -> Float[Tensor, " n"]:
    """Return the weights of a tile's places along a side; with its neighbours' they add up to 1."""
    places = torch.arange(span.begin * scale, span.end * scale) + 0.5
    weights = torch.ones_like(places)
    if span.begin < span.first:
        weights = weights.minimum((places - span.begin * scale) / (2 * (span.first - span.begin) * scale))
    if span.end > span.last:
        weights = weights.minimum((span.end * scale - places) / (2 * (span.end - span.last) * scale))
    return weights
