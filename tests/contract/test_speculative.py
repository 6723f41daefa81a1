"""Many places a pass lay the codes that one place a pass lays, whatever was guessed."""

import itertools
from dataclasses import replace

import pytest
import torch
from reference import cell_by_cell, draw, drawing
from test_samplers import HashPrior, blank, prompt_of, real_prior, scorer_of
from tiny import CAUSAL, generator

from smalti import imaging
from smalti.conditions.coordinates import CoordinatesSettings
from smalti.conditions.label import LabelSettings
from smalti.conditions.map import MapSettings
from smalti.conditions.none import NoConditionSettings
from smalti.drawing import speculative
from smalti.drawing.speculative import Speculative
from smalti.errors import UserError
from smalti.orders import ORDERS
from smalti.priors import PRIORS
from smalti.tokens.choice import Choice

MANY = (2, 3, 5, 8, 16, 50)
CHOICES = (
    Choice(),
    Choice(temperature=0.3),
    Choice(top_k=1),
    Choice(temperature=0.8, top_k=4),
    Choice(top_p=0.8, min_p=0.05),
)
CONDITIONS = {
    "class": (LabelSettings(classes=3, dropout=0.1), {"label": [0, 2, 1], "guidance_scale": 1.7}),
    "nothing": (NoConditionSettings(), {}),
    "coordinates": (CoordinatesSettings(), {}),
    "map": (MapSettings(shared=True, dropout=0.5), {"guidance_scale": 1.7}),
}


@pytest.fixture(autouse=True)
def passes_cost_nothing(monkeypatch):
    """As on an accelerator, so that guesses are made whatever they bring."""
    monkeypatch.setattr(speculative, "PASS", {})


class SurePrior(HashPrior):
    """A code that is far ahead: the same at every place, or one that hangs on the code before."""

    def __init__(self, *, constant: bool) -> None:
        super().__init__()
        self.constant = constant

    def _scores(self, state):
        scores = super()._scores(state)
        ahead = torch.full_like(state, 5) if self.constant else state % self.codebook_size
        return scores.scatter_add(-1, ahead[..., None], torch.full((*state.shape, 1), 100.0))


@pytest.mark.parametrize("laid", ORDERS)
@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_the_codes_of_one_by_one(laid, scale):
    for choice in CHOICES:
        canvas = blank((4, 4), (4, 4), laid=laid, choice=choice)
        expected = draw(scorer_of(HashPrior(), 3, scale), canvas)
        for count in MANY:
            found = draw(scorer_of(HashPrior(), 3, scale), replace(canvas, speculative=count))
            assert found.equal(expected), (choice, count)


@torch.no_grad()
@pytest.mark.parametrize("scale", [1.0, 1.7])
@pytest.mark.parametrize("kind", CAUSAL)
def test_priors_of_the_shelf(kind, scale):
    prior = real_prior(kind)
    for choice, laid in itertools.product(CHOICES, ("row", "spiral_out")):
        canvas = blank((4, 4), (4, 4), choice=choice, laid=laid)
        expected = draw(scorer_of(prior, 3, scale), canvas)
        for count in (2, 5, 50):
            found = draw(scorer_of(prior, 3, scale), replace(canvas, speculative=count))
            assert found.equal(expected), (choice, laid, count)


@pytest.mark.parametrize("laid", ["row", "random"])
@pytest.mark.parametrize("kept", ["nothing", "the top", "a patch", "every other", "all but one", "all"])
def test_known_cells(laid, kept):
    """They stay, what stands in the others is not read, and all cells are counted."""
    canvas = blank((4, 4), (4, 4), laid=laid)
    whole = draw(scorer_of(HashPrior(), 3), canvas)
    known = torch.zeros(4, 4, dtype=torch.bool)
    if kept == "the top":
        known[:2] = True
    elif kept == "a patch":
        known[1:3, 2:] = True
    elif kept == "every other":
        known.view(-1)[::2] = True
    elif kept.startswith("all"):
        known[:] = True
        known[2, 1] = kept == "all"
    for seeds in (canvas.seeds, canvas.seeds + 1):
        start = replace(canvas, codes=whole.where(known, -(10**9)), known=known, seeds=seeds)
        expected = draw(scorer_of(HashPrior(), 3), start)
        assert expected[:, known].equal(whole[:, known])
        for count in MANY:
            counted = []
            many = replace(start, speculative=count, progress=counted.append)
            assert draw(scorer_of(HashPrior(), 3), many).equal(expected)
            assert sum(counted) == 3 * 16


