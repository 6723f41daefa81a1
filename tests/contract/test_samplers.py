"""All samplers lay the same codes: cached or not, one canvas or many, cell by cell or in wavefronts."""

import itertools
from dataclasses import dataclass, field, replace

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from smalti.orders import order
from smalti.priors import PRIORS
from smalti.priors.cache import Cache
from smalti.priors.protocol import Scope
from smalti.sampling import borders, guidance, plain, wavefront, window
from smalti.sampling.batches import split
from smalti.sampling.canvas import Canvas
from smalti.sampling.choice import Choice, choose
from smalti.sampling.draw import draw
from smalti.sampling.guidance import Scorer
from smalti.sampling.wavefront import passes, together
from smalti.sampling.window import locate


def as_on_an_accelerator(scorer, canvas):
    """Few steps without caches at the borders, prefixes ahead."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(wavefront, "_with_borders", wavefront._with_prefixes)
        return wavefront.draw(scorer, canvas)


SAMPLERS = {
    "window": window.draw,
    "wavefront": wavefront.draw,
    "wavefront, prefixes ahead": as_on_an_accelerator,
}
WINDOWS = [(4, 4), (3, 5), (2, 2), (5, 4), (1, 3)]
PRIME = 1_000_003
POWERS = torch.tensor([pow(31, place, PRIME) for place in range(64)])


class HashPrior:
    """Scores that hang on every token seen and on its place, in arithmetic that no batch shape rounds."""

    def __init__(self, codebook_size: int = 17) -> None:
        self.codebook_size = codebook_size
        self.calls = 0

    def __call__(self, codes, prefix):
        self.calls += 1
        states = self._states(torch.cat([prefix, codes[:, :-1]], 1))
        return self._scores(states[:, prefix.shape[1] - 1 :])

    def new_cache(self, batch, *, meta=False):
        tokens = torch.zeros(batch, len(POWERS), dtype=torch.int64, device="meta" if meta else None)
        return Cache(keys=(), values=(), tokens=tokens)

    def next(self, codes, prefix, cache=None):
        return self._fed(codes, prefix, cache)[:, -1]

    def at(self, codes, prefix, places, cache=None):
        scores = self._fed(codes[:, :-1], prefix, cache)
        return scores[torch.arange(len(codes)), places - int(prefix is None)]

    def step(self, codes, cache):
        return self.next(codes[:, None], None, cache)

    def extend(self, codes, cache):
        return self._fed(codes, None, cache)

    def _fed(self, codes, prefix, cache):
        """Scores after the last token of the prefix, if given, and after each code."""
        self.calls += 1
        begin = 0 if prefix is not None else cache.length
        tokens = codes if prefix is None else torch.cat([prefix, codes], 1)
        if cache is not None:
            cache.length = begin + tokens.shape[1]
            cache.tokens[:, begin : cache.length] = tokens
            tokens = cache.tokens[:, : cache.length]
        return self._scores(self._states(tokens)[:, begin if prefix is None else prefix.shape[1] - 1 :])

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
            codes[one, row, column] = choose(scores, canvas.seeds[one : one + 1], number, canvas.choice)
    return codes


def scorer_of(prior, num: int, scale: float = 1.0, limit: int = 17) -> Scorer:
    null = prompt_of(num, start=90) if scale != 1 else None
    return Scorer(prior, prompt_of(num), null=null, scale=scale, limit=limit)


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
@pytest.mark.parametrize("grid", [(4, 4), (4, 9), (9, 4), (6, 7), (5, 13)], ids=str)
def test_the_rule(sampler, grid):
    canvas = blank(grid, (4, 4), num=2)
    assert sampler(scorer_of(HashPrior(), 2), canvas).equal(by_hand(HashPrior(), prompt_of(2), canvas))


@pytest.mark.parametrize("side", WINDOWS, ids=str)
@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_wavefront_equals_window(side, scale, monkeypatch):
    """On canvases that are none to nine cells larger than the window, either way."""
    for more in [(0, 0), (0, 1), (9, 0), (3, 4), (6, 7)]:
        grid = side[0] + more[0], side[1] + more[1]
        canvas = blank(grid, side, choice=Choice(top_k=9, temperature=0.8))
        expected = window.draw(scorer_of(HashPrior(), 3, scale), canvas)
        assert wavefront.draw(scorer_of(HashPrior(), 3, scale), canvas).equal(expected)
        assert as_on_an_accelerator(scorer_of(HashPrior(), 3, scale), canvas).equal(expected)
        with monkeypatch.context() as patched:  # room for no cache, or for two
            for room in (0, 2 * HashPrior().new_cache(6 if scale != 1 else 3).nbytes):
                patched.setattr(guidance, "MEMORY", room)
                assert wavefront.draw(scorer_of(HashPrior(), 3, scale), canvas).equal(expected)
        assert draw(scorer_of(HashPrior(), 3, scale), canvas).equal(expected)
        assert expected.unique().numel() > 1


@pytest.mark.parametrize("side", [(4, 4), (2, 2), (5, 4), (1, 3)], ids=str)
@pytest.mark.parametrize("more", [(0, 5), (6, 0), (6, 7)], ids=str)
def test_windows_of_scenes_begin_a_cell_later(side, more):
    """(side - 1) // 2 cells before the cell; both samplers see the same windows."""
    grid = side[0] + more[0], side[1] + more[1]
    canvas = blank(grid, side, shift=1)
    scorer, other = scorer_of(HashPrior(), 3), scorer_of(HashPrior(), 3)
    assert wavefront.draw(other, canvas).equal(window.draw(scorer, canvas))
    assert set(other.contexts[0].shown) == set(scorer.contexts[0].shown)
    for at, (size, length) in enumerate(zip(grid, side, strict=True)):
        for cell in range(size):
            place = (cell, 0) if at == 0 else (0, cell)
            found = locate(*place, grid, side, shift=1)
            assert (found.top, found.left)[at] == min(max(cell - (length - 1) // 2, 0), size - length)


@pytest.mark.parametrize("side", WINDOWS, ids=str)
@pytest.mark.parametrize("scale", [1.0, 0.4])
def test_a_canvas_of_one_window(side, scale):
    """With a cache, with all fed anew for each code, and as a window that cannot move."""
    canvas = blank(side, side)
    found = plain.draw(scorer_of(HashPrior(), 3, scale), canvas)
    for sampler in (*SAMPLERS.values(), draw):
        assert sampler(scorer_of(HashPrior(), 3, scale), canvas).equal(found)


@pytest.mark.parametrize("laid", ["subsample", "spiral_in", "random", "alternate"])
def test_other_orders(laid):
    canvas = blank((4, 4), (4, 4), laid=laid)
    found = plain.draw(scorer_of(HashPrior(), 3), canvas).flatten(1)
    prior, prefix = HashPrior(), prompt_of(3).window(0, 0, 4, 4)
    sequence = torch.zeros(3, 0, dtype=torch.int64)
    for cell in canvas.order:
        drawn = choose(prior.next(sequence, prefix), canvas.seeds, cell.expand(3), canvas.choice)
        sequence = torch.cat([sequence, drawn[:, None]], 1)
    assert found[:, canvas.order].equal(sequence)
    assert not found.equal(plain.draw(scorer_of(HashPrior(), 3), blank((4, 4), (4, 4))).flatten(1))


def real_prior(kind: str):
    torch.manual_seed(0)
    settings, member = PRIORS[kind]
    cells = tuple(itertools.product(range(4), range(4)))
    scope = Scope(codebook_size=17, prefix_vocabulary=600, prefix_length=5, cells=cells)
    prior = member(settings(layers=2, heads=2, width=16), scope).eval()
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))  # scores that differ, positions that count
    return prior


