"""Generating by a causal prior in few passes: codes are guessed, and what was guessed right is kept.

As the noise of a cell is fixed, sampling is a map without chance: the code of a place is a function of the
codes before it. A pass feeds guesses for the next places and computes this function at all of them at once
(Jacobi iteration). Where a guess is the code that comes out, the place after it has been computed from what
it would have been computed from one by one; so all places up to the first wrong guess are done, and at least
one is. The codes are those of one by one, whatever was guessed. Only rounding differs: products of several
rows may round otherwise than those of one. A row that is ahead goes on by itself.

A pass over n tokens costs about as much as PASS + n: on a CPU so much that guesses for many rows, or those of
a prior that surprises, cost more than they save. So rows * places of a pass are at most PASS; and whoever has
lost more than LOST passes by guessing goes on one by one.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from smalti.drawing.canvas import Canvas
from smalti.drawing.guidance import Guided
from smalti.drawing.plan import Step
from smalti.drawing.windows import Scoring, Windows

# tokens whose price a pass has by itself: 7 to 20 on Zen 5 (priors of 4 x 192 to 12 x 512, fp32, one thread);
# elsewhere so many that it does not matter
PASS = {"cpu": 16}
BESIDE = 1.25  # times PASS: what a pass with guesses has by itself
LOST = 8


class Speculative(Windows):
    """The first cell of a run as `Windows` has it, then up to `canvas.speculative` unknown ones a pass.

    Places of a run are counted: number i is run.positions[i]. What is kept for each row stands in lists, as
    how far it goes on hangs on what was right, for which one waits once a pass.
    """

    def __init__(self, prior: Scoring, guided: Guided, canvas: Canvas) -> None:
        super().__init__(prior, guided, canvas)
        self.price = PASS.get(canvas.codes.device.type, 2**20)
        self.count = 1  # places of a pass; below 2: one by one
        self.saved = 0.0  # tokens, against one by one
        self.seen = canvas.codes  # r n, from the first cell of a run on: of unknown cells, guesses
        self.before = 0  # places of the prefix, in the cache
        columns = canvas.window[1]
        places = canvas.order.argsort()
        above = places[(canvas.order - columns).clamp(min=0)].where(canvas.order >= columns, len(places))
        self.above = above.tolist()  # the place at which the cell above is drawn; of the first row: no place

    def next(self) -> Int64[Tensor, "b p"] | None:
        """See Decoder."""
        if self.step is None or self.count < 2:
            return super().next()
        places = self.step.run.positions
        if self.at == 0:
            self.at, self.done, self.guessed = 1, [1] * len(self.seen), [1] * len(self.seen)
        done = min(self.done)
        if done == len(places) or self.saved < -LOST * self.price:  # on to the next run, or one by one
            assert self.cache is not None, "a run of several places has one"
            self.at, self.fed, self.drawn, self.count = done - 1, places[done - 1], None, 1
            self.cache.length, self.cache.starts = self.before + self.fed, None
            return super().next()
        self.firsts = [min(done, len(places) - self.count) for done in self.done]
        asked = [places[first : first + self.count] for first in self.firsts]
        self.asked = torch.tensor(asked, device=self.numbers.device)  # r p
        numbers = self.numbers.repeat_interleave(len(self.canvas.codes), 0).gather(1, self.asked)
        return self._by_canvas(numbers)

    def predict(
        self, tokens: Int64[Tensor, "b n"], positions: Int64[Tensor, "b p"]
    ) -> Float[Tensor, "b p v"]:
        """See Decoder."""
        assert self.step is not None, "next comes first"
        if self.count < 2:
            return super().predict(tokens, positions)
        if self.at == 0:
            logits = super().predict(tokens, positions)
            self.seen = self._codes(tokens, 0, len(self.above))
            assert self.cache is not None, "a run of several places has one"
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
            self.cache.starts = self.guided.repeated(starts + self.before)
            self.cache.length = self.before + max(begins) + longest
        codes = self.guided.repeated(self.seen.gather(1, fed))
        numbers = self.numbers.repeat_interleave(len(self.canvas.codes), 0)
        self.saved -= BESIDE * self.price + codes.numel()
        logits = self.guided(self.prior.extend(codes, self.cache), numbers.gather(1, fed + 1))
        rows = torch.arange(len(logits), device=logits.device)[:, None]
        return self._by_canvas(logits[rows, self.asked - 1 - starts[:, None]])

    def accept(
        self, prediction: Float[Tensor, "b p v"], drawn: Int64[Tensor, "b p"], positions: Int64[Tensor, "b p"]
    ) -> Bool[Tensor, "b p"] | None:
        """See Decoder."""
        assert self.step is not None, "next comes first"
        if self.count < 2:
            if self.at >= max(self.done):
                return super().accept(prediction, drawn, positions)
            ahead = torch.tensor(self.done, device=drawn.device)  # rows from when there were guesses
            return self._by_canvas((ahead <= self.at)[:, None])
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
        advanced = -sum(self.done)
        self.done = [first + more for first, more in zip(self.firsts, right.tolist(), strict=True)]  # waits
        advanced += sum(self.done)
        one = self.price + len(self.done) * len(self.guided.contexts)  # a pass one by one
        self.saved += one * advanced / len(self.done)
        self.guessed = [first + count for first in self.firsts]
        return self._by_canvas((numbers >= ahead) & (numbers < right[:, None]))

    def _enter(self, step: Step) -> None:
        """Begin a run; `count`: the places of its passes, below 2 where guesses would not pay."""
        super()._enter(step)
        rows = len(step.corners) * len(self.canvas.codes) * len(self.guided.contexts)
        most = self.price // rows if self.saved >= -LOST * self.price else 1
        self.count = min(self.canvas.speculative, len(step.run.positions) - 1, most if most > 2 else 1)
        self.done = [0]

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