def test_a_canvas_alone_is_the_canvas_among_others():
    canvas = blank((4, 4), (4, 4), num=5, speculative=4)
    together = draw(scorer_of(HashPrior(), 5), canvas)
    for one in range(5):
        alone = replace(canvas, codes=canvas.codes[:1], seeds=canvas.seeds[one : one + 1])
        assert draw(drawing(HashPrior(), prompt_of(1, start=one), limit=17), alone)[0].equal(together[one])


@pytest.mark.parametrize("count", MANY)
def test_a_prior_that_is_sure_of_what_it_says_takes_few_passes(count):
    """One for the first code; then guesses are right from the first on, as every place says the same."""
    prior = SurePrior(constant=True)
    draw(scorer_of(prior, 3), blank((4, 5), (4, 5), speculative=count))
    assert prior.calls == 1 + -(-19 // count)


@pytest.mark.parametrize("prior", [HashPrior(), SurePrior(constant=False)], ids=["a lottery", "a chain"])
@pytest.mark.parametrize("count", MANY)
def test_never_more_passes_than_cells(prior, count):
    for num in (1, 3):
        prior.calls = 0
        draw(scorer_of(prior, num), blank((4, 5), (4, 5), num=num, speculative=count))
        assert 1 + 19 // count <= prior.calls <= 20


@pytest.mark.parametrize("wrong", [0, 16])
def test_no_guess_can_change_a_code(wrong, monkeypatch):
    canvas = blank((4, 4), (4, 4))
    expected = draw(scorer_of(HashPrior(), 3), canvas)
    monkeypatch.setattr(Speculative, "_guess", lambda self, step: self.seen.scatter_(1, self._fresh(), wrong))
    monkeypatch.setattr(Speculative, "_fresh", lambda self: self.asked[:, -1:], raising=False)
    for count in MANY:
        assert draw(scorer_of(HashPrior(), 3), replace(canvas, speculative=count)).equal(expected)


@pytest.mark.parametrize("laid", ORDERS)
def test_a_guess_is_the_code_above_or_the_last(laid, monkeypatch):
    canvas, real, guessed = blank((4, 4), (4, 4), num=2, laid=laid, speculative=3), Speculative._guess, []

    def noted(self, step):
        before, cells = self.seen.clone(), canvas.order.tolist()
        real(self, step)
        for row, asked in enumerate(self.asked.tolist()):
            fresh = self.guessed[row]  # places from here on were reached by no pass
            for place in asked:
                higher = cells[place] - 4
                source = cells.index(higher) if higher >= 0 else 16
                source = place if place < fresh else source if source < fresh else fresh - 1
                assert self.seen[row, place] == before[row, source]
                guessed.extend([source < fresh - 1] * (place >= fresh))

    monkeypatch.setattr(Speculative, "_guess", noted)
    draw(scorer_of(HashPrior(), 2), canvas)
    draw(scorer_of(SurePrior(constant=True), 2), canvas)
    assert set(guessed) == {True, False}


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("scale", [1.0, 2.5])
@pytest.mark.parametrize("kept", ["nothing", "a net"])
def test_runs_of_windows_that_stand_still(stride, scale, kept):
    """Any canvas: cells of a row, or of a block, by guesses; windows in lockstep go on by themselves."""
    for side, grid in (((6, 6), (9, 12)), ((4, 6), (7, 8))):
        canvas = blank(grid, side, stride=min(stride, min(side) // 2), num=2)
        if kept == "a net":
            canvas.known[::2, ::3] = True
            canvas.codes[:, canvas.known] = 5
        expected = cell_by_cell(scorer_of(HashPrior(), 2, scale), canvas)
        for count in (3, 50):
            counted = []
            many = replace(canvas, speculative=count, progress=counted.append)
            for prior in (HashPrior(), SurePrior(constant=False)):
                found = draw(scorer_of(prior, 2, scale), many)
                assert type(prior) is SurePrior or found.equal(expected)
            assert sum(counted) == 2 * 2 * grid[0] * grid[1]


def test_a_row_that_is_ahead_goes_on_by_itself():
    """As many passes as the slowest row needs alone, and no more."""
    passes = []
    for rows in ([0], [1], [2], [3], [0, 1, 2, 3]):
        prior = SurePrior(constant=False)
        canvas = blank((4, 5), (4, 5), num=len(rows), seeds=torch.tensor(rows) * 77, speculative=5)
        prompt = replace(prompt_of(4), marks=torch.tensor(rows) * 5)
        draw(drawing(prior, prompt, limit=17), canvas)
        passes.append(prior.calls)
    assert passes[-1] == max(passes[:-1])


@pytest.mark.parametrize("price", [1, 4, 12])
@pytest.mark.parametrize("lost", [0, 0.5, 2])
def test_guesses_that_do_not_pay_are_given_up(price, lost, monkeypatch):
    """In the middle of a run, rows at places of their own; with known cells, guided, on larger canvases."""
    monkeypatch.setattr(speculative, "PASS", {"cpu": price})
    monkeypatch.setattr(speculative, "LOST", lost)
    cases = (((4, 4), 1, 1.0, "spiral_out"), ((4, 4), 2, 2.5, "row"), ((6, 7), 1, 1.0, "row"))
    for grid, num, scale, laid in cases:
        canvas = blank(grid, (4, 4), num=num, laid=laid)
        canvas.known[1, ::2] = True
        canvas.codes[:, canvas.known] = 5
        for prior in (HashPrior(), SurePrior(constant=False)):
            expected = draw(scorer_of(prior, num, scale), canvas)
            for count in (2, 3, 50):
                counted = []
                many = replace(canvas, speculative=count, progress=counted.append)
                assert draw(scorer_of(prior, num, scale), many).equal(expected)
                assert sum(counted) == canvas.codes.numel()


@pytest.mark.parametrize(("num", "scale"), [(1, 1.0), (2, 1.0), (2, 2.5), (8, 1.0)])
def test_they_cost_at_most_what_they_may_lose(num, scale, monkeypatch):
    """Tokens and passes of a prior that surprises, by what a pass costs; of many rows no guess is made."""
    monkeypatch.setattr(speculative, "PASS", {"cpu": 16})
    prior, rows = HashPrior(), num * (1 + (scale != 1))
    canvas = blank((7, 7), (7, 7), num=num, speculative=8, choice=Choice(top_k=1))
    draw(scorer_of(prior, num, scale), canvas)
    calls = prior.calls
    assert 49 - 8 <= calls <= 49
    extend, fed = prior.extend, []
    monkeypatch.setattr(
        prior, "extend", lambda codes, *more, **how: fed.append(codes.numel()) or extend(codes, *more, **how)
    )
    draw(scorer_of(prior, num, scale), canvas)
    spent = sum(16 + tokens for tokens in fed)
    assert spent <= 48 * (16 + rows) + speculative.LOST * 16 + 16 + 16
    assert (max(fed) > rows) == (rows <= 5)


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("kind", CAUSAL)
def test_every_condition(kind, condition):
    settings, said = CONDITIONS[condition]
    model = generator(kind, condition=settings)
    if condition == "map":
        said = {**said, "map": torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1}
    image = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    for how in ({}, {"temperature": 0.5, "top_k": 3}):
        drawn = model.sample(num=3, **how, **said).codes
        kept = model.complete(image, keep=0.4, num=3, **how, **said).codes
        for count in (2, 6, 99):
            many = {"speculative": count, **how, **said}
            assert model.sample(num=3, **many).codes.equal(drawn)
            assert model.complete(image, keep=0.4, num=3, **many).codes.equal(kept)


def test_a_image_says_that_it_was_drawn_so(tmp_path):
    model = generator("modern")
    (path,) = model.sample(label=1, seed=3, speculative=4).save(tmp_path)
    metadata = imaging.read_metadata(path)
    assert metadata["speculative"] == 4
    assert {"model", "rows_kept", "height", "width"} <= metadata.keys()
    again = {
        name: value
        for name, value in metadata.items()
        if name not in ("model", "rows_kept", "height", "width")
    }
    again["guidance_scale"] = again.pop("guidance")
    assert model.sample(**again)[0].tobytes() == model.sample(label=1, seed=3)[0].tobytes()


@pytest.mark.parametrize("kind", PRIORS)
def test_larger_canvases_and_what_cannot_be(kind):
    model, ask = generator(kind), {"label": 0, "size": (12, 14)}
    if kind not in CAUSAL:
        with pytest.raises(UserError, match=r"many cells .* anyway, got 2; leave speculative out"):
            model.sample(label=0, speculative=2)
    else:
        assert model.sample(**ask, speculative=3, stride=2).codes.equal(model.sample(**ask, stride=2).codes)
    with pytest.raises(UserError, match="from 1 for speculative, got 0"):
        model.sample(label=0, speculative=0)
    assert len(model.sample(label=0, size=(8, 10), speculative=1)) == 1
