"""Several conditions at once: what each is told, dropped and guided by, and mixtures of two values."""

import json
from functools import partial

import pytest
import torch
from reference import Drawing, cell_by_cell, draw
from tiny import CODEBOOK, LABELS, generator

from smalti import config
from smalti.conditions import CONDITIONS, ConditionSettings
from smalti.conditions.joint import JointSettings
from smalti.conditions.map import MapSettings
from smalti.drawing.canvas import Canvas
from smalti.drawing.guidance import Guided
from smalti.drawing.told import Place, shares, tell
from smalti.errors import UserError
from smalti.tokens.choice import Choice, choose
from smalti.tokens.noise import keys

CPU = torch.device("cpu")
BOTH = JointSettings(of={"map": MapSettings(shared=True, dropout=0.3), "label": LABELS})
SEEN = {"num": 3, "grid": (4, 4), "device": CPU}


@config.settings
class Recipe:
    condition: ConditionSettings


def maps(num=1, size=(8, 8)):
    return torch.rand(num, 3, *size, generator=torch.Generator().manual_seed(5)) * 2 - 1


@pytest.fixture(scope="module")
def model():
    return generator("modern", condition=BOTH)


@pytest.fixture(scope="module", params=["gpt", "modern", "masked", "pixelsnail"])
def any_model(request):
    return generator(request.param, condition=BOTH)


def test_a_list_is_read_by_name_in_any_order():
    given = [{"kind": "map", "shared": True, "dropout": 0.3}, {"kind": "label", "name": "of", "classes": 3}]
    read = [config.parse({"condition": way}, Recipe).condition for way in (given, given[::-1])]
    assert read[0] == read[1]
    assert list(read[0].ordered) == ["map", "of"]
    assert (read[0].classes, read[0].names) == (3, ())
    assert config.parse({"condition": config.dump(read[0])}, Recipe).condition == read[0]
    assert [generator(condition=one).condition.vocabulary for one in read] == [12 + 1 + 3] * 2


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["label", "label"], r"different names, got label twice; write for example \{kind: label, name:"),
        ([{"kind": "label", "classes": 2}], "two conditions or more in a list, got 1"),
        (["none", {"kind": "map"}], "two conditions or more in a list, got one of kind none"),
        ([{"kind": "joint", "of": {}}, "map"], "two conditions or more in a list"),
        ([3, "map"], r"a list of kinds, or of settings with a kind, got 3; write for example condition: \["),
        (["labl", "map"], "did you mean condition.of.labl.kind=label"),
        ([{"kind": "label", "clases": 2}, "map"], "did you mean condition.of.label.classes"),
        ([{"kind": "label", "classes": 2, "dropout": 2}, "map"], "a valid condition.of.label.dropout, got 2"),
        ([{"kind": "map", "name": "a b"}, "map"], "names that Python takes, got a b"),
    ],
)
def test_wrong_lists(given, words):
    with pytest.raises(UserError, match=words):
        config.parse({"condition": given}, Recipe)


def test_a_change_by_name():
    recipe = {"condition": ["map", {"kind": "label", "classes": 3}]}
    read = config.gathered(recipe, Recipe)
    config.lay({"condition.of.map.dropout": 0.25}, read)
    assert config.parse(read, Recipe).condition.of["map"].dropout == 0.25


def test_tokens_lie_side_by_side(model):
    """Classes 0 .. 2 and one for none, then the codes of maps: in the order of names."""
    context = model.condition.context({"label": [2, 0, 1], "map": maps()}, **SEEN)
    alone = model.condition.named["map"].context(maps(), **SEEN)
    for window in ((0, 0, 4, 4), (1, 2, 3, 2)):
        prefix = context.window(*window)
        assert prefix[:, 0].tolist() == [2, 0, 1]
        assert prefix[:, 1:].equal(alone.window(*window) + 4)
    assert model.condition.vocabulary == 4 + 13
    assert model.condition.loose == ("label", "map")


def test_each_is_dropped_by_itself(model):
    condition, num = model.condition, 4000
    context = condition.context({"label": 1, "map": maps()}, num=num, grid=(4, 4), device=CPU)
    dropped = condition.drop(context, num, torch.Generator().manual_seed(0)).window(0, 0, 4, 4)
    whole, null = context.window(0, 0, 4, 4), condition.null(num=num, grid=(4, 4), device=CPU)
    gone = dropped == null.window(0, 0, 4, 4)
    label, map_gone = gone[:, 0].double(), gone[:, 1:].all(1).double()
    assert gone[:, 1:].any(1).equal(gone[:, 1:].all(1))
    assert label.mean().item() == pytest.approx(0.1, abs=0.02)
    assert map_gone.mean().item() == pytest.approx(0.3, abs=0.02)
    assert (label * map_gone).mean().item() == pytest.approx(0.03, abs=0.01)
    assert dropped[~gone].equal(whole[~gone])


