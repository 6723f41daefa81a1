"""PixelSNAIL: its formulas said anew, what a cell sees, what its cache holds, and that it learns."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
import yaml
from reference import cell_by_cell, draw, drawing
from tiny import TRAINING, generator, scope_of

import smalti
from smalti import library
from smalti.conditions.context import GridContext, SameContext
from smalti.drawing.canvas import Canvas, Choice
from smalti.errors import UserError
from smalti.formats.exporting import convert
from smalti.orders import order
from smalti.priors.pixelsnail import Convolution, PixelSNAIL, PixelSNAILSettings
from smalti.priors.protocol import Scope
from smalti.training import log

ROWS, COLUMNS, CODES, TOKENS = 5, 4, 11, 6
NUM = ROWS * COLUMNS
SIZES = {"layers": 2, "residual_blocks": 2, "width": 12, "key_width": 5}
CONDITIONS = {"one token": 1, "three tokens": 3, "a token a cell": NUM}


def scope(prefix_length=1, rows=ROWS, columns=COLUMNS, codes=CODES, tokens=TOKENS, **more) -> Scope:
    cells = tuple(itertools.product(range(rows), range(columns)))
    by_cell = prefix_length == len(cells)
    told = {"prefix_vocabulary": tokens, "prefix_length": prefix_length, "prefix_is_by_cell": by_cell}
    return scope_of(codebook_size=codes, cells=cells, **told, **more)


def build(prefix_length=1, **changes) -> PixelSNAIL:
    """With weights as they start, but for the head and the gates, which would let little through."""
    torch.manual_seed(0)
    prior = PixelSNAIL(PixelSNAILSettings(**SIZES | changes), scope(prefix_length)).eval()
    torch.nn.init.normal_(prior.head.weight, std=0.5)
    for name, parameter in prior.named_parameters():
        if "second." in name and name.endswith("weight"):
            parameter.data *= 10
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.2)
    return prior


def tokens(prefix_length=1, batch=2):
    rng = torch.Generator().manual_seed(1)
    codes = torch.randint(CODES, (batch, NUM), generator=rng)
    return codes, torch.randint(TOKENS, (batch, prefix_length), generator=rng)


def by_formulas(prior: PixelSNAIL, codes, prefix) -> torch.Tensor:
    """As the public code has it, on maps b c h w: shifts, padded convolutions, attention cell by cell."""

    def residual(part, x, apply, joined=None):
        inner = apply(part.first, active(x))
        if joined is not None:
            inner = inner + alone(part.join, active(joined))
        kept, gate = apply(part.second, active(inner)).chunk(2, 1)
        return x + kept * gate.sigmoid()

    def active(x):
        return F.elu(torch.cat((x, -x), 1) if prior.settings.activation == "concat_elu" else x)

    def alone(layer, x):
        return F.conv2d(x, layer.weight[:, :, None, None], layer.bias)

    def convolve(layer, x):
        kernel = torch.stack(layer.product.weight.chunk(4, 1), 2).unflatten(2, (2, 2))
        return F.conv2d(F.pad(x, (1, 0, 1, 0)), kernel, layer.product.bias)

    def attend(block, queries, keys, values):
        found = torch.zeros(len(codes), values.shape[1], NUM)
        before = prefix.shape[1]
        for head, cell in itertools.product(range(block.heads), range(NUM)):
            asking, held, mixed = (part.chunk(block.heads, 1)[head] for part in (queries, keys, values))
            scores = (asking[:, :, cell, None] * held[:, :, : before + cell]).sum(1)
            shares = (scores / math.sqrt(asking.shape[1])).softmax(1)
            size = mixed.shape[1]
            found[:, head * size : (head + 1) * size, cell] = (
                shares[:, None] * mixed[:, :, : before + cell]
            ).sum(2)
        return found.unflatten(2, (ROWS, COLUMNS))

    fed = prior.table(codes).mT.unflatten(2, (ROWS, COLUMNS))
    left_above, above, right_above, left = prior.stem.weight.chunk(4, 1)
    of_row = F.conv2d(F.pad(fed, (1, 1, 0, 0)), torch.stack((left_above, above, right_above), 2)[:, :, None])
    down = F.pad(of_row, (0, 0, 1, 0))[:, :, :-1]
    right = F.pad(F.conv2d(fed, left[:, :, None, None]), (1, 0, 0, 0))[..., :-1]
    u = down + right + prior.stem.bias[:, None, None]
    told = prior.prefix_table(prefix).mT
    if prefix.shape[1] == 1:
        u = u + told[..., None]
    if prefix.shape[1] == NUM:
        u = u + told.unflatten(2, (ROWS, COLUMNS))
    down = (torch.arange(ROWS) - ROWS / 2) / ROWS
    across = (torch.arange(COLUMNS) - COLUMNS / 2) / COLUMNS
    background = torch.stack((down[:, None].expand(ROWS, COLUMNS), across.expand(ROWS, COLUMNS)))
    background = background.expand(len(codes), -1, -1, -1)
    for block in prior.blocks:
        for part in block.convolved:
            u = residual(part, u, convolve)
        positions = prior.prefix_positions.mT.expand(len(codes), -1, -1)
        before = torch.cat((told, positions, torch.zeros(len(codes), 2, prefix.shape[1])), 1)
        raw = torch.cat((before, torch.cat((fed, u, background), 1).flatten(2)), 2)[..., None]
        found = alone(block.keys_values, residual(block.held, raw, alone))[..., 0]
        raw = torch.cat((u, background), 1)
        queries = alone(block.queries, residual(block.asking, raw, alone)).flatten(2)
        keys, values = found.split((queries.shape[1], u.shape[1] // 2), 1)
        u = residual(block.mixed, u, alone, attend(block, queries, keys, values))
    return prior.head(F.elu(u).flatten(2).mT)


@torch.no_grad()
@pytest.mark.parametrize("length", CONDITIONS.values(), ids=CONDITIONS.keys())
@pytest.mark.parametrize("changes", [{}, {"activation": "concat_elu", "heads": 3}], ids=["elu", "concat"])
def test_it_is_its_formulas(length, changes):
    prior, (codes, prefix) = build(length, **changes), tokens(length)
    found, expected = prior(codes, prefix), by_formulas(prior, codes, prefix)
    assert expected.std() > 0.3
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("length", CONDITIONS.values(), ids=CONDITIONS.keys())
def test_a_cell_has_gradients_of_all_codes_before_it_and_of_no_other(length):
    prior, (codes, prefix) = build(length), tokens(length, batch=1)
    embedded = []
    prior.table.register_forward_hook(lambda module, given, found: embedded.append(found))
    logits = prior(codes, prefix)
    for cell in range(NUM):
        (gradient,) = torch.autograd.grad(logits[0, cell].sum(), embedded[0], retain_graph=True)
        reached = gradient[0].abs().sum(1) > 0  # the last code is never fed
        assert reached.tolist() == [place < cell for place in range(NUM - 1)]


@torch.no_grad()
def test_convolutions_alone_see_what_lies_near():
    """Without attention: a residual block widens what the stem sees by two cells up and left."""
    prior, (codes, prefix) = build(layers=1, residual_blocks=1), tokens(batch=1)
    mixed = prior.blocks[0].mixed.join
    torch.nn.init.zeros_(mixed.weight)
    logits, seen = prior(codes, prefix), set()
    for place in range(NUM):
        other = codes.clone()
        other[0, place] = (other[0, place] + 1) % CODES
        if (prior(other, prefix) - logits)[0, 4 * COLUMNS + 2].abs().max() > 1e-6:
            seen.add(divmod(place, COLUMNS))
    near = {(row, column) for row in range(1, 5) for column in range(4)}
    # of row 4 what lies left; of the row above all but what lies right of the right neighbour
    assert seen == near - {(4, 2), (4, 3)}


def canvas(grid=(ROWS, COLUMNS), num=2, known=None, **more) -> Canvas:
    rng = torch.Generator().manual_seed(3)
    return Canvas(
        codes=torch.randint(CODES, (num, *grid), generator=rng),
        known=torch.zeros(grid, dtype=torch.bool) if known is None else known,
        seeds=torch.arange(num) * 1000 - 7,
        window=(ROWS, COLUMNS),
        order=order("row", ROWS, COLUMNS),
        choice=Choice(),
        **more,
    )


def context(length: int, grid, num=2, start=0):
    rng = torch.Generator().manual_seed(start)
    if length == NUM:
        return GridContext(tokens=torch.randint(TOKENS, (num, *grid), generator=rng))
    return SameContext(prefix=torch.randint(TOKENS, (num, length), generator=rng))


@torch.no_grad()
@pytest.mark.parametrize("length", CONDITIONS.values(), ids=CONDITIONS.keys())
@pytest.mark.parametrize("grid", [(ROWS, COLUMNS), (7, 6)], ids=str)
@pytest.mark.parametrize("kept", ["nothing", "every third", "all but the last"])
def test_codes_are_those_of_full_passes(length, grid, kept):
    """With guidance, of crops and larger canvases; cells that are known lie among the others."""
    prior, known = build(length), torch.zeros(grid, dtype=torch.bool)
    if kept == "every third":
        known.view(-1)[::3] = True
    elif kept != "nothing":
        known.view(-1)[:-1] = True
    prompt, null = context(length, grid), context(length, grid, start=9)
    asked = canvas(grid, known=known)
    scored = drawing(prior, prompt, null=null, scale=1.7, limit=CODES)
    found = draw(scored, asked)
    assert found.equal(cell_by_cell(scored, asked))
    assert found[:, known].equal(asked.codes[:, known])
    assert kept != "nothing" or not found[0].equal(found[1])


@pytest.fixture
def fed(monkeypatch):
    """Cells that go through convolutions one by one, and those of grids."""
    counts = {"one by one": 0, "whole": 0}
    one, whole = Convolution.forward, Convolution.over

    def forward(self, seen):
        counts["one by one"] += seen[..., 0].numel()
        return one(self, seen)

    def over(self, grid):
        counts["whole"] += len(grid) * (grid.shape[2] - 1) * (grid.shape[3] - 1)
        return whole(self, grid)

    monkeypatch.setattr(Convolution, "forward", forward)
    monkeypatch.setattr(Convolution, "over", over)
    return counts


@torch.no_grad()
def test_a_cell_goes_once_through_each_convolution(fed):
    """Eight convolutions; the first pass is whole, over the rows that are known, or the first row."""
    prior, prompt = build(), context(1, (ROWS, COLUMNS))
    draw(drawing(prior, prompt, limit=CODES), canvas())
    assert fed == {"one by one": 8 * 2 * (NUM - 1), "whole": 8 * 2 * COLUMNS}
    fed.update({"one by one": 0, "whole": 0})
    known = torch.zeros(ROWS, COLUMNS, dtype=torch.bool)
    known[:2] = True
    known[3, 1] = True
    draw(drawing(prior, prompt, limit=CODES), canvas(known=known))
    assert fed == {"one by one": 8 * 2 * (NUM - 2 * COLUMNS - 1), "whole": 8 * 2 * 3 * COLUMNS}


def test_what_a_cache_holds():
    """Of the published size 32 MiB an image; keys and values of a transformer of 12 x 768 take 18."""
    with torch.device("meta"):
        cache = PixelSNAIL(PixelSNAILSettings(), scope(rows=16, columns=16)).new_cache(1)
    attentions = sum(part.nbytes for part in (*cache.keys, *cache.values))
    assert attentions == 12 * 256 * (16 + 128) * 4
    assert cache.nbytes - attentions == (1 + 12 + 12 * 4 * 2) * 17 * 17 * 256 * 4


@pytest.mark.parametrize(
    ("width", "layers", "activation", "weights"),
    [
        (128, 8, "elu", 9_290_656),
        (256, 8, "elu", 36_405_024),
        (256, 12, "elu", 54_213_424),
        (512, 12, "elu", 215_116_848),
        (256, 12, "concat_elu", 106_622_032),
    ],
)
def test_weights_are_counted(width, layers, activation, weights):
    """Over 16 x 16 of 1024 codes without a condition."""
    settings = PixelSNAILSettings(width=width, layers=layers, activation=activation)
    with torch.device("meta"):
        prior = PixelSNAIL(settings, scope(rows=16, columns=16, codes=1024, tokens=1))
    assert sum(parameter.numel() for parameter in prior.parameters()) == weights


@pytest.mark.parametrize(
    ("changes", "of", "words"),
    [
        ({"heads": 5}, {}, "multiple of 2 times prior.heads, got 12 and 5"),
        ({"width": 9}, {}, "multiple of 2 times prior.heads, got 9 and 1"),
        ({}, {"order": "spiral_in"}, "order=row for a prior of kind pixelsnail, got spiral_in"),
    ],
)
def test_settings_that_cannot_be(changes, of, words):
    with pytest.raises(UserError, match=words):
        PixelSNAIL(PixelSNAILSettings(**SIZES | changes), scope(**of))


def test_it_trains_goes_on_loads_and_draws(photos, tmp_path):
    """A run of 16 steps, and one that is stopped at 10 and goes on: the same weights."""
    library.save(generator("gpt").tokenizer, tmp_path / "tokenizer")
    recipe = {
        **TRAINING,
        "kind": "prior",
        "size": 8,
        "steps": 16,
        "checkpoint_every": 10,
        "optimizer": {"lr": 2.0e-2},
        "tokenizer": str(tmp_path / "tokenizer"),
        "prior": {"kind": "pixelsnail", "layers": 1, "width": 16, "residual_dropout": 0.1},
        "condition": {"kind": "label", "dropout": 0.3},
    }
    (tmp_path / "prior.yaml").write_text(yaml.safe_dump(recipe))
    out = smalti.train(tmp_path / "prior.yaml", data=photos, out=tmp_path / "run")
    lines = log.read(out / "log.jsonl")
    losses = [line["loss/prior"] for line in lines if line["kind"] == "train"]
    assert losses[0] == pytest.approx(math.log(12), abs=0.05)
    assert sum(losses[-5:]) / 5 < losses[0] - 0.2
    (last,) = [line for line in lines if line["kind"] == "validation"]
    assert 0 < last["nats_per_token"] < math.log(12)
    model = smalti.load(out)
    smalti.train(tmp_path / "prior.yaml", data=photos, out=tmp_path / "part", steps=10)
    again = smalti.train(out=tmp_path / "part", resume=True, steps=16)
    for name, weight in smalti.load(again).prior.state_dict().items():
        assert weight.equal(model.prior.state_dict()[name]), name
    codes = model.sample(num=3, label=[0, 1, 1], micro_batch=2, size=(8, 14)).codes
    assert model.sample(label=1, seed=2, micro_batch=2, size=(8, 14)).codes[0].equal(codes[2])


def test_own_numbers_stay():
    model = generator("pixelsnail", grid=(4, 6))
    drawn = model.sample(num=2, label=[1, 2], seed=3, guidance_scale=1.5).codes
    assert drawn.flatten().tolist() == [
        *(8, 9, 10, 8, 5, 5),
        *(4, 0, 3, 11, 10, 4),
        *(11, 0, 9, 11, 0, 1),
        *(11, 1, 0, 1, 1, 11),
        *(10, 11, 2, 2, 10, 11),
        *(2, 7, 11, 11, 10, 10),
        *(4, 11, 11, 2, 2, 2),
        *(11, 10, 6, 11, 2, 11),
    ]
    assert model.nats_per_token(drawn, label=[1, 2]) == pytest.approx(1.8555609, abs=1e-5)


def test_other_formats_refuse_it(tmp_path):
    library.save(generator("pixelsnail"), tmp_path / "model")
    for name, words in (("compvis", "a prior of kind gpt.*got pixelsnail"), ("diffusers", "has no class")):
        with pytest.raises(UserError, match=words):
            convert(tmp_path / "model", tmp_path / name, name)


def test_sizes_it_cannot_draw():
    model = generator("pixelsnail")
    for wrong, words in (
        ({"size": (6, 8)}, "from 8 x 8 pixels up"),
        ({"size": (8, 12), "stride": 3}, "a stride of at most 2"),
    ):
        with pytest.raises(UserError, match=words):
            model.sample(label=0, **wrong)
