"""Crops have the size asked for, come from the image, and follow from the generator."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smalti.data.transforms import CropSettings, crop, place
from smalti.errors import UserError

sides = st.integers(3, 40)


@settings(deadline=None, max_examples=60)
@given(image=st.tuples(sides, sides), size=st.tuples(sides, sides), seed=st.integers(0, 1000))
def test_any_image_gives_a_crop_of_any_size(image, size, seed):
    pixels = torch.randint(
        0, 256, (3, *image), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )
    how = CropSettings(scale=(1.0, 1.3))
    crops = [crop(pixels, size, how, torch.Generator().manual_seed(seed)) for _ in range(2)]
    assert crops[0].shape == (3, *size)
    assert torch.equal(*crops)


@settings(deadline=None, max_examples=60)
@given(extra=st.tuples(st.integers(0, 6), st.integers(0, 6)), seed=st.integers(0, 1000))
def test_a_crop_without_resizing_is_a_piece_of_the_image(extra, seed):
    height, width = 5 + extra[0], 7 + extra[1]
    pixels = torch.arange(height * width).to(torch.uint8).view(1, height, width).expand(3, -1, -1)
    cut = crop(pixels, (5, 7), CropSettings(resize="none", flip=0.5), torch.Generator().manual_seed(seed))
    pieces = [
        piece
        for top in range(extra[0] + 1)
        for left in range(extra[1] + 1)
        for piece in [pixels[:, top : top + 5, left : left + 7]]
    ]
    assert any(torch.equal(cut, piece) or torch.equal(cut, piece.flip(2)) for piece in pieces)


@settings(deadline=None, max_examples=60)
@given(whole=st.tuples(sides, sides), size=st.tuples(sides, sides), seed=st.integers(0, 1000))
def test_a_map_is_cropped_as_its_image(whole, size, seed):
    """With the map's filter both show the same; and no label comes that was not there."""
    labels = torch.randint(0, 7, whole, generator=torch.Generator().manual_seed(seed)) * 31
    how = CropSettings(scale=(1.0, 1.6), filter="nearest-exact")
    where = place(whole, size, how, torch.Generator().manual_seed(seed))
    image = where.image(labels[None].to(torch.uint8))
    assert torch.equal(where.labels(labels), image[0].long())
    assert set(where.labels(labels + 70000).unique().tolist()) <= set((labels + 70000).unique().tolist())


def test_validation_takes_the_middle():
    pixels = torch.arange(25, dtype=torch.uint8).view(1, 5, 5).expand(3, -1, -1)
    how = CropSettings(resize="none").for_validation()
    for seed in range(5):
        cut = crop(pixels, (3, 3), how, torch.Generator().manual_seed(seed))
        assert torch.equal(cut, pixels[:, 1:4, 1:4])


def test_flips_happen_as_often_as_asked():
    pixels = torch.arange(3, dtype=torch.uint8).view(1, 1, 3).expand(3, -1, -1)
    generator = torch.Generator().manual_seed(0)
    how = CropSettings(resize="none", flip=0.25)
    flipped = sum(crop(pixels, (1, 3), how, generator)[0, 0, 0].item() == 2 for _ in range(2000))
    assert 420 < flipped < 580


def test_too_small_a_image_is_told():
    with pytest.raises(UserError, match="8 x 8"):
        crop(torch.zeros(3, 8, 5, dtype=torch.uint8), (8, 8), CropSettings(resize="none"), torch.Generator())


@pytest.mark.parametrize(("antialias", "value"), [(True, 50), (False, 0)])
def test_images_are_reduced_as_antialias_says(antialias, value):
    """Lines of one bright pixel in five: averaged, or what lies in the middle between two."""
    pixels = torch.zeros(3, 20, 30, dtype=torch.uint8)
    pixels[:, :, ::5] = 250
    how = CropSettings(filter="bilinear", antialias=antialias).for_validation()
    cut = crop(pixels, (4, 6), how, torch.Generator())
    assert set(cut[:, :, 1:-1].flatten().tolist()) == {value}  # the border's averages are of less
