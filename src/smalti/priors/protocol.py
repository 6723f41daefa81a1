"""What every prior keeps: p(next code | codes so far, condition), over codes in the prior's own order.

Built as `X(settings, scope)`; a Scope is what the neighbours determine. Axes: b batch, m prefix tokens,
n codes, v codebook size.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int64
from torch import Tensor

from smalti.priors.band import Band
from smalti.priors.cache import Cache


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What a prior's neighbours determine about it: tokenizer, condition, crop size and order."""

    codebook_size: int  # of the tokenizer
    prefix_vocabulary: int  # of the condition
    prefix_length: int  # m, at least 1
    cells: tuple[tuple[int, int], ...]  # (row, column) of place 0 .. n-1 in the order of laying


@runtime_checkable  # for the shape checker of the tests
class Prior(Protocol):
    """A member of the shelf.

    Place i of n is scored given the prefix and the codes at places before i. `forward`, `next`, `at`, `step`
    and `extend` give the same scores up to rounding. A prefix of None is one that the cache holds, with
    the codes before those that are fed, of which there is one or more. Who sets a cache's length back takes
    the last codes out of it again.
    """

    codebook_size: int  # v, codes that are scored

    def __call__(self, codes: Int64[Tensor, "b n"], prefix: Int64[Tensor, "b m"]) -> Float[Tensor, "b n v"]:
        """Teacher forcing: row i scores code i."""
        ...

    def new_cache(self, batch: int, *, meta: bool = False) -> Cache:
        """An empty key/value cache for a prefix and the codes of one window, on the prior's device.

        meta: one without numbers, which takes no memory, to know its size.
        """
        ...

    def next(
        self, codes: Int64[Tensor, "b n"], prefix: Int64[Tensor, "b m"] | None, cache: Cache | None = None
    ) -> Float[Tensor, "b v"]:
        """Scores of the code after the given ones (n may be 0), in one pass; fills the cache if given."""
        ...

    def at(
        self,
        codes: Int64[Tensor, "b n"],
        prefix: Int64[Tensor, "b m"] | None,
        places: Int64[Tensor, " b"],
        cache: Cache | None = None,
    ) -> Float[Tensor, "b v"]:
        """Scores of the code at each row's own place of the n, given those before it; fills a cache.

        Without a prefix these are places 1 .. n - 1: the first one's scores came with what the cache holds.
        """
        ...

    def step(self, codes: Int64[Tensor, " b"], cache: Cache) -> Float[Tensor, "b v"]:
        """Feed one more code a row, get the scores of the one after it."""
        ...

    def extend(self, codes: Int64[Tensor, "b n"], cache: Cache) -> Float[Tensor, "b n v"]:
        """Feed n more codes a row to a filled cache in one pass; row i scores the code after codes[i]."""
        ...


@runtime_checkable
class Local(Prior, Protocol):
    """A member whose cells see only cells near them: drawn on canvases of any size, each cell computed once.

    Its order is row by row. A cell sees, and is fed the codes of, at most `radius` columns to its left, and
    d rows above, for d up to `radius`, at most `radius` columns to the left and less than d * `lag` to the
    right. `feed` gives the scores of `__call__` on canvases of a training crop's size, up to rounding.
    """

    radius: int
    lag: int

    def new_band(self, tokens: Int64[Tensor, "b y x"], *, rows: int, columns: int) -> Band:
        """An empty band of the last columns of the last rows of canvases.

        tokens: the condition, one a cell of the canvas or one for all (1 1).
        """
        ...

    def feed(
        self, codes: Int64[Tensor, "b h w"], cells: Int64[Tensor, "c 2"], band: Band
    ) -> Float[Tensor, "b c v"]:
        """Scores of the codes of cells (row, column); what the next cells see of them goes into the band.

        All that these see has been fed, or is among these.
        """
        ...