@torch.no_grad()
@pytest.mark.parametrize(
    "kind", [kind for kind in PRIORS if kind != "neighbourhood"]
)  # has a file of its own
@pytest.mark.parametrize("scale", [1.0, 1.7])
def test_priors_of_the_shelf(kind, scale):
    prior = real_prior(kind)
    for grid in [(4, 4), (6, 9)]:
        canvas = blank(grid, (4, 4))
        expected = window.draw(scorer_of(prior, 3, scale), canvas)
        assert draw(scorer_of(prior, 3, scale), canvas).equal(expected)
        if grid != (4, 4):
            assert as_on_an_accelerator(scorer_of(prior, 3, scale), canvas).equal(expected)
        if scale == 1:
            assert by_hand(prior, prompt_of(3), canvas).equal(expected)


@pytest.mark.parametrize("grid", [(4, 4), (6, 11)], ids=str)
def test_a_canvas_alone_is_the_canvas_among_others(grid):
    together = draw(scorer_of(HashPrior(), 5), blank(grid, (4, 4), num=5))
    for one in range(5):
        canvas = blank(grid, (4, 4), num=1, seeds=torch.tensor([one * 1000 - 7]))
        alone = draw(Scorer(HashPrior(), prompt_of(1, start=one), limit=17), canvas)
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
    off = Scorer(HashPrior(), prompt_of(3), null=null, scale=1.0, limit=17)
    assert draw(off, canvas).equal(plain_codes)
    assert not null.shown
    guided = HashPrior()
    assert draw(scorer_of(guided, 3, 0.0), canvas).equal(draw(Scorer(prior, null, limit=17), canvas))
    assert guided.calls == unguided  # both halves in one pass
    assert not draw(scorer_of(prior, 3, 3.0), canvas).equal(plain_codes)


