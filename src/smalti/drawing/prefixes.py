"""Prefixes of windows, fed ahead for many windows in one pass: a step then feeds its cells' codes alone.

With a condition of many tokens, such as a map, each window has a prefix of its own, which does not hang on
what is laid. So of the 392 tokens that a cell in the middle of a canvas takes at 16x16 cells, 256 leave the
path on which one step waits for the other. Windows that cells share at the borders are fed once for each.
"""

from collections.abc import Iterator, Sequence

from jaxtyping import Int64
from torch import Tensor

from smalti.drawing.guidance import Scorer
from smalti.drawing.window import Cell
from smalti.priors.cache import Cache

STEPS = 4  # to feed ahead at once, at least: fewer do not repay the pass over their prefixes


def ahead(
    scorer: Scorer, codes: Int64[Tensor, "b h w"], steps: Sequence[list[Cell]], size: tuple[int, int]
) -> Iterator[tuple[list[Cell], Cache | None]]:
    """Each step's cells, with the prefixes of their windows (of this size) in a cache, good until the next.

    None where prefixes have one token, where there is no room for the caches of a few steps, and for cells of
    which one is the first of its window: its scores are those of the prefix itself.
    """
    most = max(map(len, steps), default=0)
    room = min(scorer.room(len(codes)), sum(map(len, steps)))  # windows
    if room < most * min(STEPS, len(steps)) or scorer.prefix([(0, 0)], size).shape[1] == 1:
        yield from ((cells, None) for cells in steps)
        return
    cache = scorer.new_cache(room * len(codes))
    for group in _groups(steps, room):
        ready = [cells for cells in group if all(cell.place for cell in cells)]
        prefixes = [scorer.prefix([(cell.top, cell.left) for cell in cells], size) for cells in ready]
        rows = iter(scorer.fill(cache, prefixes))
        for cells in group:
            yield cells, next(rows) if all(cell.place for cell in cells) else None


def _groups(steps: Sequence[list[Cell]], room: int) -> Iterator[list[list[Cell]]]:
    """Steps one after the other, as many as there is room for their windows."""
    group: list[list[Cell]] = []
    for cells in steps:
        if sum(map(len, group)) + len(cells) > room:
            yield group
            group = []
        group.append(cells)
    if group:
        yield group
