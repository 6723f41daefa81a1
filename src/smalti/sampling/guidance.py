"""Classifier-free guidance, in one convention: u + s (c - u), where s = 1 is off.

It is LlamaGen's; papers that write c + w (c - u) mean s = 1 + w.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from smalti.conditions.context import Context
from smalti.precision import beyond_fp16
from smalti.priors.band import Band
from smalti.priors.cache import Cache
from smalti.priors.protocol import Local, Prior

MEMORY = 2**30  # bytes of caches that are kept at once, at most


class Scorer:
    """Scores of the next code for b rows under their context, guided.

    With guidance every row goes through the prior twice, with its own context and with the null one, both in
    one batch. Rows are doubled here and nowhere else: prefixes and caches are, codes and scores are not.
    """

    def __init__(
        self, prior: Prior, context: Context, *, null: Context | None = None, scale: float = 1.0, limit: int
    ) -> None:
        """null: the context of "nothing was said"; must be there unless scale is 1.

        limit: the codes that exist, 0 .. limit - 1; a prior may score more, for its prefix.
        """
        assert scale == 1 or null is not None, "guidance needs a null context"
        self.prior, self.scale, self.limit = prior, scale, limit
        self.contexts = [context] if scale == 1 or null is None else [context, null]
        self._in_range: Tensor | None = None  # whether all scores of fp16 were finite; on the device

    def prefix(self, windows: Sequence[tuple[int, int]], size: tuple[int, int]) -> Int64[Tensor, "b2 m"]:
        """Prefix tokens for windows of one size (h, w), given by (top, left); canvases change fastest."""
        parts = [context.window(*window, *size) for context in self.contexts for window in windows]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def new_cache(self, batch: int) -> Cache:
        """An empty cache for batch rows."""
        return self.prior.new_cache(batch * len(self.contexts))

    def room(self, batch: int) -> int:
        """Caches for batch rows that may be kept at once: of a gigabyte in all."""
        return MEMORY // max(1, self.prior.new_cache(batch * len(self.contexts), meta=True).nbytes)

    def fill(self, cache: Cache, prefixes: Sequence[Int64[Tensor, "_ m"]]) -> list[Cache]:
        """Feed prefixes, as `prefix` gives them, in one pass; a view of the cache for each, to go on from.

        What the cache held before is lost.
        """
        if not prefixes:
            return []
        cache.length = 0
        tokens = torch.cat(list(prefixes))
        filled = cache.part(0, len(tokens))
        self.prior.next(tokens.new_empty(len(tokens), 0), tokens, filled)  # scores are asked for with codes
        ends = [0, *accumulate(map(len, prefixes))]
        return [filled.part(*rows) for rows in pairwise(ends)]

    def next(
        self, codes: Int64[Tensor, "b n"], prefix: Int64[Tensor, "b2 m"] | None, cache: Cache | None = None
    ) -> Float[Tensor, "b v"]:
        """Scores of the code after the given ones, in the prior's order; see `Prior.next`."""
        return self._guided(self.prior.next(self._doubled(codes), prefix, cache))

    def at(
        self,
        codes: Int64[Tensor, "b n"],
        prefix: Int64[Tensor, "b2 m"] | None,
        places: Int64[Tensor, " b"],
        cache: Cache | None = None,
    ) -> Float[Tensor, "b v"]:
        """Scores of the code at each row's own place, given those before it and no others; see `Prior.at`."""
        return self._guided(self.prior.at(self._doubled(codes), prefix, self._doubled(places), cache))

    def step(self, codes: Int64[Tensor, " b"], cache: Cache) -> Float[Tensor, "b v"]:
        """Feed one more code a row, get the scores of the one after it."""
        return self._guided(self.prior.step(self._doubled(codes), cache))

    def extend(self, codes: Int64[Tensor, "b n"], cache: Cache) -> Float[Tensor, "b n v"]:
        """Feed n more codes a row in one pass; row i scores the code after codes[i]."""
        return self._guided(self.prior.extend(self._doubled(codes), cache))

    def new_band(self, tokens: Int64[Tensor, "b2 y x"], *, rows: int, columns: int) -> Band:
        """An empty band for canvases whose conditions are given; the prior is a Local one."""
        assert isinstance(self.prior, Local), "a band for a prior whose cells see only cells near them"
        return self.prior.new_band(tokens, rows=rows, columns=columns)

    def feed(
        self, codes: Int64[Tensor, "b h w"], cells: Int64[Tensor, "c 2"], band: Band
    ) -> Float[Tensor, "b c v"]:
        """Scores of the codes of cells, which go into the band; the prior is a Local one."""
        assert isinstance(self.prior, Local), "a band for a prior whose cells see only cells near them"
        return self._guided(self.prior.feed(self._doubled(codes), cells, band))

    def check(self) -> None:
        """UserError if scores went beyond the range of fp16; asked at the end, as it waits for the device."""
        if self._in_range is not None and not self._in_range:  # they would be codes like any other
            raise beyond_fp16("prior")

    def _doubled(self, codes: Tensor) -> Tensor:
        return codes if len(self.contexts) == 1 else torch.cat([codes, codes])

    def _guided(self, scores: Tensor) -> Tensor:
        scores = scores[..., : self.limit]
        if scores.dtype == torch.float16:
            finite = scores.isfinite().all()
            self._in_range = finite if self._in_range is None else self._in_range & finite
        if len(self.contexts) == 1:
            return scores
        said, null = scores.float().chunk(2)
        return null + self.scale * (said - null)
