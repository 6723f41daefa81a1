"""A prior of neighbourhoods: each cell computed once, the same codes however they are laid, any canvas."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from reference import Drawing, draw, drawing
from tiny import generator, scope_of

import smalti
from smalti import config
from smalti.conditions.context import GridContext, SameContext
from smalti.conditions.coordinates import CoordinatesSettings
from smalti.conditions.map import MapSettings
from smalti.drawing import wavefront
from smalti.drawing.canvas import Canvas
from smalti.errors import UserError
from smalti.orders import order
from smalti.priors.neighbourhood import Neighbourhood, NeighbourhoodSettings
from smalti.tokens.choice import Choice, choose
from smalti.tokens.noise import keys

CROP, CODES, TOKENS = (7, 8), 11, 5
GRIDS = [(7, 8), (1, 1), (1, 9), (9, 1), (3, 2), (8, 13), (12, 9)]


def build(*, by_cell: bool = False, layers: int = 2, skew: int | None = 2, **more) -> Neighbourhood:
    torch.manual_seed(0)
    scope = scope_of(
        codebook_size=CODES,
        prefix_vocabulary=TOKENS,
        prefix_length=56 if by_cell else 1,
        prefix_is_by_cell=by_cell,
        cells=tuple(itertools.product(*map(range, CROP))),
    )
    prior = Neighbourhood(
        NeighbourhoodSettings(layers=layers, heads=2, width=16, skew=skew, **more), scope
    ).eval()
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return prior


def tokens(by_cell: bool, grid, num: int, start: int = 0) -> torch.Tensor:
    draws = torch.Generator().manual_seed(start)
    return torch.randint(TOKENS, (num, *(grid if by_cell else (1, 1))), generator=draws)


def scorer_of(prior, grid, num: int, scale: float = 1.0) -> Drawing:
    def prompt(start):
        found = tokens(prior.has_cell_context, grid, num, start)
        return GridContext(tokens=found) if prior.has_cell_context else SameContext(prefix=found[:, 0])

    return drawing(prior, prompt(0), null=prompt(9) if scale != 1 else None, scale=scale, limit=CODES)


def blank(grid, num: int = 2, choice=Choice(), **more) -> Canvas:  # noqa: B008
    return Canvas(
        codes=torch.zeros(num, *grid, dtype=torch.int64),
        known=torch.zeros(grid, dtype=torch.bool),
        seeds=torch.arange(num) * 1000 - 7,
        window=tuple(map(min, grid, CROP)),
        order=order("row", *CROP),
        choice=choice,
        **more,
    )


class Counted(Neighbourhood):
    """Counts the passes and the cells that go through it."""

    def feed(self, codes, cells, cache):
        self.passes, self.cells = self.passes + 1, self.cells + len(cells)
        return super().feed(codes, cells, cache)


def counted(prior: Neighbourhood) -> Neighbourhood:
    prior.__class__, prior.passes, prior.cells = Counted, 0, 0
    return prior


def by_hand(prior, canvas: Canvas, scale: float) -> torch.Tensor:
    """Cell by cell, everything computed anew for each by teacher forcing, guidance in two passes."""
    codes, (height, width) = torch.where(canvas.known, canvas.codes, 0), canvas.grid
    said, null = (tokens(prior.has_cell_context, canvas.grid, len(codes), start) for start in (0, 9))
    for cell in range(height * width):
        row, column = divmod(cell, width)
        if canvas.known[row, column]:
            continue
        scores = prior.score(codes, said)[:, cell]
        if scale != 1:
            without = prior.score(codes, null)[:, cell]
            scores = without + scale * (scores - without)
        codes[:, row, column] = choose(scores, keys(canvas.seeds, torch.tensor(cell)), canvas.choice)
    return codes


@torch.no_grad()
@pytest.mark.parametrize("by_cell", [False, True], ids=["one token", "a map"])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize(("scale", "skew"), [(1.0, 3), (2.0, 2)])
def test_fronts_lay_what_teacher_forcing_lays(by_cell, grid, scale, skew):
    prior = build(by_cell=by_cell, radius=2, skew=skew)
    canvas = blank(grid, choice=Choice(top_k=7, temperature=1.5))
    found = draw(scorer_of(prior, grid, 2, scale), canvas)
    assert found.equal(by_hand(prior, canvas, scale))
    assert grid == (1, 1) or not found[0].equal(found[1])


@torch.no_grad()
@pytest.mark.parametrize("radius", [1, 3])
@pytest.mark.parametrize("by_cell", [False, True], ids=["one token", "a map"])
def test_a_crop_is_laid_as_any_prior_lays_it(radius, by_cell):
    """With the ordinary cache, place by place; greedily it is the argmax of teacher forcing."""
    prior, canvas = build(by_cell=by_cell, radius=radius), blank(CROP)
    assert draw(scorer_of(prior, CROP, 2), canvas).equal(draw(scorer_of(prior, CROP, 2), canvas))
    greedy = draw(scorer_of(prior, CROP, 2), replace(canvas, choice=Choice(top_k=1)))
    scores = prior(greedy.flatten(1), tokens(by_cell, CROP, 2).flatten(1))
    assert scores.argmax(-1).equal(greedy.flatten(1))


@torch.no_grad()
@pytest.mark.parametrize("kept", ["rows", "all but the end", "a patch", "the lower rows", "everything"])
def test_completion(kept):
    prior, grid = build(by_cell=True, radius=2), (12, 10)
    canvas = blank(grid)
    whole = draw(scorer_of(prior, grid, 2), canvas)
    known = torch.zeros(grid, dtype=torch.bool)
    parts = {"rows": known[:7], "all but the end": known[:-1], "a patch": known[2:6, 3:9]}
    parts |= {"the lower rows": known[8:], "everything": known}
    parts[kept].fill_(True)
    junk = torch.randint(CODES, (2, *grid), generator=torch.Generator().manual_seed(0))
    done = []
    again = replace(canvas, codes=torch.where(known, whole, junk), known=known, progress=done.append)
    found = draw(scorer_of(prior, grid, 2), again)
    assert found[:, known].equal(whole[:, known])
    assert sum(done) == whole.numel()
    other = draw(scorer_of(prior, grid, 2), replace(again, seeds=canvas.seeds + 1))
    assert other[:, known].equal(whole[:, known])
    assert kept == "everything" or not other.equal(whole)
    assert found.equal(by_hand(prior, again, 1.0))
    assert kept == "the lower rows" or found.equal(whole)  # a cell sees what is known above it, not below


@torch.no_grad()
def test_canvases_do_not_hang_on_one_another():
    prior, grid = build(), (9, 20)
    together = draw(scorer_of(prior, grid, 3), blank(grid, 3))
    for one in range(3):
        prompt = SameContext(prefix=tokens(False, grid, 3)[one : one + 1, 0])
        canvas = replace(blank(grid, 1), seeds=torch.tensor([one * 1000 - 7]))
        assert draw(drawing(prior, prompt, limit=CODES), canvas)[0].equal(together[one])


@torch.no_grad()
def test_a_megapixel_takes_as_many_tokens_as_it_has_cells():
    """64 x 64 cells: 4096 tokens in 2 (64 - 1) + 64 passes; a moving window feeds 4096 * 256."""
    canvas = blank((64, 64), 1)
    for skew in (2, 4):
        prior = counted(build(layers=1, radius=3, skew=skew))
        draw(scorer_of(prior, (64, 64), 1), canvas)
        assert (prior.cells, prior.passes) == (4096, skew * 63 + 64)


@torch.no_grad()
def test_both_halves_of_guidance_go_in_one_pass():
    prior = counted(build())
    draw(scorer_of(prior, (8, 9), 2, 3.0), blank((8, 9)))
    assert prior.cells == 72


@torch.no_grad()
def test_known_cells_are_fed_with_the_others_and_what_lies_below_is_not():
    prior, canvas = counted(build(radius=2)), blank((10, 12))
    canvas.known[:4] = True
    canvas.known[7:] = True
    draw(scorer_of(prior, canvas.grid, 2), canvas)
    assert (prior.cells, prior.passes) == (7 * 12, 2 * 6 + 12)


@pytest.mark.parametrize(
    ("grid", "radius", "skew"),
    [
        ((9, 30), 1, 2),
        ((20, 11), 3, 4),
        ((20, 40), 3, 2),
        ((24, 33), 3, 3),
        ((5, 64), 3, 2),
        ((9, 2), 3, 4),
        ((3, 1), 2, 2),
    ],
)
def test_fronts_wait_for_what_they_see_and_the_band_still_holds_it(grid, radius, skew):
    (height, width), prior, canvas = grid, build(layers=1, radius=radius, skew=skew), blank(grid)
    rows, columns = wavefront.held(grid, prior)
    holds, laid = {}, 0
    for front in wavefront.fronts(canvas, skew):
        places = [divmod(cell, width) for cell in front.cells]
        assert front.unknown == len(places) <= rows
        for row, column in places:
            holds[row % rows, column % columns] = (row, column)
        for cell in places:
            seen = reached(cell, grid, radius, skew)
            assert all(holds.get((row % rows, column % columns)) == (row, column) for row, column in seen)
            assert not seen & set(places)
        laid += len(places)
    assert laid == height * width


def reached(cell, grid, radius: int, skew: int) -> set[tuple[int, int]]:
    """The other cells that a cell sees, said anew."""
    row, column = cell
    left = {(row, column - far) for far in range(1, radius + 1)}
    above = {
        (row - up, column + far)
        for up in range(1, radius + 1)
        for far in range(-radius, min(radius, up * skew - 1) + 1)
    }
    return {(y, x) for y, x in left | above if y >= 0 and 0 <= x < grid[1]}


def test_memory_is_that_of_a_band():
    prior = build(radius=2)
    sizes = [wavefront.held((height, 20), prior) for height in (4, 40, 400)]
    assert sizes == [(4, 7), (12, 7), (12, 7)]
    found = prior.new_cache(tokens(False, (40, 20), 3), rows=12, columns=7)
    assert {tuple(part.shape) for part in found.keys + found.values} == {(3, 2, 12 * 7, 8)}


@pytest.mark.parametrize(("size", "most"), [((8, 8), 16), ((40, 40), 5)], ids=str)
def test_canvases_of_a_batch_are_as_many_as_their_memory_allows(size, most, monkeypatch):
    """16 of one crop, 4 x 4 cells; of 20 x 20 cells 11 rows of 4 columns are held, 3 crops."""
    model, found = generator("neighbourhood"), []
    feed = Neighbourhood.feed
    monkeypatch.setattr(
        Neighbourhood,
        "feed",
        lambda prior, codes, *more: found.append(len(codes)) or feed(prior, codes, *more),
    )
    model.sample(num=20, size=size, label=0)
    assert max(found) == most


@torch.no_grad()
@pytest.mark.parametrize(("radius", "skew"), [(1, 2), (2, 2), (2, 3), (3, 2)])
def test_one_layer_sees_its_neighbourhood_and_no_more(radius, skew):
    """In one layer code (i, j) reaches the cells that see one that is fed it: no other way exists."""
    prior = build(layers=1, radius=radius, skew=skew)
    codes, prompt = torch.zeros(1, 9, 11, dtype=torch.int64), tokens(False, (9, 11), 1)
    scores = prior.score(codes, prompt)
    for row, column in [(0, 0), (3, 5), (4, 10), (8, 4)]:
        changed = codes.clone()
        changed[0, row, column] = 1
        moved = (prior.score(changed, prompt) - scores).abs().amax((0, 2)).view(9, 11) > 1e-5
        fed = [(row, column + 1), (row + 1, column - 1), (row + 1, column), (row + 1, column + 1)]
        fed = [cell for cell in fed if cell[0] < 9 and 0 <= cell[1] < 11]
        for i, j in itertools.product(range(9), range(11)):
            seen = reached((i, j), (9, 11), radius, skew) | {(i, j)}
            assert moved[i, j] == bool(seen & set(fed)), (row, column, i, j)


@torch.no_grad()
def test_far_from_borders_a_cell_does_not_know_where_it_is():
    prior = build(layers=1, radius=1)
    codes = torch.randint(CODES, (1, 9, 12), generator=torch.Generator().manual_seed(0))
    prompt = tokens(False, (9, 12), 1)
    here = prior.score(codes, prompt).view(9, 12, -1)
    moved = prior.score(codes.roll((2, 3), (1, 2)), prompt).view(9, 12, -1)
    torch.testing.assert_close(moved[5:8, 6:9], here[3:6, 3:6], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_map_tells_a_cell_of_itself_and_of_those_around_it():
    prior = build(by_cell=True, layers=1, radius=1)
    codes, said = torch.zeros(1, 6, 7, dtype=torch.int64), tokens(True, (6, 7), 1)
    scores, other = prior.score(codes, said), said.clone()
    other[0, 3, 3] = (other[0, 3, 3] + 1) % TOKENS
    moved = (prior.score(codes, other) - scores).abs().amax((0, 2)).view(6, 7) > 1e-5
    assert moved[2:5, 2:5].all()  # also above it: the whole map is known beforehand
    assert not moved[:2].any()


def test_whole_images_of_any_size():
    model = generator("neighbourhood")
    for size in [(2, 2), (4, 20), (8, 8), (22, 6)]:
        codes = model.sample(num=3, size=size, label=[0, 1, 2], guidance_scale=1.5).codes
        assert codes.shape == (3, size[0] // 2, size[1] // 2)
        alone = model.sample(size=size, label=1, seed=1, guidance_scale=1.5).codes
        assert alone[0].equal(codes[1])
    small = torch.zeros(3, 6, 10)
    kept = model.complete(small, keep=0.4, num=2, label=0).codes
    assert (kept[:, :1] == model.tokenizer.encode(small[None])[:, :1]).all()


@pytest.mark.parametrize("condition", [CoordinatesSettings(), MapSettings(shared=True, dropout=0.5)], ids=str)
@pytest.mark.parametrize("size", [(8, 8), (14, 18), (4, 6)], ids=str)
def test_whole_images_with_a_condition_a_cell(condition, size):
    model = generator("neighbourhood", condition=condition)
    told, more = {}, {}
    if isinstance(condition, MapSettings):
        told = {"map": torch.rand(3, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1}
        more = {"guidance_scale": 1.5}
    drawn = model.sample(num=2, size=size, **told, **more).codes
    assert drawn.shape == (2, size[0] // 2, size[1] // 2)
    if size == (8, 8):
        sequence = model.logits(model.sample(size=size, top_k=1, **told).codes, **told).argmax(-1)
        assert model.sample(size=size, top_k=1, **told).codes.flatten(1).equal(sequence)
    if told:
        other = model.sample(num=2, size=size, map=-told["map"], **more).codes
        assert not other.equal(drawn)


def test_half_precision_draws():
    model = generator("neighbourhood").bfloat16()
    assert model.sample(num=2, size=(8, 12), label=0).codes.shape == (2, 4, 6)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"radius": 4}, "prior.radius of at most 3, below half the training crop of 7 x 8 cells, got 4"),
        ({"skew": 5}, "prior.skew of 2 to 4, one more than the radius, got 5"),
        ({"skew": 1}, "prior.skew of 2 to 4.*set prior.skew=4 to see all"),
        ({"heads": 8}, "multiple of 4 times prior.heads, got 16 and 8"),
        ({"cells": tuple(itertools.product(range(2), range(9)))}, "3 x 3 cells or more, got 2 x 9"),
        ({"cells": tuple((row, 3 - column) for row in range(4) for column in range(4))}, "order=row"),
        ({"prefix_length": 4}, "of one token, or of one a cell, .* 4 tokens for 56 cells"),
    ],
    ids=str,
)
def test_settings_that_cannot_be(changes, words):
    scope = {"prefix_length": 1, "cells": tuple(itertools.product(*map(range, CROP)))}
    scope |= {name: value for name, value in changes.items() if name in scope}
    settings = {"heads": 2, **{name: value for name, value in changes.items() if name not in scope}}
    with pytest.raises(UserError, match=words):
        Neighbourhood(
            NeighbourhoodSettings(width=16, **settings),
            scope_of(codebook_size=CODES, prefix_vocabulary=TOKENS, **scope),
        )


def test_what_nobody_gives():
    """A model folder of before there was a skew is one whose cells see all within the radius."""
    assert build().radius == 3
    assert build(skew=None).skew == 4
    cells = tuple(itertools.product(range(16), range(32)))
    scope = scope_of(codebook_size=CODES, prefix_vocabulary=TOKENS, prefix_length=1, cells=cells)
    assert Neighbourhood(NeighbourhoodSettings(layers=1, heads=1, width=4), scope).radius == 7


def test_its_recipe_learns(photos, tmp_path):
    model = generator()
    smalti.save(model.tokenizer, tmp_path / "tokenizer")
    run = smalti.train(
        "prior_neighbourhood",
        data=photos,
        out=tmp_path / "run",
        tokenizer=str(tmp_path / "tokenizer"),
        steps=3,
        size=16,
        batch=4,
        validate_every=3,
        checkpoint_every=3,
        precision="fp32",
        optimizer={"lr": 1.0e-3},
        prior={"kind": "neighbourhood", "layers": 1, "heads": 2, "width": 16},
    )
    trained = smalti.load(run)
    assert trained.prior.radius == 3
    assert trained.sample(size=(20, 36), label="lying").codes.shape == (1, 10, 18)
    assert config.recipes()["prior_neighbourhood"].is_file()
    assert math.isfinite(trained.nats_per_token(torch.zeros(1, 8, 8, dtype=torch.int64), label=0))
