"""All samplers lay the same codes: cached or not, one canvas or many, cell by cell or in wavefronts."""

import itertools
from dataclasses import dataclass, field, replace

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from reference import Drawing, cell_by_cell, draw, drawing, locate
from tiny import CAUSAL, scope_of

from smalti.conditions.context import Padded
from smalti.drawing import loop, windows
from smalti.drawing.batches import split
from smalti.drawing.canvas import Canvas
from smalti.drawing.plan import plan, together
from smalti.drawing.speculative import Speculative
from smalti.drawing.windows import Windows
from smalti.heads.categorical import Categorical
from smalti.orders import order
from smalti.priors import PRIORS
from smalti.tokens.choice import Choice, choose
from smalti.tokens.noise import keys

WINDOWS = [(4, 4), (3, 5), (2, 2), (5, 4), (1, 3)]
PRIME = 1_000_003
POWERS = torch.tensor([pow(31, place, PRIME) for place in range(64)])


class HashCache:
    """Tokens in place of keys and values."""

    def __init__(self, batch):
        self.tokens = torch.zeros(batch, len(POWERS), dtype=torch.int64)
        self.length, self.starts, self.nbytes = 0, None, self.tokens.nbytes

    def clear(self):
        self.tokens[:, self.length :] = 0


class HashPrior:
    """Scores that hang on every token seen and on its place, in arithmetic that no batch shape rounds."""

    def __init__(self, codebook_size: int = 17) -> None:
        self.codebook_size = codebook_size
        self.calls = 0

    def __call__(self, codes, prefix):
        self.calls += 1
        states = self._states(torch.cat([prefix, codes[:, :-1]], 1))
        return self._scores(states[:, prefix.shape[1] - 1 :])

    def new_cache(self, batch):
        return HashCache(batch)

    def prefill(self, codes, prefix, cache=None):
        return self._fed(codes, prefix, cache)[:, -1]

    def extend(self, codes, cache, *, last=False):
        found = self._fed(codes, None, cache)
        return found[:, -1:] if last else found

    def decoder(self, guided, canvas):
        return (Windows if canvas.speculative == 1 else Speculative)(self, guided, canvas)

    def _fed(self, codes, prefix, cache):
        """Scores after the last token of the prefix, if given, and after each code."""
        self.calls += 1
        if isinstance(prefix, Padded):
            prefix = prefix.values.masked_fill(~prefix.mask, 0)
        if prefix is not None:
            tokens = torch.cat([prefix, codes], 1)
            if cache is not None:
                cache.length = tokens.shape[1]
                cache.tokens[:, : cache.length] = tokens
            return self._scores(self._states(tokens)[:, prefix.shape[1] - 1 :])
        begins = torch.full((len(codes),), cache.length) if cache.starts is None else cache.starts
        cache.length = cache.length + codes.shape[1] if cache.starts is None else cache.length
        places = begins[:, None] + torch.arange(codes.shape[1])
        cache.tokens.scatter_(1, places, codes)
        return self._scores(self._states(cache.tokens).gather(1, places))

    def _states(self, tokens):
        return ((tokens + 1) * POWERS[: tokens.shape[1]]).cumsum(1)

    def _scores(self, state):
        codes = torch.arange(1, self.codebook_size + 1)
        return ((state[..., None] % PRIME * codes * 7919) % PRIME / PRIME * 6 - 3).float()


@dataclass
class MapPrompt:
    """A prompt that is another one for each window, as maps are; marks say whose it is."""

    marks: torch.Tensor
    shown: list = field(default_factory=list)

    def window(self, top, left, height, width):
        self.shown.append((top, left, height, width))
        place = torch.tensor([top, left, height, width])
        return torch.cat([self.marks[:, None], place.expand(len(self.marks), -1)], 1)

    def take(self, rows):
        return replace(self, marks=self.marks[rows])


def prompt_of(num: int, start: int = 0) -> MapPrompt:
    return MapPrompt(marks=torch.arange(start, start + num) * 5)


def blank(grid, side, *, num=3, seeds=None, laid="row", choice=Choice(), **more) -> Canvas:  # noqa: B008
    seeds = torch.arange(num) * 1000 - 7 if seeds is None else seeds
    return Canvas(
        codes=torch.zeros(num, *grid, dtype=torch.int64),
        known=torch.zeros(grid, dtype=torch.bool),
        seeds=seeds,
        window=side,
        order=order(laid, *side),
        choice=choice,
        **more,
    )


def place_2021(at: int, size: int, side: int) -> int:
    """The place inside the window as the scripts of 2021 have it, in three cases (even sides)."""
    if at <= side // 2:
        return at
    if size - at < side // 2:
        return side - (size - at)
    return side // 2


