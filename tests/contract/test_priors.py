"""Every prior is causal, draws step by step what it scores in one pass, and can be trained."""

import math

import pytest
import torch
import torch.nn.functional as F
from tiny import CAUSAL, scope_of

from smalti import config
from smalti.drawing import cache as cache_of_priors
from smalti.drawing.wavefront import Local
from smalti.errors import UserError
from smalti.priors import PRIORS, PriorSettings, pixelsnail
from smalti.priors.corrupt import corrupt
from smalti.priors.rotary import rotate, turns
from smalti.training import optimization
from smalti.training.settings import OptimizerSettings

SMALL = {"layers": 2, "heads": 2, "width": 16}
VARIANTS = {
    **{kind: (kind, 3, {}) for kind in CAUSAL},
    "gpt, own tables": ("gpt", 3, {"shared_table": False}),
    "gpt, prefix unmasked": ("gpt", 3, {"unmasked": 3, "vocabulary": 12, "positions": 40}),
    "modern, shift": ("modern", 1, {"conditioning": "shift"}),
    "modern, no qk_norm": ("modern", 1, {"qk_norm": False}),
    "pixelsnail, one token": ("pixelsnail", 1, {}),
    "pixelsnail, told by cell": ("pixelsnail", 12, {"activation": "concat_elu", "heads": 1}),
    "neighbourhood": ("neighbourhood", 1, {}),
    "neighbourhood, told by cell": ("neighbourhood", 12, {}),
}
DROPOUTS = {
    "gpt": ["embedding_dropout", "residual_dropout", "attention_dropout"],
    "modern": ["token_dropout", "residual_dropout", "ffn_dropout"],
    "llamagen": ["token_dropout", "residual_dropout", "ffn_dropout"],
    "masked": ["token_dropout", "residual_dropout", "ffn_dropout"],
    "neighbourhood": ["token_dropout", "residual_dropout", "ffn_dropout"],
    "pixelsnail": ["residual_dropout"],
}

LINEAR = {  # beside the head, where they are others than a transformer's
    "neighbourhood": ("qkv", "out", "up", "down", "join"),
    "pixelsnail": ("stem", "product", "first", "second", "join", "keys_values", "queries"),
}


@config.settings
class Recipe:
    prior: PriorSettings


