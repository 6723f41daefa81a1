"""Conditions of unequal lengths, of tokens or of features: from outside, through every prior with them."""

import itertools
from dataclasses import replace
from typing import ClassVar, Literal

import pytest
import torch
import yaml
from tiny import TOKENIZER_TRAINING, TRAINING, generator, scope_of

import smalti
from smalti.conditions import CONDITIONS
from smalti.conditions.context import Padded, SameContext, joined
from smalti.conditions.dropout import ConditionDropout
from smalti.conditions.protocol import Condition, Known
from smalti.config import Share, settings
from smalti.errors import UserError
from smalti.priors import PRIORS
from smalti.priors.causal import Causal

WORDS, PLACES, FEATURES = 7, 4, 3
TAKE = [kind for kind, (_, member) in PRIORS.items() if member.takes_padded]
CACHED = [kind for kind in TAKE if issubclass(PRIORS[kind][1], Causal)]


@settings
class WordsSettings:
    """How often nothing is said."""

    kind: Literal["words"] = "words"
    dropout: Share = 0.3


class Words(Condition):
    """Takes up to four words, each a number: what is left of the four places is empty."""

    argument: ClassVar[str | None] = "words"
    is_padded = True

    def __init__(self, settings, tokenizer=None, part=None) -> None:
        super().__init__(settings, tokenizer, part)
        self.dropout, self.vocabulary = (
            ConditionDropout(what="words", share=settings.dropout, token=WORDS),
            WORDS,
        )

    def length(self, grid):
        return PLACES

    def from_user(self, value, *, num, grid):
        return value if value and isinstance(value[0], list) else [value] * num

    def from_batch(self, batch):
        """As many words as the image is bright."""
        shades = (batch.images.mean((1, 2, 3)) * 8).long().tolist()
        return [[abs(shade) % WORDS] * (shade % PLACES) for shade in shades]

    def encode(self, value, *, num, grid, device):
        values = torch.full((num, PLACES), 6, device=device)  # a word like any other
        mask = torch.zeros(num, PLACES, dtype=torch.bool, device=device)
        for row, words in enumerate(value):
            values[row, : len(words)] = torch.tensor(words, dtype=torch.int64)
            mask[row, : len(words)] = True
        return SameContext(prefix=Padded(values=values, mask=mask))


@settings
class MeaningsSettings(WordsSettings):
    """The same."""

    kind: Literal["meanings"] = "meanings"


class Meanings(Words):
    """Three numbers a word, as a frozen network would give them; the empty places come first."""

    features = FEATURES

    def __init__(self, settings, tokenizer=None, part=None) -> None:
        super().__init__(settings, tokenizer, part)
        self.vocabulary = 0
        self.register_buffer("vectors", torch.randn(WORDS, FEATURES))

    def encode(self, value, *, num, grid, device):
        found = super().encode(value, num=num, grid=grid, device=device).prefix
        return SameContext(prefix=Padded(values=self.vectors[found.values].flip(1), mask=found.mask.flip(1)))


@pytest.fixture(autouse=True)
def shelf(monkeypatch):
    monkeypatch.setitem(CONDITIONS, "words", (WordsSettings, Words))
    monkeypatch.setitem(CONDITIONS, "meanings", (MeaningsSettings, Meanings))


def made(request):
    kind, told = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CONDITIONS, "words", (WordsSettings, Words))
        patch.setitem(CONDITIONS, "meanings", (MeaningsSettings, Meanings))
        return generator(kind, condition=told(), grid=(3, 4))


@pytest.fixture(scope="module", params=itertools.product(TAKE, (WordsSettings, MeaningsSettings)), ids=str)
def model(request):
    return made(request)


@pytest.fixture(scope="module", params=itertools.product(CACHED, (WordsSettings, MeaningsSettings)), ids=str)
def causal(request):
    """Of those members that lay a code a pass and keep what they have seen."""
    return made(request)


SAID = [[1, 2, 3], [4], [], [5, 5, 0, 2]]


def test_rows_are_taken_with_their_masks():
    mask = torch.tensor([[True, False], [True, True], [False, False]])
    rows = torch.tensor([2, 0, 0])
    context = SameContext(prefix=Padded(values=torch.arange(6).view(3, 2), mask=mask)).take(rows)
    found = context.window(0, 0, 2, 2)
    assert found.mask.equal(mask[rows])
    assert found.values.tolist() == [[4, 5], [0, 1], [0, 1]]
    both = joined([found, found])
    assert both.mask.equal(mask[rows].repeat(2, 1))
    assert len(both) == 6


def check_drawing(model, how):
    together = model.sample(num=4, words=SAID, seed=3, **how).codes
    for row, words in enumerate(SAID):
        alone = model.sample(words=words, seed=3 + row, **how).codes
        assert alone[0].equal(together[row])
    other = model.sample(num=4, words=[[1, 2, 6], [4], [6], [5, 5, 0, 1]], seed=3, **how).codes
    assert other[1].equal(together[1])
    assert not other.equal(together)


@pytest.mark.parametrize("how", [{}, {"guidance_scale": 1.7}, {"size": (12, 14)}], ids=str)
def test_rows_of_unequal_lengths_are_drawn_as_each_alone(model, how):
    check_drawing(model, how)


@pytest.mark.parametrize("how", [{"speculative": 4}, {"size": (8, 14), "speculative": 3}], ids=str)
def test_rows_of_unequal_lengths_are_drawn_by_guesses_as_each_alone(causal, how):
    check_drawing(causal, how)