def by_hand(prior, prompt, canvas: Canvas) -> torch.Tensor:
    """The rule once more with nothing shared but the noise: one cell, one canvas at a time, all codes fed."""
    (height, width), (rows, columns) = canvas.grid, canvas.window
    codes = canvas.codes.clone()
    for row, column in itertools.product(range(height), range(width)):
        inner = place_2021(row, height, rows), place_2021(column, width, columns)
        top, left = row - inner[0], column - inner[1]
        place = inner[0] * columns + inner[1]
        prefix = prompt.window(top, left, rows, columns)
        for one in range(len(codes)):
            seen = codes[one : one + 1, top : top + rows, left : left + columns].flatten(1)
            scores = prior(seen, prefix[one : one + 1])[:, place, :17]
            number = torch.tensor([row * width + column])
            codes[one, row, column] = choose(scores, keys(canvas.seeds[one : one + 1], number), canvas.choice)
    return codes


def scorer_of(prior, num: int, scale: float = 1.0, limit: int = 17) -> Drawing:
    null = prompt_of(num, start=90) if scale != 1 else None
    return drawing(prior, prompt_of(num), null=null, scale=scale, limit=limit)


@pytest.mark.parametrize("sampler", [cell_by_cell, draw])
@pytest.mark.parametrize("grid", [(4, 4), (4, 9), (9, 4), (6, 7), (5, 13)], ids=str)
def test_the_rule(sampler, grid):
    canvas = blank(grid, (4, 4), num=2)
    assert sampler(scorer_of(HashPrior(), 2), canvas).equal(by_hand(HashPrior(), prompt_of(2), canvas))


@pytest.mark.parametrize("side", WINDOWS, ids=str)
@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_the_plan_draws_what_the_rule_draws(side, scale, monkeypatch):
    """On canvases that are none to nine cells larger than the window, either way; with few caches too."""
    for more in [(0, 0), (0, 1), (9, 0), (3, 4), (6, 7)]:
        grid = side[0] + more[0], side[1] + more[1]
        canvas = blank(grid, side, choice=Choice(top_k=9, temperature=0.8))
        expected = cell_by_cell(scorer_of(HashPrior(), 3, scale), canvas)
        assert draw(scorer_of(HashPrior(), 3, scale), canvas).equal(expected)
        with monkeypatch.context() as patched:  # room for no cache that waits, or for two
            for room in (0, 2 * HashPrior().new_cache(6 if scale != 1 else 3).nbytes):
                patched.setattr(windows, "MEMORY", room)
                assert draw(scorer_of(HashPrior(), 3, scale), canvas).equal(expected)
        assert expected.unique().numel() > 1


@pytest.mark.parametrize("side", [(4, 4), (2, 2), (5, 4), (1, 3)], ids=str)
@pytest.mark.parametrize("more", [(0, 5), (6, 0), (6, 7)], ids=str)
def test_windows_of_scenes_begin_a_cell_later(side, more):
    """(side - 1) // 2 cells before the cell; the plan and the rule see the same windows."""
    grid = side[0] + more[0], side[1] + more[1]
    canvas = blank(grid, side, shift=1)
    scorer, other = scorer_of(HashPrior(), 3), scorer_of(HashPrior(), 3)
    assert draw(other, canvas).equal(cell_by_cell(scorer, canvas))
    assert set(other.guided.contexts[0].shown) == set(scorer.guided.contexts[0].shown)
    for at, (size, length) in enumerate(zip(grid, side, strict=True)):
        for cell in range(size):
            place = (cell, 0) if at == 0 else (0, cell)
            found = locate(*place, grid, side, shift=1)
            assert (found.top, found.left)[at] == min(max(cell - (length - 1) // 2, 0), size - length)


@pytest.mark.parametrize("side", WINDOWS, ids=str)
@pytest.mark.parametrize("scale", [1.0, 0.4])
def test_a_canvas_of_one_window(side, scale):
    """With a cache, and with all fed anew for each code."""
    canvas = blank(side, side)
    found = draw(scorer_of(HashPrior(), 3, scale), canvas)
    assert cell_by_cell(scorer_of(HashPrior(), 3, scale), canvas).equal(found)


@pytest.mark.parametrize("laid", ["subsample", "spiral_in", "random", "alternate"])
def test_other_orders(laid):
    canvas = blank((4, 4), (4, 4), laid=laid)
    found = draw(scorer_of(HashPrior(), 3), canvas).flatten(1)
    prior, prefix = HashPrior(), prompt_of(3).window(0, 0, 4, 4)
    sequence = torch.zeros(3, 0, dtype=torch.int64)
    for cell in canvas.order:
        drawn = choose(prior.prefill(sequence, prefix), keys(canvas.seeds, cell), canvas.choice)
        sequence = torch.cat([sequence, drawn[:, None]], 1)
    assert found[:, canvas.order].equal(sequence)
    assert not found.equal(draw(scorer_of(HashPrior(), 3), blank((4, 4), (4, 4))).flatten(1))


def real_prior(kind: str):
    torch.manual_seed(0)
    settings, member = PRIORS[kind]
    cells = tuple(itertools.product(range(4), range(4)))
    scope = scope_of(codebook_size=17, prefix_vocabulary=600, prefix_length=5, cells=cells)
    prior = member(settings(layers=2, heads=2, width=16), scope).eval()
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))  # scores that differ, positions that count
    return prior