def test_guided_scores():
    prior, codes = HashPrior(), torch.arange(6).view(2, 3)
    scorer = scorer_of(prior, 2, 2.5)
    said = prior.next(codes, scorer.contexts[0].window(1, 2, 3, 4))
    null = prior.next(codes, scorer.contexts[1].window(1, 2, 3, 4))
    found = scorer.next(codes, scorer.prefix([(1, 2)], (3, 4)))
    torch.testing.assert_close(found, null + 2.5 * (said - null))
    cache = scorer.new_cache(2)
    scorer.next(codes[:, :2], scorer.prefix([(1, 2)], (3, 4)), cache)
    assert scorer.step(codes[:, 2], cache).equal(found)
    cache = scorer.new_cache(2)
    scorer.next(codes[:, :1], scorer.prefix([(1, 2)], (3, 4)), cache)
    assert scorer.extend(codes[:, 1:], cache)[:, -1].equal(found)


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
    samplers = (draw,) if laid != "row" else (draw, *SAMPLERS.values())
    for sampler in samplers:
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
    side=st.tuples(st.integers(1, 6), st.integers(1, 6)), more=st.tuples(st.integers(0, 9), st.integers(0, 9))
)
def test_wavefronts_wait_for_what_they_see(side, more):
    grid = side[0] + more[0], side[1] + more[1]
    laid, groups = set(), list(passes(torch.zeros(grid, dtype=torch.bool), side))
    for group in groups:
        for cell in group:
            inside = itertools.product(
                range(cell.top, cell.top + side[0]), range(cell.left, cell.left + side[1])
            )
            seen = set(itertools.islice(inside, cell.place))
            assert seen <= laid, f"{cell} is laid before what it sees"
            assert cell == locate(cell.row, cell.column, grid, side)
        assert len(group) <= together(grid, side)
        laid |= {(cell.row, cell.column) for cell in group}
    assert len(laid) == sum(map(len, groups)) == grid[0] * grid[1]


