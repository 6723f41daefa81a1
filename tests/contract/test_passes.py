"""Whoever looks at a drawing pass by pass sees it grow, and changes nothing."""

from itertools import islice, zip_longest

import pytest
import torch
from tiny import CAUSAL, generator

from smalti.conditions.none import NoConditionSettings
from smalti.drawing.loop import Pass
from smalti.errors import UserError
from smalti.priors import PRIORS

WAYS = [(kind, {}) for kind in PRIORS] + [(kind, {"speculative": 4}) for kind in CAUSAL]
WAYS += [("masked", {"steps": 3}), ("masked", {"steps": 5, "order": "halton"}), ("gpt", {"stride": 2})]


def model_of(kind):
    return generator(kind, NoConditionSettings(), grid=(4, 6))


def kept(part):
    return Pass(part.codes.clone(), part.laid.clone()) if isinstance(part, Pass) else part


def looked_at(model, **options):
    """What lay there after each pass, and all codes."""
    parts = [kept(part) for part in model.iter_passes(**options)]
    seen = [part for part in parts if isinstance(part, Pass)]
    return seen, torch.cat([part.codes for part in parts if not isinstance(part, Pass)])


def drawn(model, **options):
    return torch.cat([part.codes for part in model.iter_batches(**options)])


@pytest.mark.parametrize(("kind", "options"), WAYS)
def test_the_same_is_drawn_and_cells_stay_as_they_are_seen(kind, options):
    model, size = model_of(kind), (12, 16)
    asked = {"num": 2, "size": size, "seed": 3, **options}
    seen, codes = looked_at(model, **asked)
    assert torch.equal(codes, drawn(model, **asked))
    before = torch.zeros_like(seen[0].laid)
    assert not seen[0].laid.any()
    for there in seen:
        assert not (before & ~there.laid).any(), "a cell that was there is gone"
        assert torch.equal(there.codes[there.laid], codes[there.laid]), "a cell that was seen has changed"
        before = there.laid
    assert before.all()
    assert len(seen) > 3


def test_kept_cells_are_there_from_the_first():
    seen, codes = looked_at(model_of("gpt"), image=torch.zeros(3, 8, 12), keep="left")
    assert seen[0].laid[0].tolist() == [[True] * 3 + [False] * 3] * 4
    assert int(seen[1].laid.sum()) == 4 * 3 + 1
    assert torch.equal(seen[0].codes[0, :, :3], codes[0, :, :3])


def test_who_goes_on_no_further_ends_the_drawing_at_that_cell():
    model, told = model_of("gpt"), []
    parts = model.iter_passes(num=3, progress=lambda total, count: told.append(count))
    *_, last = islice(parts, 6)
    assert int(last.laid[0].sum()) == 5
    parts.close()
    assert sum(told) == 3 * 5
    assert len(drawn(model, num=3)) == 3, "the model draws as before"


def test_batches_are_seen_one_after_the_other():
    seen, _ = looked_at(model_of("gpt"), num=3, micro_batch=1)
    assert [len(there.laid) for there in seen] == [1] * 3 * 25


@pytest.mark.parametrize("kind", PRIORS)
def test_two_drawings_by_turns_are_those_that_each_is_alone(kind):
    model = model_of(kind)
    model.train()
    asked = [{"num": 1, "seed": seed} for seed in (5, 6)]
    alone = [looked_at(model, **one)[1] for one in asked]
    given = torch.ones(2, requires_grad=True)
    for pair in zip_longest(*(model.iter_passes(**one) for one in asked)):
        assert model.training
        assert given.sum().requires_grad, "the caller's gradients are the caller's"
        last = pair
    assert all(torch.equal(part.codes, codes) for part, codes in zip(last, alone, strict=True))


def test_what_is_wrong_is_said_before_the_first_pass():
    with pytest.raises(UserError, match="multiples"):
        model_of("gpt").iter_passes(size=(9, 13))


def test_codes_stand_for_the_image_that_they_are_of():
    model = model_of("gpt")
    (first,) = model.iter_batches(num=1, seed=1)
    again = drawn(model, image=first.codes[0], keep="top:0.5", seed=4)
    assert torch.equal(again[0, :2], first.codes[0, :2])
    assert not torch.equal(again, first.codes)
    told = model.complete(first.codes, keep="top:0.5", seed=4)
    assert torch.equal(told.codes, again)