def test_what_need_not_be_given(model):
    codes = model.sample(2, label=1).codes
    null = {"label": 1, "map": None}
    assert model.sample(2, **null).codes.equal(codes)
    assert not model.sample(2, label=1, map=maps()).codes.equal(codes)
    assert model.nats_per_token(codes, label=1) != model.nats_per_token(codes, label=1, map=maps())
    fixed = generator(condition=JointSettings(of={"map": MapSettings(shared=True), "label": LABELS}))
    with pytest.raises(UserError, match="a map, got none; give map="):
        fixed.sample(label=1)
    with pytest.raises(UserError, match="label=, map= as its conditions, got lable=; did you mean label="):
        fixed.sample(lable=1)
    with pytest.raises(UserError, match="one map, or 3 of them, got 2"):
        fixed.sample(3, label=1, map=maps(2))


def said(model, *names):
    """The logits of a crop's first cells under some of the conditions alone."""
    given = {"label": 2, "map": maps()}
    codes = torch.arange(16).view(1, 4, 4) % 12
    return model.logits(codes, **{name: given[name] for name in names})[..., :12]


def told(model, scales, mix=None, **given):
    """The logits of the same, as drawing has them."""
    place = Place(num=1, grid=(4, 4), window=(4, 4), device=CPU)
    found = tell(model.condition, given or {"label": 2, "map": maps()}, scales, mix, place)
    guided = Guided(found.weighted, null=found.null, limit=12)
    codes, prefix = torch.arange(16)[None] % 12, guided.prefix([(0, 0)], (4, 4))
    with torch.no_grad():
        logits = model.prior(guided.repeated(codes), prefix)
    return guided(logits, torch.arange(16)[None]), len(found)


def test_the_formula(model):
    """As `drawing.told` has it; with scales of 1 in one pass, with one for all in two."""
    both, label, map_, null = (said(model, *names) for names in (("label", "map"), ("label",), ("map",), ()))
    close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-4)
    for scales in (1, 1.0, {}, {"label": 1, "map": 1}):
        logits, passes = told(model, scales)
        assert passes == 1
        close(logits, both)
    logits, passes = told(model, 3.0)
    assert passes == 2
    close(logits, null + 3 * (both - null))
    logits, passes = told(model, {"label": 3, "map": 1.5})
    assert passes == 4
    close(logits, both + 2 * (label - null) + 0.5 * (map_ - null))
    logits, passes = told(model, {"label": 3})
    assert passes == 3
    close(logits, both + 2 * (label - null))
    logits, passes = told(model, {"label": 3}, label=2)
    assert passes == 2
    close(logits, null + 3 * (label - null))
    assert logits.equal(told(model, 3, label=2)[0])


def test_without_what_is_said_only_together_it_is_the_sum_of_each():
    """Where the logits of a prior are sums over conditions, c - u is the sum of c_i - u."""
    parts = torch.randn(4, 1, 1, 12, generator=torch.Generator().manual_seed(0))
    null, label, map_ = parts[0], parts[0] + parts[1], parts[0] + parts[2]
    both = label + map_ - null
    ours = both + 2 * (label - null) + 0.5 * (map_ - null)
    torch.testing.assert_close(ours, null + 3 * (label - null) + 1.5 * (map_ - null))


