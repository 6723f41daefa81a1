"""One pass over images: what is kept of each, computed batch by batch by all processes, in order."""

import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

from smalti import strategy

BATCH = 16  # images together: of every process, so that several compute exactly what one computes

T = TypeVar("T")
Rows = dict[str, Tensor]  # by name, with as many rows each as there are images


def over(
    count: int,
    load: Callable[[range], T],
    measure: Callable[[range, T], Mapping[str, Tensor]],
    what: str,
) -> Rows:
    """Return rows of all of `count` images, in every process: batch i is measured by process i mod count.

    load: opens a batch, while the one before it is measured. measure: gives a row an image. what: in words.
    """
    way = strategy.current()
    batches = [range(first, min(first + BATCH, count)) for first in range(0, count, BATCH)]
    own = range(way.rank, len(batches), way.count)
    found: dict[int, Mapping[str, Tensor]] = {}
    if way.rank == 0 and not sys.stderr.isatty():  # where no bar shows: this may take minutes
        tqdm.write(f"{what}: {count} images", file=sys.stderr)
    with tqdm(total=count, unit="image", desc=what, disable=way.rank != 0 or None) as bar:
        for number, loaded in zip(own, _ahead(load, [batches[one] for one in own]), strict=True):
            with torch.no_grad():
                found[number] = {k: v.cpu() for k, v in measure(batches[number], loaded).items()}
            bar.update(min(len(batches[number]) * way.count, count - bar.n))
    whole = {number: rows for part in way.collect(found) for number, rows in part.items()}
    names = whole[0] if whole else {}
    return {name: torch.cat([whole[number][name] for number in range(len(batches))]) for name in names}


def _ahead(load: Callable[[range], T], batches: list[range]) -> Iterator[T]:
    """Load batches, each while the one before it is used: one thread, so that memory holds two."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting = None
        for batch in batches:
            coming = pool.submit(load, batch)
            if waiting is not None:
                yield waiting.result()
            waiting = coming
        if waiting is not None:
            yield waiting.result()
