"""The prior that draws many hidden cells a pass: schedules, order, loss, bound, windows."""

import json
import math
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml
from tiny import TRAINING, generator, scope_of

import smalti
from smalti import library
from smalti.conditions.context import GridContext, SameContext
from smalti.drawing.canvas import Canvas
from smalti.drawing.guidance import Guided, Weighted
from smalti.drawing.loop import draw
from smalti.errors import UserError
from smalti.formats.exporting import convert
from smalti.imaging import METADATA
from smalti.priors.masked import Masked, MaskedSettings, draw_known, halton
from smalti.priors.passes import HIDDEN, RISING, Passes, portions
from smalti.tokens import noise
from smalti.tokens.choice import Choice, choose
from smalti.training import log

ROWS, COLUMNS, CODES = 3, 4, 7
NUM = ROWS * COLUMNS
CELLS = tuple((place // COLUMNS, place % COLUMNS) for place in range(NUM))


def build(prefix_length=1, cells=CELLS, **changes) -> Masked:
    torch.manual_seed(0)
    scope = scope_of(
        codebook_size=CODES,
        prefix_vocabulary=5,
        prefix_length=prefix_length,
        prefix_is_by_cell=prefix_length == len(cells),
        cells=cells,
    )
    prior = Masked(MaskedSettings(layers=2, heads=2, width=16, **changes), scope).eval()
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return prior


def tokens(batch=3, prefix_length=1):
    rng = torch.Generator().manual_seed(1)
    codes = torch.randint(CODES, (batch, NUM), generator=rng)
    return (
        codes,
        torch.randint(5, (batch, prefix_length), generator=rng),
        torch.rand(batch, NUM, generator=rng),
    )


def canvas(grid=(ROWS, COLUMNS), seeds=(1, 2), known=None, choice=None, **how) -> Canvas:
    codes = torch.randint(CODES, (1, *grid), generator=torch.Generator().manual_seed(2))
    return Canvas(
        codes=codes.expand(len(seeds), -1, -1),
        known=torch.zeros(grid, dtype=torch.bool) if known is None else known,
        seeds=torch.tensor(seeds),
        window=(ROWS, COLUMNS),
        order=torch.arange(NUM),
        choice=choice or Choice(),
        how=Passes(**how),
    )


@torch.no_grad()
def drawn(prior, canvas, scale=1.0):
    batch = len(canvas.codes)
    prompt, null = (SameContext(prefix=torch.full((batch, 1), token)) for token in (2, 4))
    guided = Guided([Weighted(prompt, scale)], null=null if scale != 1 else None, limit=CODES)
    return draw(prior.decoder(guided, canvas), canvas, prior.distribution)


class Fixed(Masked):
    """Gives the same logits whatever it sees, and keeps what it was shown."""

    def forward(self, codes, prefix, known=None):
        self.seen.append(known)
        return self.logits.expand(len(codes), -1, -1)


def fixed(logits) -> Fixed:
    prior = build()
    prior.__class__, prior.logits, prior.seen = Fixed, logits, []
    return prior


def test_schedules_by_hand():
    at = {name: [round(of(progress), 4) for progress in (0.0, 0.25, 0.5, 1.0)] for name, of in HIDDEN.items()}
    assert at == {
        "cosine": [1.0, 0.9239, 0.7071, 0.0],
        "arccos": [1.0, 0.8391, 0.6667, 0.0],
        "square": [1.0, 0.9375, 0.75, 0.0],
    }
    assert [RISING["constant"](share) for share in (0.0, 0.5, 1.0)] == [1.0, 1.0, 1.0]
    assert [RISING["linear"](share) for share in (0.0, 0.25, 1.0)] == [0.0, 0.25, 1.0]
    assert [round(RISING["cosine"](share), 4) for share in (0.0, 1 / 3, 0.5, 1.0)] == [0.0, 0.25, 0.5, 1.0]


def test_portions_by_hand():
    """Of 16 cells the cosine leaves 14.8, 11.3, 6.1 and none."""
    assert portions(16, 4, "cosine") == [2, 3, 5, 6]
    assert portions(16, 4, "arccos") == [3, 3, 3, 7]
    assert portions(16, 4, "square") == [1, 3, 5, 7]
    assert portions(256, 8, "cosine") == [5, 15, 24, 31, 39, 45, 48, 49]
    assert portions(0, 8, "cosine") == []
    for schedule in HIDDEN:
        for unknown in (1, 2, 7, 100):
            for steps in (1, 2, 5, 8, 99, 1000):
                found = portions(unknown, steps, schedule)
                assert sum(found) == unknown
                assert len(found) == min(steps, unknown)
                assert min(found) >= 1


@pytest.mark.parametrize("grid", [(16, 16), (3, 5), (6, 2), (1, 7), (9, 1)], ids=str)
def test_halton_gives_each_cell_once(grid):
    assert sorted(halton(*grid).tolist()) == list(range(grid[0] * grid[1]))


def test_halton_by_hand():
    """Rows 1/2 1/4 3/4 1/8 5/8 of 16, columns 1/3 2/3 1/9 4/9 7/9 of 9."""
    assert [divmod(cell, 9) for cell in halton(16, 9)[:5].tolist()] == [
        (8, 3),
        (4, 6),
        (12, 1),
        (2, 4),
        (10, 7),
    ]


@pytest.mark.parametrize(
    ("schedule", "mean"), [("cosine", 2 / math.pi), ("arccos", 2 / math.pi), ("square", 2 / 3)]
)
def test_training_hides_as_many_as_the_schedule_says(schedule, mean):
    known = draw_known(2000, 50, schedule, torch.Generator().manual_seed(0))
    hidden = (~known).sum(1)
    assert hidden.min() >= 1
    assert hidden.max() > 45
    assert abs(hidden.float().mean() / 50 - mean) < 0.02
    assert (known.float().mean(0) - known.float().mean()).abs().max() < 0.05  # no cell more than others


@torch.no_grad()
@pytest.mark.parametrize("prefix_length", [1, 3, NUM])
def test_what_a_cell_sees(prefix_length):
    """All known cells and the whole prefix; never the code of a hidden one, be it its own."""
    prior, (codes, prefix, noise_) = build(prefix_length), tokens(prefix_length=prefix_length)
    known = noise_ < 0.5
    logits = prior(codes, prefix, known)
    assert logits.shape == (3, NUM, CODES)
    for place in range(NUM):
        changed = codes.clone()
        changed[:, place] = (changed[:, place] + 1) % CODES
        moved = (prior(changed, prefix, known) - logits).abs().amax(2) > 1e-5
        assert moved.all(1).equal(known[:, place])
        assert moved.any(1).equal(known[:, place])
    for place in range(prefix_length):
        changed = prefix.clone()
        changed[:, place] = (changed[:, place] + 1) % 5
        assert ((prior(codes, changed, known) - logits).abs().amax(2) > 1e-5).all()
    assert prior(codes, prefix).equal(prior(codes.flip(1), prefix))
    assert prior(codes, prefix).equal(prior(codes, prefix, torch.zeros_like(known)))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_loss_by_hand(smoothing):
    prior, (codes, prefix, _) = build(label_smoothing=smoothing), tokens()
    found = prior.loss(codes, prefix, torch.Generator().manual_seed(5))
    known = draw_known(3, NUM, "cosine", torch.Generator().manual_seed(5))
    logs = prior(codes, prefix, known).log_softmax(-1)
    total, count = 0.0, 0
    for row, cell in (~known).nonzero().tolist():
        own = logs[row, cell]
        total -= ((1 - smoothing) * own[codes[row, cell]] + smoothing * own.mean()).item()
        count += 1
    assert found.item() == pytest.approx(total / count, rel=1e-5)
    other = prior.loss(codes, prefix, torch.Generator().manual_seed(5), pkeep=0.5)
    assert other.item() != pytest.approx(found.item(), rel=1e-3)


@torch.no_grad()
def test_the_bound_is_the_same_for_an_image_alone():
    prior, (codes, prefix, _) = build(), tokens()
    found = prior.nats(codes, prefix)
    assert found.is_bound
    assert found.tokens == 3 * NUM
    alone = [prior.nats(codes[row : row + 1], prefix[row : row + 1]).total for row in range(3)]
    assert sum(alone) == pytest.approx(found.total, rel=1e-5)
    torch.nn.init.zeros_(prior.head.weight)
    assert prior.nats(codes, prefix).total == pytest.approx(3 * NUM * math.log(CODES), rel=1e-5)


@torch.no_grad()
def test_the_bound_by_hand():
    """Of two cells: one hidden, of which one or the other is drawn, and both."""
    prior = build(cells=CELLS[:2])
    codes, prefix = torch.tensor([[3, 5]]), torch.tensor([[1]])

    def cost(known):
        logs = prior(codes, prefix, torch.tensor([known])).log_softmax(-1)
        hidden = [place for place in (0, 1) if not known[place]]
        return -sum(logs[0, place, codes[0, place]].item() for place in hidden) / len(hidden)

    both = cost([False, False])
    found = prior.nats(codes, prefix).total
    assert found in [pytest.approx(cost(known) + both) for known in ([True, False], [False, True])]


def test_the_surest_come_first_by_hand():
    """Cells 0, 1, 2 ... are ever surer of code 6; without noise three passes keep 2, 4 and 6 of the last."""
    prior = fixed((1 + torch.arange(NUM))[:, None] * F.one_hot(torch.tensor(6), CODES).float())
    asked = canvas(steps=3, confidence_noise=0.0, choice=Choice(top_k=1))
    assert portions(NUM, 3, "cosine") == [2, 4, 6]
    assert (drawn(prior, asked) == 6).all()
    shown = [known[0].nonzero().flatten().tolist() for known in prior.seen]
    assert shown == [[], [10, 11], [6, 7, 8, 9, 10, 11]]


def test_noise_on_the_order_falls_by_hand():
    prior = fixed(torch.zeros(NUM, CODES))
    asked = canvas(steps=4, confidence_noise=3.0, seeds=(7,), choice=Choice(top_k=1))
    drawn(prior, asked)
    cells, known = torch.arange(NUM), torch.zeros(NUM, dtype=torch.bool)
    for number, count in enumerate(portions(NUM, 4, "cosine")):
        assert prior.seen[number][0].equal(known)
        keys, beyond = noise.keys(torch.tensor(7), cells + number * NUM), torch.full((NUM, 1), CODES)
        chance = 3.0 * (1 - (number + 1) / 4) * noise.gumbel(keys, beyond)[:, 0]
        known[chance.masked_fill(known, -math.inf).topk(count).indices] = True


def test_codes_that_are_drawn_again_get_new_noise():
    prior = fixed(torch.zeros(NUM, CODES))
    asked = canvas(steps=3, order="halton", seeds=(7,))
    found = drawn(prior, asked).flatten()
    ends = torch.tensor(portions(NUM, 3, "cosine")).cumsum(0)
    for place, cell in enumerate(halton(ROWS, COLUMNS)):
        number = int((ends <= place).sum())
        key = noise.keys(torch.tensor([7]), cell + number * NUM)
        expected = choose(torch.zeros(1, CODES), key, Choice())
        assert found[cell] == expected


def test_halton_order_is_kept():
    prior = fixed(torch.zeros(NUM, CODES))
    drawn(prior, canvas(steps=NUM, order="halton", mask_schedule="square"))
    shown = [set(known[1].nonzero().flatten().tolist()) for known in prior.seen]
    order = halton(ROWS, COLUMNS).tolist()
    assert shown == [set(order[:count]) for count in range(NUM)]


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [("constant", [1.0, 1.0, 1.0]), ("linear", [0.0, 0.5, 1.0]), ("cosine", [0.0, 0.5, 1.0])],
)
def test_guidance_rises_by_its_schedule(schedule, shares, monkeypatch):
    found, real = [], Guided.__call__
    monkeypatch.setattr(Guided, "__call__", lambda self, *given: found.append(given[2]) or real(self, *given))
    prior = build()
    guided = drawn(prior, canvas(steps=3, guidance_schedule=schedule), scale=5.0)
    assert found == pytest.approx(shares)
    plain = drawn(prior, canvas(steps=3, guidance_schedule=schedule))
    assert not guided.equal(plain)


@pytest.mark.parametrize("order", ["confidence", "halton"])
@pytest.mark.parametrize("grid", [(ROWS, COLUMNS), (5, 9), (3, 11)], ids=str)
def test_any_mask_is_kept_and_images_are_independent(grid, order):
    prior = build()
    known = torch.rand(grid, generator=torch.Generator().manual_seed(8)) < 0.4
    for where in (torch.zeros_like(known), known, ~known, torch.ones_like(known)):
        asked = {"grid": grid, "known": where, "order": order, "steps": 3}
        both = drawn(prior, canvas(seeds=(4, 9), **asked), scale=2.0)
        assert both[:, where].equal(canvas(seeds=(4, 9), **asked).codes[:, where])
        assert where.all() or not both[0].equal(both[1])
        for row, seed in enumerate((4, 9)):
            assert drawn(prior, canvas(seeds=(seed,), **asked), scale=2.0)[0].equal(both[row])


@torch.no_grad()
def test_each_window_sees_what_is_known_in_it():
    """Windows of all rows, at columns 0 .. 3, 2 .. 5, 4 .. 7, and the last moved inside, 5 .. 8."""
    prior, grid = build(), (3, 9)
    known = torch.rand(grid, generator=torch.Generator().manual_seed(8)) < 0.5
    asked = canvas(grid=grid, known=known, seeds=(4,), steps=1, choice=Choice(top_k=1))
    found = drawn(prior, asked)[0]
    nearest = [0, 0, 0, 2, 2, 4, 4, 5, 5]  # where the window begins whose middle is nearest to each column
    for row, column in (~known).nonzero().tolist():
        inside = slice(nearest[column], nearest[column] + COLUMNS)
        codes, shown = asked.codes[:, :, inside].flatten(1), known[:, inside].flatten()[None]
        logits = prior(codes, torch.tensor([[2]]), shown)[0, row * COLUMNS + column - nearest[column]]
        assert logits.argmax() == found[row, column]


@torch.no_grad()
def test_windows_are_told_what_their_cells_are_told():
    prior, grid = build(NUM), (3, 6)
    told = torch.arange(18).view(1, 3, 6) % 5
    asked = canvas(grid=grid, seeds=(4,), steps=1, choice=Choice(top_k=1))
    guided = Guided([Weighted(GridContext(tokens=told))], limit=CODES)
    found = draw(prior.decoder(guided, asked), asked, prior.distribution)[0]
    codes = torch.zeros(1, NUM, dtype=torch.int64)
    for begin, columns in ((0, slice(0, 3)), (2, slice(3, 6))):
        own = prior(codes, told[:, :, begin : begin + 4].flatten(1)).argmax(2).view(3, 4)
        assert found[:, columns].equal(own[:, columns.start - begin : columns.stop - begin])


@pytest.fixture(scope="module")
def model():
    return generator("masked", grid=(4, 6))


def test_own_numbers_stay(model):
    codes = model.sample(num=2, label=1, seed=3, steps=5).codes[0]
    assert codes.flatten().tolist() == [
        *(5, 3, 5, 10, 3, 5),
        *(9, 5, 4, 10, 4, 8),
        *(10, 3, 8, 4, 10, 5),
        *(3, 4, 1, 10, 0, 10),
    ]
    codes = model.sample(label=2, seed=4, size=(8, 16), order="halton", guidance_scale=2.0).codes
    assert codes.flatten().tolist() == [
        *(3, 3, 10, 8, 3, 8, 10, 8),
        *(11, 3, 9, 6, 5, 10, 8, 8),
        *(8, 10, 5, 8, 8, 7, 10, 0),
        *(3, 7, 0, 11, 0, 3, 8, 10),
    ]
    assert model.nats_per_token(codes[:, :, :6], label=2) == pytest.approx(2.6015785, abs=1e-5)


def test_own_options_are_checked_and_recorded(model):
    (image,) = model.sample(label=0, steps=3, order="halton")
    metadata = json.loads(image.info[METADATA])
    assert (metadata["steps"], metadata["order"], metadata["confidence_noise"]) == (3, "halton", 4.5)
    for wrong, words in (
        ({"steps": 0}, "steps.*got 0"),
        ({"order": "spiral"}, "valid order, got 'spiral'; input should be 'confidence' or 'halton'"),
        ({"step": 3}, "of its prior steps=, order=, .*got step=; did you mean steps="),
        ({"stride": 2}, "stride=1: .*half a window, got 2"),
        ({"speculative": 2}, "speculative=1.*give steps="),
        ({"size": (8, 8)}, "from 8 x 12 pixels up"),
    ):
        with pytest.raises(UserError, match=words):
            model.sample(label=0, **wrong)
    with pytest.raises(UserError, match="label= as its only condition, got steps=; leave it out"):
        generator("gpt").sample(label=0, steps=3)
    with pytest.raises(UserError, match="order=row for a prior of kind masked"):
        generator("masked", order="spiral_in")


def test_it_trains_loads_and_draws(photos, tmp_path, monkeypatch):
    library.save(generator("gpt").tokenizer, tmp_path / "tokenizer")
    recipe = {
        **TRAINING,
        "kind": "prior",
        "size": 8,
        "steps": 16,
        "optimizer": {"lr": 2.0e-2},
        "tokenizer": str(tmp_path / "tokenizer"),
        "prior": {"kind": "masked", "layers": 1, "heads": 2, "width": 16},
        "condition": {"kind": "label", "dropout": 0.3},
    }
    (tmp_path / "prior.yaml").write_text(yaml.safe_dump(recipe))
    out = smalti.train(tmp_path / "prior.yaml", data=photos, out=tmp_path / "run")
    lines = log.read(out / "log.jsonl")
    losses = [line["loss/prior"] for line in lines if line["kind"] == "train"]
    assert losses[0] == pytest.approx(math.log(12), abs=0.05)
    assert sum(losses[-5:]) / 5 < losses[0] - 0.2
    (last,) = [line for line in lines if line["kind"] == "validation"]
    assert 0 < last["nats_per_token_at_most"] < math.log(12)
    assert "nats_per_token" not in last
    model = smalti.load(out)
    codes = model.sample(num=3, label=[0, 1, 1], micro_batch=2, steps=4).codes
    alone = model.sample(label=1, seed=2, micro_batch=2, steps=4).codes
    assert codes[2].equal(alone[0])


@torch.no_grad()
def test_half_precision(model):
    prior, (codes, prefix, chance) = build(), tokens()
    logits = prior(codes, prefix, chance < 0.5)
    close = {"rtol": 0.1, "atol": 0.1 * logits.std().item()}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(prior(codes, prefix, chance < 0.5).float(), logits, **close)
    narrow = prior.to(torch.bfloat16)
    assert narrow(codes, prefix, chance < 0.5).dtype is torch.bfloat16
    assert drawn(narrow, canvas(grid=(3, 6), steps=3), scale=2.0).shape == (2, 3, 6)


def test_other_formats_refuse_it(model, tmp_path):
    library.save(model, tmp_path / "model")
    for name, words in (
        ("compvis", "a prior of kind gpt.*got masked"),
        ("diffusers", "has no class for this"),
    ):
        with pytest.raises(UserError, match=words):
            convert(tmp_path / "model", tmp_path / name, name)


def test_it_is_one_file_one_line_and_its_recipes():
    """What a member of a shelf may cost: nothing else in the package knows of it."""
    source = Path(smalti.__file__).parent
    word = re.compile(r"Masked(Settings|Drawing)|priors\.masked|kind(=|: | )masked")
    knowing = {
        str(path.relative_to(source))
        for path in source.rglob("*")
        if path.suffix in (".py", ".yaml") and word.search(path.read_text())
    }
    assert knowing == {
        "priors/masked.py",
        "priors/__init__.py",
        "recipes/prior_masked_300.yaml",
        "recipes/prior_masked_30k.yaml",
    }


def test_as_many_tokens_as_cells_need_not_be_one_a_cell():
    """A condition says whether it tells of cells: of things there may be as many by chance."""
    scope = scope_of(codebook_size=CODES, prefix_vocabulary=5, prefix_length=NUM, cells=CELLS)
    prior = Masked(MaskedSettings(layers=1, heads=2, width=16), scope)
    assert len(prior.positions) == 2 * NUM
    assert len(build(NUM).positions) == NUM