def test_guidance_of_one_condition_is_what_it_was():
    model = generator(condition=LABELS)
    drawn = model.sample(2, label=0, guidance_scale=2.5)
    assert model.sample(2, label=0, guidance_scale={"label": 2.5}).codes.equal(drawn.codes)
    assert drawn.metadata[0]["guidance"] == 2.5
    assert "mix" not in drawn.metadata[0]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"guidance_scale": {"labels": 2}}, "guidance of the model's conditions: label, map, got labels"),
        ({"guidance_scale": {"map": 2}, "map": None}, "a value of map, which is to guide, got none"),
        ({"guidance_scale": {"map": "much"}}, "a number for guidance_scale, got 'much'"),
        ({"guidance_scale": {"map": float("inf")}}, "a number for guidance_scale, got .*inf"),
        ({"mix": 0.5}, "two values to mix, of label or map, got no two; give the first and the second"),
        ({"mix": 0.5, "label": [0, 1, 2]}, "two values to mix, of label or map, got 3"),
        ({"mix": 1.5, "label": [0, 1]}, "shares from 0 to 1 for mix, got 1.5; for example mix=0.3"),
        ({"mix": float("nan"), "label": [0, 1]}, "shares from 0 to 1 for mix, got nan"),
        ({"mix": "leftright", "label": [0, 1]}, "mix as a share or left-right or top-bottom, got 'left"),
        ({"mix": torch.ones(3, 4), "label": [0, 1]}, r"or of 4 x 4 cells, for mix, got a tensor \(3, 4\)"),
    ],
)
def test_wrong_wishes(model, asked, words):
    with pytest.raises(UserError, match=words):
        model.sample(**{"label": 0, "map": maps(), **asked})


def test_guidance_of_what_cannot_be_left_out():
    joint = {"coordinates": CONDITIONS["coordinates"][0](tokens=20), "label": LABELS}
    model = generator(condition=JointSettings(of=joint))
    whole = model.sample(2, label=0, guidance_scale=2.0)  # coordinates stay in both contexts
    assert not whole.codes.equal(model.sample(2, label=0).codes)
    assert whole.codes.equal(model.sample(2, label=0, guidance_scale={"label": 2.0}).codes)
    with pytest.raises(UserError, match="that can be left out, for guidance, got coordinates"):
        model.sample(label=0, guidance_scale={"coordinates": 2.0})
    two = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0))
    model.sample(label=0, coordinates=two, mix=0.5)
    with pytest.raises(UserError, match="a mixture of what can be left out, to guide it, got one of coord"):
        model.sample(label=0, coordinates=two, mix=0.5, guidance_scale=2.0)


GUIDANCE = [1.0, 2.0, {"label": 3.0}, {"label": 3.0, "map": 1.5}]


@pytest.mark.parametrize("scale", [1.0, {"label": 3.0, "map": 1.5}], ids=str)
def test_mixtures_end_in_what_they_mix(any_model, scale):
    """Bit for bit."""
    how = {"num": 2, "guidance_scale": scale, "micro_batch": 1}
    for mixed in ({"label": [0, 2]}, {"label": [0, 2], "map": maps(2)}):
        given = {"map": maps(), **mixed}
        drawn = partial(any_model.sample, **how)
        ends = [drawn(**{**given, **{name: two[end] for name, two in mixed.items()}}).codes for end in (0, 1)]
        assert drawn(**given, mix=0.0).codes.equal(ends[0])
        assert drawn(**given, mix=1).codes.equal(ends[1])
    assert drawn(**given, mix=torch.ones(4, 4)).codes.equal(ends[1])


def test_the_formula_of_mixtures(model):
    close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-4)
    both = {"label": [2, 0], "map": maps()}
    for scale in GUIDANCE:
        first, second = (told(model, scale, label=label, map=maps())[0] for label in (2, 0))
        close(told(model, scale, 0.3, **both)[0], 0.7 * first + 0.3 * second)
        share = torch.rand(4, 4, generator=torch.Generator().manual_seed(1))
        cells = share.flatten()[:, None]
        close(told(model, scale, share, **both)[0], (1 - cells) * first + cells * second)
    assert told(model, 1.0, 0.3, **both)[1] == 2
    assert told(model, 2.0, 0.3, **both)[1] == 3
    assert told(model, {"label": 3, "map": 2}, 0.3, **both)[1] == 6  # of the map alone once for both


def test_ramps():
    place = Place(num=1, grid=(2, 5), window=(2, 4), device=CPU)
    for mix in ("left-right", "top-bottom"):
        first, second = shares(mix, place)
        assert (first + second).tolist() == [1.0] * 10
    assert shares("left-right", place)[1].view(2, 5).tolist() == [[0, 0.25, 0.5, 0.75, 1]] * 2
    assert shares("top-bottom", place)[1].view(2, 5)[:, 3].tolist() == [0, 1]
    assert shares("0.25", place) == (0.75, 0.25)
    assert shares([[0.0] * 5, [1.0] * 5], place)[1].equal(shares("top-bottom", place)[1])


def canvas_of(grid, **more):
    return Canvas(
        codes=torch.zeros(2, *grid, dtype=torch.int64),
        known=torch.zeros(grid, dtype=torch.bool),
        seeds=torch.tensor([3, 9]),
        window=(4, 4),
        order=torch.arange(16),
        choice=Choice(),
        **more,
    )