CELLS = tuple((place // 4, place % 4) for place in range(12))
NUM, CODES, CLASSES = len(CELLS), 7, 10  # codes an image, codes of the codebook, tokens of a prefix


def scope(prefix_length=1, cells=CELLS):
    """As many tokens as there are cells are one a cell."""
    by_cell = prefix_length == len(cells)
    more = {"prefix_length": prefix_length, "prefix_is_by_cell": by_cell}
    return scope_of(codebook_size=CODES, prefix_vocabulary=CLASSES, cells=cells, **more)


def build(kind, scope, **changes):
    """A prior with lively weights: at its start head and gates may be zero, and nothing would show."""
    torch.manual_seed(0)
    settings, member = PRIORS[kind]
    prior = member(settings(**SMALL | changes), scope).eval()
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    if kind == "pixelsnail":  # no norm stands between its layers: rounding would grow with what they say
        for layer in prior.modules():
            if isinstance(layer, torch.nn.Linear):
                torch.nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
    return prior


def tokens(prefix_length, batch=3):
    generator = torch.Generator().manual_seed(1)
    codes = torch.randint(CODES, (batch, NUM), generator=generator)
    return codes, torch.randint(CLASSES, (batch, prefix_length), generator=generator)


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS.keys())
def case(request):
    kind, prefix_length, changes = request.param
    return build(kind, scope(prefix_length), **changes), *tokens(prefix_length)


@pytest.fixture(params=[case for case in VARIANTS.values() if case[0] != "neighbourhood"], ids=str)
def causal(request):
    kind, prefix_length, changes = request.param
    return build(kind, scope(prefix_length), **changes), *tokens(prefix_length)


@torch.no_grad()
def test_a_code_is_scored_by_those_before_it(case):
    prior, codes, prefix = case
    scores = prior(codes, prefix)
    assert scores.shape == (3, NUM, prior.codebook_size)
    for place in range(NUM):
        changed = codes.clone()
        changed[:, place] = (changed[:, place] + 1) % CODES
        moved = (prior(changed, prefix) - scores).abs().amax((0, 2)) > 1e-4
        assert not moved[: place + 1].any()
        assert moved[place + 1 :].all() or isinstance(prior, Local)  # see test_neighbourhood.py


@torch.no_grad()
def test_every_token_of_the_prefix_counts_in_its_place(case):
    prior, codes, prefix = case
    scores = prior(codes, prefix)
    for place in range(prefix.shape[1]):
        changed = prefix.clone()
        changed[:, place] = (changed[:, place] + 1) % CLASSES
        moved = (prior(codes, changed) - scores).abs().amax((0, 2)) > 1e-4
        assert moved.all() or (isinstance(prior, Local) and moved[place] and prefix.shape[1] > 1)
    if prefix.shape[1] > 1:
        assert (prior(codes, prefix.flip(1)) - scores).abs().amax() > 1e-2


@torch.no_grad()
@pytest.mark.parametrize("given", [0, 1, 5])
def test_drawing_sees_the_scores_of_one_pass(causal, given):
    prior, codes, prefix = causal
    scores, cache = prior(codes, prefix), prior.new_cache(len(codes))
    rows = [prior.prefill(codes[:, :given], prefix, cache)]
    rows += [prior.extend(codes[:, place : place + 1], cache)[:, 0] for place in range(given, NUM - 1)]
    torch.testing.assert_close(torch.stack(rows, 1), scores[:, given:], rtol=1e-5, atol=1e-5)
    for place in range(given, NUM):
        alone = prior.prefill(codes[:, :place], prefix)
        torch.testing.assert_close(alone, scores[:, place], rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("given", "counts"), [(0, (11,)), (0, (1, 3, 7)), (1, (2, 2, 1, 5)), (5, (4, 2))])
def test_many_codes_are_fed_in_one_pass(causal, given, counts):
    """As one after the other; what the cache forgets when its length is set back may be fed anew."""
    prior, codes, prefix = causal
    scores, cache, begin = prior(codes, prefix), prior.new_cache(len(codes)), given
    prior.prefill(codes[:, :given], prefix, cache)
    for count in counts:
        filled, part = cache.length, codes[:, begin : begin + count]
        prior.extend((part + 1) % CODES, cache)
        cache.length = filled
        found = prior.extend(part, cache)
        assert cache.length == filled + count
        rows = scores[:, begin + 1 : begin + 1 + count]
        torch.testing.assert_close(found, rows, rtol=1e-5, atol=1e-5)
        cache.length = filled
        last = prior.extend(part, cache, last=True)
        torch.testing.assert_close(last, found[:, -1:], rtol=1e-5, atol=1e-5)
        begin += count


@torch.no_grad()
@pytest.mark.parametrize("starts", [(0, 3, 7), (5, 1, 2), (4, 4, 4)])
def test_rows_go_on_where_each_of_them_is(causal, starts):
    """Four codes a row, after as many as the row has; what lies beyond is not seen."""
    prior, codes, prefix = causal
    scores, cache = prior(codes, prefix), prior.new_cache(len(codes))
    prior.prefill(codes[:, :0], prefix, cache)
    cache.clear()
    before = cache.length
    prior.extend((codes[:, :10] + 1) % CODES, cache)  # wrong ones, beyond a row's start
    for row, start in enumerate(starts):
        one = prior.new_cache(1)
        prior.prefill(codes[row : row + 1, :start], prefix[row : row + 1], one)
        for held, part in zip((*cache.keys, *cache.values), (*one.keys, *one.values), strict=True):
            held[row, :, : before + start] = part[0, :, : before + start]
        for name, held in getattr(cache, "maps", {}).items():
            held[row] = one.maps[name][0]
    cache.starts, cache.length = before + torch.tensor(starts), before + max(starts) + 4
    fed = torch.stack([codes[row, start : start + 4] for row, start in enumerate(starts)])
    found = prior.extend(fed, cache)
    assert cache.length == before + max(starts) + 4
    for row, start in enumerate(starts):
        expected = scores[row, start + 1 : start + 5]
        torch.testing.assert_close(found[row, : len(expected)], expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_cache_holds_one_window(causal):
    prior, codes, prefix = causal
    cache = prior.new_cache(len(codes))
    prior.prefill(codes[:, : NUM - 1], prefix, cache)
    assert cache.length == cache.keys[0].shape[2]
    with pytest.raises(AssertionError):
        prior.extend(codes[:, :1], cache)
    with pytest.raises(AssertionError, match="a prefix"):
        prior.extend(codes[:, :1], prior.new_cache(len(codes)))
    with pytest.raises(AssertionError, match="a code or more"):
        prior.extend(codes[:, :0], cache)
    with pytest.raises((AssertionError, RuntimeError)):
        prior.extend(codes[:, :2], cache)
    with pytest.raises(AssertionError, match="filled"):
        prior.prefill(codes, prefix, cache)


@torch.no_grad()
def test_a_row_does_not_see_its_neighbours(case):
    prior, codes, prefix = case
    scores = prior(codes, prefix)
    for row in range(len(codes)):
        torch.testing.assert_close(
            prior(codes[row : row + 1], prefix[row : row + 1]), scores[row : row + 1], rtol=1e-5, atol=1e-5
        )


def test_gradients_reach_all_parameters(case):
    prior, codes, prefix = case
    F.cross_entropy(prior.train()(codes, prefix).mT, codes).backward()
    still = [
        name for name, tensor in prior.named_parameters() if tensor.grad is None or not tensor.grad.any()
    ]
    assert not still


def test_it_learns_from_where_it_starts(case):
    prior, codes, prefix = case
    fresh = type(prior)(prior.settings, scope(prefix.shape[1]))
    optimizer = torch.optim.AdamW(fresh.parameters(), lr=1e-2, weight_decay=0.0)
    losses = []
    for _ in range(40):
        loss = F.cross_entropy(fresh(codes, prefix).mT, codes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    log_codes = torch.tensor(float(fresh.codebook_size)).log()
    assert abs(losses[0] - log_codes) < 0.05
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(("kind", "dropout"), [(kind, name) for kind in PRIORS for name in DROPOUTS[kind]])
def test_dropout_only_in_training(kind, dropout):
    codes, prefix = tokens(1)
    without, prior = build(kind, scope()), build(kind, scope(), **{dropout: 0.5})
    assert prior(codes, prefix).equal(without(codes, prefix))
    assert without.train()(codes, prefix).equal(without.eval()(codes, prefix))
    assert not prior.train()(codes, prefix).equal(prior(codes, prefix))


@torch.no_grad()
@pytest.mark.parametrize("held", [torch.float32, torch.bfloat16])
def test_half_precision(causal, held, monkeypatch):
    for module in (cache_of_priors, pixelsnail):
        monkeypatch.setattr(module, "of_cache", lambda dtype, device: held)
    prior, codes, prefix = causal
    scores = prior(codes, prefix)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(
            prior(codes, prefix).float(), scores, rtol=0.1, atol=0.1 * scores.std().item()
        )
    narrow = prior.to(torch.bfloat16)
    cache = narrow.new_cache(len(codes))
    assert cache.keys[0].dtype is held
    narrow.prefill(codes[:, :2], prefix, cache)
    assert narrow.extend(codes[:, 2:3], cache).dtype is torch.bfloat16


def test_weights_are_its_parameters_each_once(case):
    prior = case[0]
    state = prior.state_dict()
    assert set(state) == {name for name, _ in prior.named_parameters()}
    assert len({tensor.data_ptr() for tensor in state.values()}) == len(state)


def test_every_shift_scale_and_gate_is_in_use():
    prior = build("modern", scope(), conditioning="shift")
    codes, prefix = tokens(1)
    prior(codes, prefix).square().mean().backward()
    gradients = prior.shift.bias.grad.view(-1, SMALL["width"])
    assert len(gradients) == 6 * SMALL["layers"] + 2
    assert gradients.any(1).all()


@torch.no_grad()
def test_shifted_layers_begin_as_the_identity():
    settings, member = PRIORS["modern"]
    torch.manual_seed(0)
    prior = member(settings(**SMALL, conditioning="shift"), scope())
    torch.nn.init.normal_(prior.head.weight)  # which begins at zero
    codes, prefix = tokens(1)
    other = codes.clone()
    other[:, 3] = (codes[:, 3] + 1) % CODES
    moved = (prior(other, prefix) - prior(codes, prefix)).abs().amax((0, 2)) > 0
    assert moved.nonzero().flatten().tolist() == [4]


@torch.no_grad()
def test_modern_knows_which_cell_is_asked_for():
    codes, prefix = tokens(1)
    scores = build("modern", scope())(codes, prefix)
    elsewhere = build("modern", scope(cells=(*CELLS[:5], (9, 9), *CELLS[6:])))
    moved = (elsewhere(codes, prefix) - scores).abs().amax((0, 2)) > 1e-4
    assert moved.tolist() == [False] * 5 + [True] * (NUM - 5)


@torch.no_grad()
def test_modern_sees_only_distances():
    """Cells that are moved as a whole attend to one another as before."""
    cells = tuple((row + 3, column + 2) for row, column in CELLS)
    near, far = (turns(places, prefix_length=1, width=8, base=100.0) for places in (CELLS, cells))
    asked = torch.randn(1, NUM, 2, 1, 8, generator=torch.Generator().manual_seed(2))
    here, there = (rotate(asked, *turn)[0, 1:, :, 0] for turn in (near, far))
    torch.testing.assert_close(here[:, 0] @ here[:, 1].T, there[:, 0] @ there[:, 1].T, rtol=1e-5, atol=1e-5)


def test_turns_of_known_angles():
    """Channels 0 1 turn by the row, 2 3 by the column: query 1 asks for (0, 1), its key holds (0, 0)."""
    turn = turns(((0, 0), (0, 1), (2, 0)), prefix_length=1, width=4, base=100.0)
    turned = rotate(torch.tensor([1.0, 0.0, 1.0, 0.0]).expand(1, 3, 2, 1, 4), *turn)[0, :, :, 0]
    still, column = [1.0, 0.0, 1.0, 0.0], [1.0, 0.0, math.cos(1), math.sin(1)]
    expected = [[still, still], [column, still], [[math.cos(2), math.sin(2), 1.0, 0.0], column]]
    torch.testing.assert_close(turned, torch.tensor(expected))


@pytest.mark.parametrize(
    ("kind", "prefix_length", "changes", "words"),
    [
        ("gpt", 1, {"heads": 3}, "multiple of prior.heads, got 16 and 3"),
        ("gpt", 1, {"unmasked": 2}, "prior.unmasked .*2 with a prefix of 1"),
        ("gpt", 1, {"vocabulary": 9}, "prior.vocabulary of at least 10, got 9"),
        ("gpt", 3, {"positions": 13}, "prior.positions of at least 14, got 13"),
        ("gpt", 1, {"vocabulary": 12, "shared_table": False}, "shared table"),
        ("modern", 1, {"heads": 8}, "multiple of 4 times prior.heads, got 16 and 8"),
        ("modern", 2, {"conditioning": "shift"}, "one token"),
    ],
)
def test_settings_that_cannot_be(kind, prefix_length, changes, words):
    with pytest.raises(UserError, match=words):
        build(kind, scope(prefix_length), **changes)


@pytest.mark.parametrize("kind", PRIORS)
def test_settings_are_read_by_their_kind(kind):
    read = config.parse({"prior": {"kind": kind, "layers": 3}}, Recipe).prior
    assert read == PRIORS[kind][0](layers=3)


def test_corrupted_codes():
    codes = torch.zeros(100, 100, dtype=torch.int64)
    generator = torch.Generator().manual_seed(3)
    drawn = corrupt(codes, pkeep=0.75, codebook_size=5, generator=generator)
    assert abs((drawn == 0).float().mean() - (0.75 + 0.25 / 5)) < 0.01
    assert drawn.unique().tolist() == [0, 1, 2, 3, 4]
    assert corrupt(drawn, pkeep=1.0, codebook_size=5, generator=generator).equal(drawn)


@pytest.mark.parametrize("kind", PRIORS)
def test_linear_weights_alone_are_decayed(kind):
    prior = build(kind, scope())
    decayed, others = optimization.build(prior, OptimizerSettings(weight_decay=0.1)).param_groups
    names = {id(tensor): name for name, tensor in prior.named_parameters()}
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    assert {names[id(tensor)].split(".")[-2] for tensor in decayed["params"]} == {
        "head",
        *LINEAR.get(kind, ("qkv", "out", "up", "down")),
    }
    assert len(decayed["params"]) + len(others["params"]) == len(names)