@torch.no_grad()
@pytest.mark.parametrize("kind", CAUSAL)  # has a file of its own
@pytest.mark.parametrize("scale", [1.0, 1.7])
def test_priors_of_the_shelf(kind, scale):
    prior = real_prior(kind)
    for grid in [(4, 4), (6, 9)]:
        canvas = blank(grid, (4, 4))
        expected = cell_by_cell(scorer_of(prior, 3, scale), canvas)
        assert draw(scorer_of(prior, 3, scale), canvas).equal(expected)
        if scale == 1:
            assert by_hand(prior, prompt_of(3), canvas).equal(expected)


@pytest.mark.parametrize("grid", [(4, 4), (6, 11)], ids=str)
def test_a_canvas_alone_is_the_canvas_among_others(grid):
    together = draw(scorer_of(HashPrior(), 5), blank(grid, (4, 4), num=5))
    for one in range(5):
        canvas = blank(grid, (4, 4), num=1, seeds=torch.tensor([one * 1000 - 7]))
        alone = draw(drawing(HashPrior(), prompt_of(1, start=one), limit=17), canvas)
        assert alone[0].equal(together[one])
    assert len({tuple(codes.flatten().tolist()) for codes in together}) == 5


@pytest.mark.parametrize("grid", [(4, 4), (6, 11)], ids=str)
def test_guidance(grid):
    """1 is off and asks no null prompt, 0 draws as the null prompt would, else u + s (c - u)."""
    canvas = blank(grid, (4, 4))
    prior = HashPrior()
    plain_codes = draw(scorer_of(prior, 3), canvas)
    unguided = prior.calls
    null = prompt_of(3, start=90)
    off = drawing(HashPrior(), prompt_of(3), null=null, scale=1.0, limit=17)
    assert draw(off, canvas).equal(plain_codes)
    assert not null.shown
    guided = HashPrior()
    assert draw(scorer_of(guided, 3, 0.0), canvas).equal(draw(drawing(prior, null, limit=17), canvas))
    assert guided.calls == unguided  # both halves in one pass
    assert not draw(scorer_of(prior, 3, 3.0), canvas).equal(plain_codes)


def test_guided_scores():
    prior, codes = HashPrior(), torch.arange(6).view(2, 3)
    guided = scorer_of(prior, 2, 2.5).guided
    said = prior.prefill(codes, guided.contexts[0].window(1, 2, 3, 4))
    null = prior.prefill(codes, guided.contexts[1].window(1, 2, 3, 4))
    both = prior.prefill(guided.repeated(codes), guided.prefix([(1, 2)], (3, 4)))
    cells = torch.tensor([[0]])
    assert guided(both[:, None], cells)[:, 0].equal(null + 2.5 * (said - null))
    assert guided(both[:, None], cells, share=0.0)[:, 0].equal(null + 1.0 * (said - null))


@pytest.mark.parametrize(("grid", "laid"), [((4, 4), "row"), ((4, 4), "random"), ((7, 9), "row")], ids=str)
@pytest.mark.parametrize("kept", ["no rows", "some rows", "all rows", "a patch"])
def test_completion(grid, laid, kept):
    """What is kept stays; drawn with the seeds that it came from, the rest comes out as it was."""
    canvas = blank(grid, (4, 4), laid=laid)
    whole = draw(scorer_of(HashPrior(), 3), canvas)
    known = torch.zeros(grid, dtype=torch.bool)
    if kept == "a patch":
        known[1:3, 2:] = True
    else:
        known[: {"no rows": 0, "some rows": 2, "all rows": grid[0]}[kept]] = True
    junk = torch.randint(17, (3, *grid), generator=torch.Generator().manual_seed(0))
    start = torch.where(known, whole, junk)  # what stands in unknown cells must not matter
    for sampler in (draw, cell_by_cell):
        counted = []
        again = replace(canvas, codes=start, known=known, progress=counted.append)
        assert sampler(scorer_of(HashPrior(), 3), again).equal(whole)
        assert sum(counted) == 3 * grid[0] * grid[1]
    other = replace(canvas, codes=start, known=known, seeds=canvas.seeds + 1)
    found = draw(scorer_of(HashPrior(), 3), other)
    assert found[:, known].equal(whole[:, known])
    assert kept == "all rows" or not found.equal(whole)


