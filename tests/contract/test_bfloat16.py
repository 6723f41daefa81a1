"""A generator in bfloat16 draws, completes and scores; what it knows is what it knew in float32."""

import pytest
import tiny
import torch

from smalti.priors import PRIORS


@pytest.mark.parametrize("kind", PRIORS)
def test_scores_are_near(kind):
    model = tiny.generator(kind)
    codes = torch.randint(12, (2, 4, 4), generator=torch.Generator().manual_seed(1))
    expected = model.logits(codes, label="grass")
    found = model.to(torch.bfloat16).logits(codes, label="grass")
    assert found.dtype == torch.bfloat16
    assert (found - expected).abs().mean() < 0.03 * expected.std()


@pytest.mark.parametrize("kind", PRIORS)
def test_images(kind):
    model = tiny.generator(kind).to(torch.bfloat16)
    codes = model.sample(num=3, label="grass", micro_batch=2).codes
    assert codes.dtype == torch.int64
    assert model.sample(num=1, seed=2, label="grass", micro_batch=2).codes[0].equal(codes[2])
    images = model.sample(num=2, size=(8, 14), label="grass", guidance_scale=2.0)
    assert [image.size for image in images] == [(14, 8)] * 2
    (completed,) = model.complete(images[0], label="grass")
    assert completed.size == (14, 8)
    assert 0 < model.nats_per_token(codes, label="grass") < 20
