"""Prefixes of windows, fed ahead for many windows in one pass: a step then feeds its cells' codes alone.

With a map as condition each window has a prefix of its own, as long as the window, and it does not hang on
what is laid. So of the 392 tokens that a cell in the middle of a canvas takes at 16x16 cells, 256 leave the
path on which one step waits for the other.
"""

from collections.abc import Iterable, Iterator

from jaxtyping import Int64
from torch import Tensor

from smalti.priors.cache import Cache
from smalti.sampling.guidance import Scorer
from smalti.sampling.window import MEMORY, Cell


def ahead(
    scorer: Scorer, codes: Int64[Tensor, "b h w"], steps: Iterable[list[Cell]], size: tuple[int, int]
) -> Iterator[tuple[list[Cell], Cache | None]]:
    """Each step's cells, with the prefixes of their windows (of this size) in a cache.

    None where a cell is the first of its window: its scores are those of the prefix itself.
    """
    batch = len(codes)
    room = max(1, MEMORY // max(1, scorer.new_cache(batch).nbytes))  # windows
    for group in _groups(steps, room):
        windows = [(cell.top, cell.left) for cells in group for cell in cells]
        cache = scorer.new_cache(len(windows) * batch)
        scorer.next(codes.new_empty(len(windows) * batch, 0), scorer.prefix(windows, size), cache)
        done = 0
        for cells in group:
            end = done + len(cells)
            is_first = any(cell.place == 0 for cell in cells)
            yield cells, None if is_first else scorer.part(cache, done * batch, end * batch)
            done = end


def _groups(steps: Iterable[list[Cell]], room: int) -> Iterator[list[list[Cell]]]:
    """Steps one after the other, as many as there is room for their windows; one at least."""
    group: list[list[Cell]] = []
    for cells in steps:
        if group and sum(map(len, group)) + len(cells) > room:
            yield group
            group = []
        group.append(cells)
    if group:
        yield group
