"""Super-resolution: sizes, what the model is told, what is shown, what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import generator, of_images

from smalti import imaging
from smalti.conditions.computed.edges import EdgesSettings
from smalti.conditions.computed.low_resolution import LowResolutionSettings
from smalti.errors import UserError
from smalti.pipeline import Pipeline
from smalti.upscaling import _mirrored


def model(factor: int = 2) -> Pipeline:
    """A training crop of 16 x 16 pixels in cells of 4."""
    return of_images(LowResolutionSettings(factor=factor), multipliers=(1, 2, 2))


def picture(height: int, width: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("factor", "sides"),
    [(2, (8, 8)), (2, (8, 14)), (2, (9, 13)), (2, (1, 3)), (3, (8, 8)), (3, (5, 11)), (8, (2, 3))],
)
def test_any_size_comes_back_enlarged(factor, sides):
    """Also those that fill no cell, or no training crop."""
    drawn = model(factor).upscale(picture(*sides), num=2)
    height, width = (side * factor for side in sides)
    assert [image.size for image in drawn] == [(width, height)] * 2
    assert drawn.tensors.shape == (2, 3, height, width)
    assert f"{height} x {width}" in repr(drawn)
    made = drawn.metadata[1]
    assert (made["height"], made["width"], made["factor"], made["seed"]) == (height, width, factor, 1)
    assert made["upscaled"] == "Image in memory"


def test_what_is_told_is_the_small_image_mirrored_beyond_its_border(monkeypatch):
    pipeline, seen = model(), []
    from_user = pipeline.condition.from_user
    monkeypatch.setattr(
        pipeline.condition, "from_user", lambda value, **more: seen.append(value) or from_user(value, **more)
    )
    small = picture(9, 13)
    drawn = pipeline.upscale(small)
    assert drawn.codes.shape == (1, 5, 7)
    pixels = imaging.to_float(imaging.from_pil(small))
    told = pipeline.condition.compute.small(seen[0][None])[0]
    torch.testing.assert_close(told[:, :9, :13], pixels, atol=1e-5, rtol=0)
    torch.testing.assert_close(told[:, 9], pixels[:, 8][:, [*range(13), 12]], atol=1e-5, rtol=0)
    assert told.shape == (3, 10, 14)


def test_mirrored_as_often_as_it_takes():
    found = _mirrored(torch.arange(3.0).view(1, 1, 1, 3), (1, 11))
    assert found.flatten().tolist() == [0, 1, 2, 2, 1, 0, 0, 1, 2, 2, 1]


def test_an_image_that_training_shrank_is_told_as_in_training():
    """The same prefix, of the small image and of the large one that it is of."""
    pipeline = model()
    large = imaging.to_float(imaging.from_pil(picture(16, 24)))[None]
    small = pipeline.condition.compute.shrunk(large)
    drawn = pipeline.upscale(small, num=3)
    assert drawn.codes.equal(pipeline.sample(3, from_image=large, size=(16, 24)).codes)
    assert not drawn.codes[0].equal(drawn.codes[1]), "different ones"
    assert pipeline.upscale(small, num=1, seed=2).codes[0].equal(drawn.codes[2])


def test_options_of_drawing_and_batches():
    pipeline, small = model(), picture(8, 12)
    whole = pipeline.upscale(small, 3, micro_batch=2, temperature=0.5, guidance_scale=2.0, stride=2)
    parts = list(
        pipeline.iter_upscaled(small, 3, micro_batch=2, temperature=0.5, guidance_scale=2.0, stride=2)
    )
    assert [len(part) for part in parts] == [2, 1]
    assert torch.cat([part.tensors for part in parts]).equal(whole.tensors)
    assert whole[1:].tensors.equal(whole.tensors[1:])
    assert whole.chosen([2], [{}]).images[0].size == (24, 16)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"factor": 4}, r"factor of the training, 2, got 4; .*condition\.compute\.factor=4"),
        ({"size": 32}, "no option that the image decides, got size="),
        ({"map": torch.zeros(3, 16, 16)}, "the image decides, got map="),
        ({"image": [picture(8, 8)] * 2}, r"one image .*, got 2 of them"),
        ({"image": "nowhere.png"}, "nowhere.png"),
        ({"num": 0}, "from 1 for num, got 0"),
    ],
)
def test_mistakes(given, told):
    with pytest.raises(UserError, match=told):
        model().upscale(**{"image": picture(8, 8), **given})


@pytest.mark.parametrize("other", [generator, lambda: of_images(EdgesSettings())])
def test_models_that_are_told_something_else(other):
    with pytest.raises(
        UserError, match=r"told images of low resolution, got one that is told (label|map); train"
    ):
        other().upscale(picture(8, 8))