@pytest.mark.parametrize("room", [0, 2**30])
def test_a_window_that_stands_still_is_filled_once(room, monkeypatch):
    """On a CPU: 5 of 12 columns see through windows of their own, 4 share the left ones, 3 the right ones.

    Of 6 rows 3 share the upper windows, 2 the lower ones. Without room for caches, once a row.
    """
    monkeypatch.setattr(guidance, "MEMORY", room)
    filled = []

    class Filled(HashPrior):
        def _fed(self, codes, prefix, cache):
            if prefix is not None:
                filled.append((len(codes), cache is not None))
            return super()._fed(codes, prefix, cache)

    canvas = blank((6, 12), (4, 6), num=2)
    drawn = wavefront.draw(scorer_of(Filled(), 2), canvas)
    assert drawn.equal(window.draw(scorer_of(HashPrior(), 2), canvas))
    kept, alone = (sum(rows for rows, held in filled if held == is_kept) for is_kept in (True, False))
    assert (kept, alone) == ((2 * (7 + 7 + 2), 2 * 5) if room else (2 * 6 * 2, 2 * 6 * 5))


@pytest.mark.parametrize(("room", "fills"), [(1, 0), (4 * 4 - 1, 0), (4 * 4, 7), (2**10, 1)])
@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_prefixes_are_fed_ahead(room, fills, scale, monkeypatch):
    """Each window's prefix once, for as many windows at once as there is room for; the codes without it."""
    scorer, canvas = scorer_of(HashPrior(), 2, scale), blank((7, 14), (4, 4), num=2)
    monkeypatch.setattr(guidance, "MEMORY", room * scorer.new_cache(2).nbytes)
    expected, calls, fed = window.draw(scorer, canvas), [], scorer.prior._fed

    def spied(codes, prefix, cache):
        calls.append((len(codes), prefix is not None, cache is not None))
        return fed(codes, prefix, cache)

    monkeypatch.setattr(scorer.prior, "_fed", spied)
    assert as_on_an_accelerator(scorer, canvas).equal(expected)
    steps = list(passes(canvas.known, canvas.window))
    assert max(map(len, steps)) == 4
    ahead = [rows for rows, has_prefix, has_cache in calls if has_prefix and has_cache]
    assert len(ahead) == fills
    alone = [has_prefix for _, has_prefix, has_cache in calls if not has_cache]
    if fills:  # all but the first cell, whose scores are those of the prefix
        assert sum(ahead) == (7 * 14 - 1) * 2 * len(scorer.contexts)
        assert len(calls) - fills == len(steps)
        assert len(alone) == 1
    else:
        assert len(alone) == len(calls) == len(steps)


def test_prefixes_of_one_token_are_not_fed_ahead(monkeypatch):
    @dataclass
    class OneToken(MapPrompt):
        def window(self, top, left, height, width):
            return self.marks[:, None]

    scorer = Scorer(HashPrior(), OneToken(marks=torch.arange(3)), limit=17)
    monkeypatch.setattr(Scorer, "fill", None)
    canvas = blank((6, 9), (4, 4))
    assert as_on_an_accelerator(scorer, canvas).equal(window.draw(scorer, canvas))


def test_caches_at_the_borders_are_few_and_dropped(monkeypatch):
    scorer, canvas = scorer_of(HashPrior(), 2), blank((9, 12), (4, 6), num=2)
    monkeypatch.setattr(guidance, "MEMORY", 3 * scorer.new_cache(2).nbytes + 1)
    codes, most = canvas.codes.clone(), 0
    kept = borders.Borders(scorer, canvas, codes)
    for cell in itertools.chain.from_iterable(passes(canvas.known, canvas.window)):
        if not kept.lay(cell):
            window.lay(scorer, canvas, codes, [cell])
        most = max(most, len(kept.caches))
    assert codes.equal(window.draw(scorer_of(HashPrior(), 2), canvas))
    assert most == 3
    assert not kept.caches


def test_wavefronts_are_few():
    groups = list(passes(torch.zeros(64, 64, dtype=torch.bool), (16, 16)))
    assert len(groups) == 16 * (64 - 1) + 64
    assert max(map(len, groups)) == together((64, 64), (16, 16)) == 4


def test_one_window_needs_one_pass_a_code():
    prior = HashPrior()
    plain.draw(scorer_of(prior, 3, 2.0), blank((4, 5), (4, 5)))
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
