"""Whoever watches a drawing sees it grow, and changes nothing."""

import pytest
import torch
from tiny import CAUSAL, generator

from smalti.conditions.none import NoConditionSettings
from smalti.priors import PRIORS

WAYS = [(kind, {}) for kind in PRIORS] + [(kind, {"speculative": 4}) for kind in CAUSAL]
WAYS += [("masked", {"steps": 3}), ("masked", {"steps": 5, "order": "halton"}), ("gpt", {"stride": 2})]


class Seen:
    """Keeps what a watcher is told."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.codes, self.laid, self.stop_at = [], [], stop_at

    def __call__(self, codes, laid) -> None:
        self.codes.append(codes.clone())
        self.laid.append(laid.clone())
        if len(self.laid) == self.stop_at:
            raise InterruptedError


def model_of(kind):
    return generator(kind, NoConditionSettings(), grid=(4, 6))


def batches(model, **options):
    return torch.cat([part.codes for part in model.iter_batches(**options)])


@pytest.mark.parametrize(("kind", "options"), WAYS)
def test_the_same_is_drawn_and_cells_stay_as_they_are_seen(kind, options):
    model, size = model_of(kind), (12, 16)
    asked = {"num": 2, "size": size, "seed": 3, **options}
    seen = Seen()
    drawn = batches(model, watch=seen, **asked)
    assert torch.equal(drawn, batches(model, **asked))
    before = torch.zeros_like(seen.laid[0])
    assert not seen.laid[0].any()
    for codes, laid in zip(seen.codes, seen.laid, strict=True):
        assert not (before & ~laid).any(), "a cell that was there is gone"
        assert torch.equal(codes[laid], drawn[laid]), "a cell that was seen has changed"
        before = laid
    assert before.all()
    assert len(seen.laid) > 3


def test_kept_cells_are_there_from_the_first():
    model = model_of("gpt")
    image, seen = torch.zeros(3, 8, 12), Seen()
    drawn = batches(model, image=image, keep="left", watch=seen)
    assert seen.laid[0][0].tolist() == [[True] * 3 + [False] * 3] * 4
    assert int(seen.laid[1].sum()) == 4 * 3 + 1
    assert torch.equal(seen.codes[0][0, :, :3], drawn[0, :, :3])


def test_what_it_raises_ends_the_drawing_at_that_cell():
    model, seen = model_of("gpt"), Seen(stop_at=6)
    with pytest.raises(InterruptedError):
        batches(model, num=3, watch=seen)
    assert int(seen.laid[-1][0].sum()) == 5
    assert len(batches(model, num=3)) == 3, "the model draws as before"


def test_batches_are_seen_one_after_the_other():
    seen = Seen()
    batches(model_of("gpt"), num=3, micro_batch=1, watch=seen)
    assert [len(laid) for laid in seen.laid] == [1] * 3 * 25


def test_codes_stand_for_the_image_that_they_are_of():
    model = model_of("gpt")
    (first,) = model.iter_batches(num=1, seed=1)
    again = batches(model, image=first.codes[0], keep="top:0.5", seed=4)
    assert torch.equal(again[0, :2], first.codes[0, :2])
    assert not torch.equal(again, first.codes)
    told = model.complete(first.codes, keep="top:0.5", seed=4)
    assert torch.equal(told.codes, again)
