"""A window that moves in steps: the fast sampler lays what the plain rule lays, in bounded memory."""

import itertools
import json
import weakref
from dataclasses import replace

import pytest
import torch
from reference import cell_by_cell, draw, drawing, locate
from test_conditions import example
from test_samplers import HashPrior, blank, real_prior, scorer_of
from tiny import CAUSAL, generator

from smalti.conditions import CONDITIONS
from smalti.drawing import plan
from smalti.errors import UserError
from smalti.imaging import METADATA
from smalti.tokens.choice import Choice

CASES = [((4, 4), 2), ((5, 4), 2), ((4, 7), 2), ((7, 8), 1), ((6, 6), 2), ((6, 6), 3), ((7, 8), 3)]
MORE = [(0, 1), (1, 0), (0, 9), (9, 0), (1, 2), (3, 4), (6, 7), (7, 5)]


class CountingPrior(HashPrior):
    """Says how many rows of caches were held at most."""

    def __init__(self):
        super().__init__()
        self.most, self.caches = 0, []

    def new_cache(self, batch):
        cache = super().new_cache(batch)
        self.caches = [other for other in self.caches if other() is not None] + [weakref.ref(cache)]
        self.most = max(self.most, sum(len(other().tokens) for other in self.caches))
        return cache


def plain_start(at, size, side, stride, shift=0):
    """The last multiple of the stride that is half a window before the cell, tried one by one."""
    start = 0
    while start + stride <= at - (side - shift) // 2:
        start += stride
    return min(start, size - side)


