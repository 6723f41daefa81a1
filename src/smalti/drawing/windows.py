"""Generating by a causal prior: window by window as the plan says, each with its keys and values."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from smalti.conditions.context import Prefix
from smalti.drawing.cache import Cache
from smalti.drawing.canvas import Canvas
from smalti.drawing.guidance import Guided
from smalti.drawing.loop import Decoder
from smalti.drawing.plan import Corner, Step, plan

MEMORY = 2**30  # bytes of caches that wait for the next run of their windows, at most


@runtime_checkable  # for the shape checker of the tests
class Scoring(Protocol):
    """What a causal prior offers to be drawn from; see `Causal`."""

    def new_cache(self, batch: int) -> Cache:
        """Return an empty cache for batch rows."""
        ...

    def prefill(
        self, codes: Int64[Tensor, "b n"], prefix: Prefix, cache: Cache | None = None
    ) -> Float[Tensor, "b v"]:
        """Return the logits of the code after the given ones; fills the cache."""
        ...

    def extend(
        self, codes: Int64[Tensor, "b n"], cache: Cache, *, last: bool = False
    ) -> Float[Tensor, "b q v"]:
        """Return the logits after each of n more codes, or after the last of them alone."""
        ...


class Windows(Decoder):
    """Runs one after the other, their cells one by one. Rows of a pass: windows, of each all canvases."""

    def __init__(self, prior: Scoring, guided: Guided, canvas: Canvas) -> None:
        self.prior, self.guided, self.canvas = prior, guided, canvas
        self.steps = iter(plan(canvas))
        self.caches: dict[tuple[Corner, ...], Cache] = {}  # that wait for the next run of their windows
        self.step: Step | None = None
        self.cache: Cache | None = None  # of this run
        self.at = self.fed = (
            0  # of the run's positions, the one that is predicted; codes that the cache holds
        )
        self.drawn: Tensor | None = None  # the last codes of this run, not fed yet

    def next(self) -> Int64[Tensor, "b p"] | None:
        """See Decoder."""
        if self.step is not None:
            self.at += 1
            if self.at == len(self.step.run.positions):
                self._leave(self.step)
        if self.step is None:
            self.step = next(self.steps, None)
            if self.step is None:
                return None
            self._enter(self.step)
        place = self.step.run.positions[self.at]
        return self.numbers[:, place].expand(len(self.canvas.codes), -1)

    def predict(
        self, tokens: Int64[Tensor, "b n"], positions: Int64[Tensor, "b p"]
    ) -> Float[Tensor, "b p v"]:
        """See Decoder."""
        assert self.step is not None, "next comes first"
        place = self.step.run.positions[self.at]
        if self.drawn is not None and self.fed == place - 1:
            codes = self.drawn if self.drawn.shape[1] == 1 else self.drawn.mT.reshape(-1, 1)
        else:
            codes = self._codes(tokens, self.fed, place)
        codes, cells = self.guided.repeated(codes), positions.mT.reshape(-1, 1)
        if self.cache is None:  # and it stays so where there is but one code to generate
            if len(self.step.run.positions) > 1 or not self.step.is_last:
                self.cache = self.prior.new_cache(len(codes))
            prefix = self.guided.prefix(self.step.corners, self.canvas.window)
            logits = self.guided(self.prior.prefill(codes, prefix, self.cache)[:, None], cells)
        else:
            logits = self.guided(self.prior.extend(codes, self.cache, last=True), cells)
        self.fed, windows = place, len(self.step.corners)
        # of one window rows are canvases already: few calls, as they are what a small prior's step costs
        return logits if windows == 1 else logits.view(windows, len(tokens), -1).transpose(0, 1)

    def accept(
        self, prediction: Float[Tensor, "b p v"], drawn: Int64[Tensor, "b p"], positions: Int64[Tensor, "b p"]
    ) -> Bool[Tensor, "b p"] | None:
        """See Decoder."""
        self.drawn = drawn
        return None

    def _enter(self, step: Step) -> None:
        """Begin a run: with the cache that its windows left, or with none."""
        columns, width = self.canvas.window[1], self.canvas.grid[1]
        inside, device = self.canvas.order, self.canvas.order.device
        first = torch.tensor([top * width + left for top, left in step.corners], device=device)
        self.numbers = first[:, None] + (inside // columns * width + inside % columns)  # of cells, by place
        self.cache = self.caches.pop(step.corners, None)
        self.fed, self.at, self.drawn = step.fed if self.cache else 0, 0, None

    def _leave(self, step: Step) -> None:
        """End a run; keep the cache for the next one of these windows if there is room."""
        held = sum(cache.nbytes for cache in self.caches.values())
        if not step.is_last and self.cache is not None and held + self.cache.nbytes <= MEMORY:
            self.caches[step.corners] = self.cache
        self.step = self.cache = None

    def _codes(self, tokens: Tensor, begin: int, end: int) -> Int64[Tensor, "r n"]:
        """Return the codes at these positions of each window, on all canvases."""
        return tokens[:, self.numbers[:, begin:end]].transpose(0, 1).flatten(0, 1)