@torch.no_grad()
@pytest.mark.parametrize("kind", ["gpt", "modern", "pixelsnail"])
@pytest.mark.parametrize("grid", [(4, 4), (5, 7)], ids=str)
@pytest.mark.parametrize("scale", [1.0, {"label": 3.0, "map": 1.5}], ids=str)
def test_every_way_of_drawing_gives_the_same(kind, grid, scale):
    """Cached or not, cell by cell or by guesses, alone or together: a ramp over the canvas."""
    model = generator(kind, condition=BOTH)
    given = {"label": [0, 2], "map": maps(1, (2 * grid[0], 2 * grid[1]))}
    place = Place(num=2, grid=grid, window=(4, 4), device=CPU)
    found = tell(model.condition, given, scale, "left-right", place)

    def drawing(rows=None):
        part = found if rows is None else found.take(torch.tensor(rows))
        return Drawing(model.prior, Guided(part.weighted, null=part.null, limit=12))

    plain = cell_by_cell(drawing(), canvas_of(grid))
    assert draw(drawing(), canvas_of(grid)).equal(plain)
    assert draw(drawing(), canvas_of(grid, stride=2)).shape == plain.shape
    assert draw(drawing(), canvas_of(grid, speculative=4)).equal(plain)
    for row in range(2):
        canvas = canvas_of(grid)
        one = Canvas(**{**vars(canvas), "codes": canvas.codes[:1], "seeds": canvas.seeds[row : row + 1]})
        assert draw(drawing([row]), one)[0].equal(plain[row])


@torch.no_grad()
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_fronts_mix_by_their_own_cells(scale):
    """Against all logits of a canvas, cell after cell, of each class by itself."""
    model, grid = generator("neighbourhood", condition=LABELS, grid=(5, 5)), (6, 7)
    share = torch.linspace(0, 1, 7).repeat(6)
    codes = torch.zeros(1, *grid, dtype=torch.int64)
    choice = Choice()
    for number in range(42):
        logits = [model.prior.score(codes, torch.tensor([[[token]]]))[0, number] for token in (0, 2, 3)]
        first, second = (logits[2] + scale * (one - logits[2]) for one in logits[:2])
        mixed = (1 - share[number]) * first + share[number] * second
        noise = keys(torch.tensor([4]), torch.tensor(number))
        codes.view(-1)[number] = choose(mixed[None], noise, choice)[0]
    drawn = model.sample(size=(12, 14), seed=4, label=[0, 2], mix="left-right", guidance_scale=scale)
    assert drawn.codes.equal(codes)


@torch.no_grad()
def test_few_passes_mix_by_their_own_cells():
    """All cells in one pass, the likeliest code each, on a canvas of windows half of which overlap."""
    model = generator("masked", condition=LABELS)
    told_alone = [
        model.sample(size=(8, 12), label=[0, 2], mix=share, steps=1, top_k=1).codes[0, :, column]
        for column, share in enumerate(torch.linspace(0, 1, 6).tolist())
    ]
    ramp = model.sample(size=(8, 12), label=[0, 2], mix="left-right", steps=1, top_k=1).codes[0]
    assert ramp.equal(torch.stack(told_alone, 1))
    assert len({tuple(row) for row in told_alone}) > 1 or CODEBOOK is None


def test_priors_of_near_cells_take_one_token_or_one_a_cell():
    with pytest.raises(UserError, match=r"neighbourhood, got one of 17 tokens .*set prior.kind=modern"):
        generator("neighbourhood", condition=BOTH)


def test_images_say_what_they_were_told(model, tmp_path):
    drawn = model.sample(2, label=[0, "moon"], map=maps(), mix=0.25, guidance_scale={"label": 2})
    made = json.loads(drawn.images[1].info["smalti"])
    assert made["label"] == [0, "moon"]
    assert (made["mix"], made["guidance"]) == (0.25, {"label": 2.0})
    assert made["map"].startswith("Tensor ")
    again = {"seed": made["seed"], "mix": made["mix"], "guidance_scale": made["guidance"]}
    assert model.sample(label=made["label"], map=maps(), **again).codes.equal(drawn.codes[1:])
    ramp = model.sample(label=[0, 1], mix=torch.zeros(4, 4)).metadata[0]
    assert ramp["mix"] == "a tensor (4, 4)"
    each = model.sample(label=[0, 2]).metadata
    assert [one["label"] for one in each] == [0, 2]