@pytest.mark.parametrize(("side", "stride"), CASES, ids=str)
@pytest.mark.parametrize("shift", [0, 1])
def test_windows(side, stride, shift):
    """Where they begin; half a window above and to the left is always seen, if the canvas has it."""
    for more in MORE:
        grid = side[0] + more[0], side[1] + more[1]
        for cell in itertools.product(*map(range, grid)):
            found = locate(*cell, grid, side, shift, stride)
            for axis, start in enumerate((found.top, found.left)):
                assert start == plain_start(cell[axis], grid[axis], side[axis], stride, shift)
                seen = cell[axis] - start
                assert min((side[axis] - shift) // 2, cell[axis]) <= seen < side[axis]
            assert found.place == (cell[0] - found.top) * side[1] + cell[1] - found.left
            if stride == 1:
                assert found == locate(*cell, grid, side, shift)


@pytest.mark.parametrize(("side", "stride"), CASES, ids=str)
@pytest.mark.parametrize(
    ("scale", "shift", "sizes"), [(1.0, 0, MORE), (2.5, 0, MORE[5:6]), (1.0, 1, MORE[6:])]
)
def test_the_plain_rule(side, stride, scale, shift, sizes):
    """On canvases one to nine cells larger than the window; a prompt that is another one for each window."""
    for more in sizes:
        grid = side[0] + more[0], side[1] + more[1]
        canvas = blank(grid, side, num=2, stride=stride, shift=shift, choice=Choice(top_k=9, temperature=0.8))
        plain, fast = scorer_of(HashPrior(), 2, scale), scorer_of(HashPrior(), 2, scale)
        assert draw(fast, canvas).equal(cell_by_cell(plain, canvas)), more
        for asked, expected in zip(fast.guided.contexts, plain.guided.contexts, strict=True):
            assert len(asked.shown) == len(set(asked.shown)) or stride < min(side) // 2, "filled twice"
            assert set(asked.shown) == set(expected.shown)


@pytest.mark.parametrize("kind", CONDITIONS)
def test_every_condition(kind):
    """What a window is told is that of the place where it stands."""
    (condition, value), grid = example(kind), (9, 11)
    large = torch.rand(3, 18, 22, generator=torch.Generator().manual_seed(0)) * 2 - 1
    value = {"map": large, "joint": {"label": "grass", "map": large}}.get(kind, value)
    prompt = condition.context(value, num=2, grid=grid, device=torch.device("cpu"))
    canvas = blank(grid, (4, 4), num=2, stride=2, shift=condition.shift)
    scorer = drawing(HashPrior(), prompt, limit=17)
    assert draw(scorer, canvas).equal(cell_by_cell(scorer, canvas))


def test_strides_lay_different_codes():
    found = [draw(scorer_of(HashPrior(), 3), blank((12, 13), (6, 6), stride=stride)) for stride in (1, 2, 3)]
    assert not any(one.equal(other) for one, other in itertools.combinations(found, 2))
    for codes in found:  # cells that see the same
        assert codes[:, 0, :4].equal(found[0][:, 0, :4])


@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize("kept", ["no rows", "some rows", "all rows", "a patch", "a net"])
def test_completion(stride, kept):
    """What is kept stays; drawn with the seeds that it came from, the rest comes out as it was."""
    grid = (13, 15)
    canvas = blank(grid, (6, 6), stride=stride)
    whole = cell_by_cell(scorer_of(HashPrior(), 3), canvas)
    known = torch.zeros(grid, dtype=torch.bool)
    if kept == "a patch":
        known[2:9, 3:11] = True
    elif kept == "a net":
        known[::2, ::3] = True
    else:
        known[: {"no rows": 0, "some rows": 8, "all rows": grid[0]}[kept]] = True
    junk = torch.randint(17, (3, *grid), generator=torch.Generator().manual_seed(0))
    counted = []
    again = replace(canvas, codes=torch.where(known, whole, junk), known=known, progress=counted.append)
    assert draw(scorer_of(HashPrior(), 3), again).equal(whole)
    assert sum(counted) == 3 * grid[0] * grid[1]
    other = replace(again, seeds=canvas.seeds + 1)
    found = draw(scorer_of(HashPrior(), 3), other)
    assert found.equal(cell_by_cell(scorer_of(HashPrior(), 3), other))
    assert found[:, known].equal(whole[:, known])
    assert kept == "all rows" or not found.equal(whole)


@torch.no_grad()
@pytest.mark.parametrize("kind", CAUSAL)
@pytest.mark.parametrize("scale", [1.0, 1.7])
def test_priors_of_the_shelf(kind, scale):
    prior = real_prior(kind)
    for grid in [(4, 4), (6, 9), (10, 8)]:
        canvas = blank(grid, (4, 4), stride=2)
        expected = cell_by_cell(scorer_of(prior, 3, scale), canvas)
        assert draw(scorer_of(prior, 3, scale), canvas).equal(expected)


@pytest.mark.parametrize(("side", "stride"), CASES, ids=str)
@pytest.mark.parametrize("grid", [(10, 30), (20, 11), (21, 23)], ids=str)
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_memory_is_bounded(side, stride, grid, scale):
    """Whatever the canvas: so many caches of windows for each canvas, twice so many with guidance."""
    prior = CountingPrior()
    draw(scorer_of(prior, 2, scale), blank(grid, side, num=2, stride=stride))
    rows = prior.most // (2 if scale == 1 else 4)
    assert rows <= 16, "those in lockstep, and those that wait for a next run"


def test_half_a_window_goes_in_lockstep():
    """64 x 64 cells through 16 x 16 by 8: six windows together, but for the larger blocks at the border."""
    canvas = blank((64, 64), (16, 16), num=1, stride=8)
    steps = plan.plan(canvas)
    assert plan.together(canvas) == max(len(step.corners) for step in steps) == 6
    assert sum(len(step.run.positions) * len(step.corners) for step in steps) == 64 * 64
    passes = sum(len(step.run.positions) for step in steps)
    assert passes == 16 * 16 + 12 * 16 * 8 + 11 * 8 * 8


def test_the_generator(tmp_path):
    model = generator(grid=(6, 6))
    ask = {"num": 2, "size": (20, 26), "label": 1}
    found = {stride: model.sample(**ask, stride=stride).codes for stride in (1, 2, 3)}
    assert found[1].equal(model.sample(**ask).codes)
    assert not found[1].equal(found[2])
    assert not found[2].equal(found[3])
    (image,) = model.sample(**{**ask, "num": 1}, stride=3)
    assert json.loads(image.info[METADATA])["stride"] == 3
    image = model.tokenizer.decode(found[3][:1])
    kept = model.complete(image, keep=0.3, label=1, stride=2).codes
    assert kept[:, :3].equal(model.tokenizer.encode(image)[:, :3])
    assert not kept.equal(model.complete(image, keep=0.3, label=1).codes)
    crop = {**ask, "size": None}
    assert model.sample(**crop, stride=3).codes.equal(model.sample(**crop).codes)


@pytest.mark.parametrize(
    ("kind", "stride", "words"),
    [
        ("gpt", 3, "at most 2: half of this model's window of 4 x 4 cells, got 3; set stride=2"),
        ("gpt", 0, "a number of cells from 1 for stride, got 0"),
        ("gpt", -2, "for stride, got -2"),
        ("neighbourhood", 2, "no window that moves, got 2; set stride=1"),
    ],
)
def test_strides_that_cannot_be(kind, stride, words):
    model = generator(kind)
    with pytest.raises(UserError, match=words):
        model.sample(label=0, stride=stride)
    with pytest.raises(UserError, match=words):
        model.complete(torch.zeros(3, 8, 8), label=0, stride=stride)


@pytest.mark.parametrize("grid", [(4, 8), (8, 4)])
def test_half_of_the_smaller_side_is_the_most(grid):
    model = generator(grid=grid)
    size = (grid[0] * 2 + 4, grid[1] * 2 + 4)
    assert model.sample(label=0, size=size, stride=2).codes.shape == (1, size[0] // 2, size[1] // 2)
    with pytest.raises(UserError, match="a stride of at most 2: half of this model's window"):
        model.sample(label=0, size=size, stride=3)