@pytest.mark.parametrize("grid", [(4, 4), (5, 7)], ids=str)
def test_codes_that_the_codebook_lacks_are_never_drawn(grid):
    canvas = blank(grid, (4, 4), choice=Choice(temperature=5.0))
    for scale in (1.0, 2.0):
        codes = draw(scorer_of(HashPrior(40), 3, scale, limit=6), canvas)
        assert codes.unique().tolist() == list(range(6))


@hypothesis_settings(max_examples=60, deadline=None, derandomize=True)
@given(
    side=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    more=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    stride=st.integers(1, 3),
)
def test_runs_wait_for_what_they_see(side, more, stride):
    grid = side[0] + more[0], side[1] + more[1]
    canvas = blank(grid, side, num=1, stride=min(stride, max(1, min(side) // 2)))
    laid, steps = set(), plan(canvas)
    for step in steps:
        assert len(step.corners) <= together(canvas) <= 8
        new = []
        for top, left in step.corners:
            cells = [(top + place // side[1], left + place % side[1]) for place in range(side[0] * side[1])]
            own = [cells[place] for place in step.run.positions]
            assert set(cells[: step.run.positions[-1]]) <= laid | set(own), "laid before what it sees"
            for place in step.run.positions:
                assert locate(*cells[place], grid, side, 0, canvas.stride)[2:] == (top, left, place)
            new += own
        assert not laid & set(new), "laid twice"
        laid |= set(new)
    assert len(laid) == grid[0] * grid[1]


@pytest.mark.parametrize("room", [0, 2**30])
def test_a_window_that_stands_still_is_filled_once(room, monkeypatch):
    """5 of 12 columns see through windows of their own, 4 share the left ones, 3 the right ones.

    Of 6 rows 3 share the upper windows, 2 the lower ones. Without room for caches, once a row.
    """
    monkeypatch.setattr(windows, "MEMORY", room)
    filled = []

    class Filled(HashPrior):
        def _fed(self, codes, prefix, cache):
            if prefix is not None:
                filled.append((len(codes), cache is not None))
            return super()._fed(codes, prefix, cache)

    canvas = blank((6, 12), (4, 6), num=2)
    drawn = draw(scorer_of(Filled(), 2), canvas)
    assert drawn.equal(cell_by_cell(scorer_of(HashPrior(), 2), canvas))
    kept, alone = (sum(rows for rows, held in filled if held == is_kept) for is_kept in (True, False))
    assert kept + alone == (2 * (7 + 7 + 2 + 5) if room else 2 * (6 * 2 + 6 * 5))
    assert alone >= 2 * 5, "a window of one cell needs no cache"


def test_caches_that_wait_are_few_and_dropped(monkeypatch):
    scored, canvas = scorer_of(HashPrior(), 2), blank((9, 12), (4, 6), num=2)
    monkeypatch.setattr(windows, "MEMORY", 3 * scored.prior.new_cache(2).nbytes + 1)
    decoder, most = scored.prior.decoder(scored.guided, canvas), []
    real = decoder.next
    monkeypatch.setattr(
        decoder, "next", lambda: most.append(sum(len(corners) for corners in decoder.caches)) or real()
    )
    assert loop.draw(decoder, canvas, Categorical()).equal(cell_by_cell(scorer_of(HashPrior(), 2), canvas))
    assert max(most) == 3
    assert not decoder.caches


def test_passes_are_few():
    """Of 64 x 64 cells: no more than of the fronts of t(i, j) = 16 i + j."""
    canvas = blank((64, 64), (16, 16), num=1)
    waves = {step.run.time for step in plan(canvas)}
    assert len(waves) <= 16 * (64 - 1) + 64
    assert together(canvas) == 6
    assert sum(len(step.run.positions) * len(step.corners) for step in plan(canvas)) == 64 * 64


def test_one_window_needs_one_pass_a_code():
    prior = HashPrior()
    draw(scorer_of(prior, 3, 2.0), blank((4, 5), (4, 5)))
    assert prior.calls == 20


def test_canvases_that_cannot_be_laid():
    with pytest.raises(AssertionError, match="smaller"):
        draw(scorer_of(HashPrior(), 3), blank((3, 9), (4, 4)))
    with pytest.raises(AssertionError, match="row-major"):
        draw(scorer_of(HashPrior(), 3), blank((4, 9), (4, 4), laid="spiral_out"))


def test_batches():
    device = torch.device("cpu")
    assert [rows.tolist() for rows in split(5, 2, device, padded=False)] == [[0, 1], [2, 3], [4]]
    assert [rows.tolist() for rows in split(5, 2, device, padded=True)] == [[0, 1], [2, 3], [4, 4]]
    assert [rows.tolist() for rows in split(1, 4, device, padded=True)] == [[0, 0, 0, 0]]