def prefix_of(model, value=SAID):
    return model.condition.encode(value, num=len(value), grid=(3, 4), device=torch.device("cpu")).prefix


@torch.no_grad()
def test_what_stands_in_empty_places_is_not_seen(model):
    prior, prefix = model.prior.eval(), prefix_of(model)
    codes = torch.randint(12, (4, 12))
    logits = prior(codes, prefix)
    values = prefix.values.clone()
    values[~prefix.mask] = 1
    assert prior(codes, replace(prefix, values=values)).equal(logits)
    all_filled = prior(codes, replace(prefix, mask=torch.ones_like(prefix.mask)))
    assert [one.allclose(two) for one, two in zip(all_filled, logits, strict=True)] == [False] * 3 + [True]


@torch.no_grad()
def test_forward_prefill_and_extend_agree(causal):
    prior, prefix = causal.prior.eval(), prefix_of(causal)
    codes = torch.randint(12, (4, 12))
    expected = prior(codes, prefix)
    cache = prior.new_cache(4)
    found = [prior.prefill(codes[:, :2], prefix, cache)[:, None], prior.extend(codes[:, 2:3], cache)]
    found.append(prior.extend(codes[:, 3:8], cache))
    torch.testing.assert_close(torch.cat(found, 1), expected[:, 2:9])
    torch.testing.assert_close(prior.prefill(codes[:, :8], prefix)[:, None], expected[:, 8:9])


@torch.no_grad()
def test_a_prefix_that_sees_itself_fully_sees_no_empty_place():
    model = generator("gpt", condition=WordsSettings(), grid=(3, 4))
    settings, member = PRIORS["gpt"]
    prior = member(settings(layers=2, heads=2, width=16, unmasked=PLACES), model.prior.scope).eval()
    torch.nn.init.normal_(prior.positions)
    prefix, codes = prefix_of(model), torch.randint(12, (4, 12))
    logits, values = prior(codes, prefix), prefix.values.clone()
    values[0, 0], values[1, 3] = 0, 0
    found = prior(codes, replace(prefix, values=values))
    assert [one.equal(two) for one, two in zip(found, logits, strict=True)] == [False, True, True, True]
    cache = prior.new_cache(4)
    torch.testing.assert_close(prior.prefill(codes[:, :5], prefix, cache), logits[:, 5])
    torch.testing.assert_close(prior.extend(codes[:, 5:6], cache)[:, 0], logits[:, 6])
    # of row 1 these are empty; the last of them asks for the first code
    prior.positions[1:PLACES] += torch.randn(3, 16)
    moved = [one.equal(two) for one, two in zip(prior(codes, prefix)[:, 1:], logits[:, 1:], strict=True)]
    assert moved == [False, True, True, False]


def test_condition_dropout_and_null_leave_all_places_empty(model):
    context = SameContext(prefix=prefix_of(model))
    null = model.condition.null(num=2, grid=(3, 4), device=torch.device("cpu")).window(0, 0, 3, 4)
    assert not null.mask.any()
    assert null.values.shape[:2] == (2, PLACES)
    dropped = model.condition.drop(context, 4, torch.Generator().manual_seed(0)).window(0, 0, 3, 4)
    gone = torch.tensor([[False], [False], [True], [True]])
    assert dropped.mask.equal(context.prefix.mask & ~gone)
    assert model.nats_per_token(torch.zeros(4, 3, 4).long(), words=Known(SAID)) > 0


@pytest.mark.parametrize("kind", [kind for kind in PRIORS if kind not in TAKE])
@pytest.mark.parametrize("more", [{"prefix_is_padded": True}, {"prefix_features": 3}])
def test_other_priors_refuse_them(kind, more):
    settings, member = PRIORS[kind]
    cells = tuple(itertools.product(range(3), range(4)))
    scope = scope_of(codebook_size=12, prefix_vocabulary=5, prefix_length=4, cells=cells, **more)
    with pytest.raises(
        UserError, match=r"equally many tokens for this prior, got .*; set prior\.kind=modern"
    ):
        member(settings(layers=1, heads=2, width=16), scope)


@pytest.mark.parametrize("kind", ["words", "meanings"])
def test_they_train_resume_are_saved_and_draw(kind, photos, tmp_path):
    (tmp_path / "tokenizer.yaml").write_text(yaml.safe_dump({**TOKENIZER_TRAINING, "steps": 1}))
    smalti.train(tmp_path / "tokenizer.yaml", photos, tmp_path / "tokenizer")
    prior = {"kind": "modern", "layers": 1, "heads": 2, "width": 16}
    how = {"kind": "prior", "tokenizer": str(tmp_path / "tokenizer"), "prior": prior, "size": [16, 24]}
    recipe = {**TRAINING, **how, "steps": 2, "condition": {"kind": kind}, "sample_every": 2}
    (tmp_path / "prior.yaml").write_text(yaml.safe_dump(recipe))
    run = smalti.train(tmp_path / "prior.yaml", photos, tmp_path / "run")
    smalti.train(out=run, resume=True, steps=3)
    model = smalti.load(run)
    assert model.prior.prefix_table.weight.shape == ((16, FEATURES) if kind == "meanings" else (WORDS, 16))
    drawn = model.sample(words=[[3, 1], []], num=2, guidance_scale=2.0).codes
    smalti.save(model, tmp_path / "again")
    assert smalti.load(tmp_path / "again").sample(words=[3, 1], guidance_scale=2.0).codes[0].equal(drawn[0])
    half = smalti.load(run, dtype="bf16")
    assert half.sample(words=[3, 1]).codes.shape == (1, 8, 12)
