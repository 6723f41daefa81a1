"""Generating by a causal prior in few passes: codes are guessed, and what was guessed right is kept.

As the noise of a cell is fixed, sampling is a map without chance: the code of a place is a function of the
codes before it. A pass feeds guesses for the next places and computes this function at all of them at once
(Jacobi iteration). Where a guess is the code that comes out, the place after it has been computed from what
it would have been computed from one by one; so all places up to the first wrong guess are done, and at least
one is. The codes are those of one by one, whatever was guessed. Only rounding differs: products of several
rows may round otherwise than those of one. A row that is ahead goes on by itself.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from smalti.drawing.canvas import Canvas
from smalti.drawing.guidance import Guided
from smalti.drawing.plan import Step
from smalti.drawing.windows import Scoring, Windows


class Speculative(Windows):
    """The first cell of a run as `Windows` has it, then up to `canvas.parallel` unknown ones a pass.

    Places of a run are counted: number i is run.positions[i]. What is kept for each row stands in lists, as
    how far it goes on hangs on what was right, for which one waits once a pass.
    """

    def __init__(self, prior: Scoring, guided: Guided, canvas: Canvas) -> None:
        super().__init__(prior, guided, canvas)
        self.before = 0  # places of the prefix, in the cache
        columns = canvas.window[1]
        places = canvas.order.argsort()
        above = places[(canvas.order - columns).clamp(min=0)].where(canvas.order >= columns, len(places))
        self.above = above.tolist()  # the place at which the cell above is drawn; of the first row: no place

    def next(self) -> Int64[Tensor, "b p"] | None:
        """See Decoder."""
        if self.step is None:
            return super().next()
        places = self.step.run.positions
        if self.at == 0:
            rows = len(self.step.corners) * len(self.canvas.codes)
            self.at, self.done, self.guessed = 1, [1] * rows, [1] * rows
        if min(self.done) == len(places):
            if self.cache is not None:
                self.cache.length, self.cache.starts = self.before + places[-1], None
            self.at = len(places) - 1  # all is done: on to the next run
            return super().next()
        count = min(self.canvas.parallel, len(places) - 1)
        self.firsts = [min(done, len(places) - count) for done in self.done]
        asked = [places[first : first + count] for first in self.firsts]
        self.asked = torch.tensor(asked, device=self.numbers.device)  # r p
        numbers = self.numbers.repeat_interleave(len(self.canvas.codes), 0).gather(1, self.asked)
        return self._by_canvas(numbers)

    def predict(
        self, tokens: Int64[Tensor, "b n"], positions: Int64[Tensor, "b p"]
    ) -> Float[Tensor, "b p v"]:
        """See Decoder."""
        assert self.step is not None, "next comes first"
        if self.at == 0:
            logits = super().predict(tokens, positions)
            self.seen = self._codes(tokens, 0, len(self.above))  # r n; of unknown cells, guesses
            if self.cache is not None:
                self.cache.clear()
                self.before = self.cache.length - self.step.run.positions[0]
            return logits
        self._guess(self.step)
        places, count = self.step.run.positions, self.asked.shape[1]
        ends = [places[first + count - 1] for first in self.firsts]
        longest = max(end - places[first - 1] for end, first in zip(ends, self.firsts, strict=True))
        begins = [max(0, end - longest) for end in ends]
        starts = torch.tensor(begins, device=self.seen.device)
        fed = starts[:, None] + torch.arange(longest, device=starts.device)
        assert self.cache is not None, "a run of several places has one"
        if len(set(begins)) == 1:
            self.cache.starts, self.cache.length = None, self.before + begins[0]
        else:
            self.cache.starts = self.guided.doubled(starts + self.before)
            self.cache.length = self.before + max(begins) + longest
        codes = self.guided.doubled(self.seen.gather(1, fed))
        logits = self.guided(self.prior.extend(codes, self.cache))
        rows = torch.arange(len(logits), device=logits.device)[:, None]
        return self._by_canvas(logits[rows, self.asked - 1 - starts[:, None]])

    def accept(
        self, prediction: Float[Tensor, "b p v"], drawn: Int64[Tensor, "b p"], positions: Int64[Tensor, "b p"]
    ) -> Bool[Tensor, "b p"] | None:
        """See Decoder."""
        assert self.step is not None, "next comes first"
        windows = len(self.step.corners)
        rows = drawn.view(len(drawn), windows, -1).transpose(0, 1).flatten(0, 1)  # r p
        if self.at == 0:
            self.seen[:, self.step.run.positions[0]] = rows[:, 0]
            return None
        count = rows.shape[1]
        decided = [done - first for done, first in zip(self.done, self.firsts, strict=True)]
        ahead = torch.tensor(decided, device=rows.device)[:, None]
        numbers = torch.arange(count, device=rows.device)
        before = self.seen.gather(1, self.asked)
        rows = rows.where(numbers >= ahead, before)
        # up to the first wrong guess, that one too
        right = 1 + (rows == before)[:, :-1].long().cumprod(1).sum(1)
        self.seen.scatter_(1, self.asked, rows)
        self.done = [first + more for first, more in zip(self.firsts, right.tolist(), strict=True)]  # waits
        self.guessed = [first + count for first in self.firsts]
        return self._by_canvas((numbers >= ahead) & (numbers < right[:, None]))

    def _guess(self, step: Step) -> None:
        """Put a code into places that no pass has reached: that of the cell above, or the last there is.

        It costs next to nothing; the last place's logits with the cell's own noise are right about as often.
        """
        places, sources = step.run.positions, []
        for first, guessed in zip(self.firsts, self.guessed, strict=True):
            asked = places[first : first + self.asked.shape[1]]
            fresh, last = places[guessed] if guessed < len(places) else len(self.above), places[guessed - 1]
            above = [self.above[place] if self.above[place] < fresh else last for place in asked]
            sources.append([p if p < fresh else up for p, up in zip(asked, above, strict=True)])
        found = self.seen.gather(1, torch.tensor(sources, device=self.seen.device))
        self.seen.scatter_(1, self.asked, found)

    def _by_canvas(self, rows: Tensor) -> Tensor:
        """Return what is said of rows (r p ...: windows, of each all canvases) for each canvas (b p ...)."""
        parts = rows.view(-1, len(self.canvas.codes), *rows.shape[1:])
        return parts.transpose(0, 1).flatten(1, 2)
