"""Boxes and points come back from their tokens where they were, but for the grid's rounding."""

import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from smalti.conditions.box_tokens import Object, Scene, touches
from smalti.conditions.boxes import BoxesCondition, BoxesSettings
from smalti.conditions.coordinates import Part
from smalti.conditions.points import PointsCondition, PointsSettings
from smalti.data.transforms import CropSettings, Placement

CPU = torch.device("cpu")
KINDS = {"boxes": (BoxesSettings, BoxesCondition), "points": (PointsSettings, PointsCondition)}
shares = st.floats(0, 1, allow_subnormal=False)
few = hypothesis_settings(max_examples=60, deadline=None)


@st.composite
def things(draw, most=4):
    found = []
    for _ in range(draw(st.integers(0, most))):
        (x0, x1), (y0, y1) = (sorted((draw(shares), draw(shares))) for _ in range(2))
        found.append(Object(draw(st.integers(0, 9)), x0, y0, x1, y1))
    return tuple(found)


def condition(kind, no_tokens, **more):
    settings, member = KINDS[kind]
    return member(settings(classes=5, flags=("group",), no_tokens=no_tokens, max_objects=4, **more))


@few
@given(kind=st.sampled_from(sorted(KINDS)), no_tokens=st.integers(12, 9000), found=things())
def test_there_and_back(kind, no_tokens, found):
    told = condition(kind, no_tokens)
    prompt = told.context(Scene(found), num=2, grid=(3, 5), device=CPU)
    prefix = prompt.window(0, 0, 3, 5)
    assert 0 <= prefix.min() <= prefix.max() < told.vocabulary
    back, again = told.decode(prefix)
    assert back == again
    assert [thing.label for thing in back.objects] == [thing.label for thing in found]
    slack = 0.5 / (told.points.side - 1) + 1e-9
    for thing, was in zip(back.objects, found, strict=True):
        middle = ((was.x0 + was.x1) / 2, (was.y0 + was.y1) / 2) * 2
        expected = was.box if kind == "boxes" else middle
        assert all(abs(one - other) <= slack for one, other in zip(thing.box, expected, strict=True))
    once_more = told.context(back, num=1, grid=(3, 5), device=CPU).window(0, 0, 3, 5)
    assert once_more.equal(prefix[:1]), "points of the grid are told exactly"


@few
@given(found=things(), encode_crop=st.booleans(), window=st.tuples(st.integers(0, 3), st.integers(0, 6)))
def test_a_window_tells_what_touches_it(found, encode_crop, window):
    """2 x 3 cells of a canvas of 5 x 9; told in the window, a box lies inside it."""
    told = condition("boxes", 4096, encode_crop=encode_crop)
    top, left = window
    prefix = told.context(Scene(found), num=1, grid=(5, 9), device=CPU).window(top, left, 2, 3)
    box = (left / 9, top / 5, left / 9 + 3 / 9, top / 5 + 2 / 5)
    (back,) = told.decode(prefix)
    assert len(back.objects) == sum(touches(thing.box, box) for thing in found)
    if encode_crop:
        assert all(abs(one - other) < 0.01 for one, other in zip(back.crop, box, strict=True))


@few
@given(found=things(), flips=st.lists(st.booleans(), min_size=2, max_size=2), first=st.tuples(shares, shares))
def test_a_part_of_a_part(found, flips, first):
    """Cutting and flipping in two steps tells what one step does, but for the rounding of sums."""
    left, top = (0.5 * at for at in first)
    scene = Scene(found).part((left, top, left + 0.5, top + 0.5))
    scene = scene.flipped() if flips[0] else scene
    cut = scene.part((0.5, 0.0, 1.0, 1.0))
    x0 = left if flips[0] else left + 0.25
    expected = (x0, top, x0 + 0.25, top + 0.5)
    assert all(abs(one - other) < 1e-9 for one, other in zip(cut.crop, expected, strict=True))
    assert cut.flipped().flipped() == cut


@few
@given(
    sides=st.tuples(st.integers(8, 30), st.integers(8, 30)),
    at=st.tuples(shares, shares),
    is_flipped=st.booleans(),
    pixel=st.tuples(st.integers(0, 29), st.integers(0, 29)),
)
def test_boxes_stay_on_what_they_show(sides, at, is_flipped, pixel):
    """A bright pixel lies in the crop where the box around it says; parts say where the crop is."""
    height, width = sides
    row, column = pixel[0] % height, pixel[1] % width
    top, left = (int(share * (side - 8)) for share, side in zip(at, sides, strict=True))
    where = Placement(
        sides=sides, top=top, left=left, size=(8, 8), flipped=is_flipped, settings=CropSettings()
    )
    image = torch.zeros(1, height, width)
    image[0, row, column] = 1
    box = Object(0, column / width, row / height, (column + 1) / width, (row + 1) / height)
    told = condition("boxes", 10**6, encode_crop=False)
    prompt = told.context(where.shown(Scene((box,))), num=1, grid=(8, 8), device=CPU)
    (scene,) = told.decode(prompt.window(0, 0, 8, 8))
    # a neighbour of the crop may touch it by the rounding of a sum, as in the 2021 code: it has no extent
    seen = [thing for thing in scene.objects if min(thing.x1 - thing.x0, thing.y1 - thing.y0) > 0.01]
    bright = where.map(image)[0].nonzero().tolist()
    assert len(seen) == len(bright)
    for thing, (y, x) in zip(seen, bright, strict=True):
        expected = (x / 8, y / 8, (x + 1) / 8, (y + 1) / 8)
        assert all(abs(one - other) < 0.002 for one, other in zip(thing.box, expected, strict=True))
    whole = image.flip(2) if is_flipped else image
    part = where.part
    assert part == Part(part.top, part.left, height, width)
    assert where.map(image).equal(whole[:, part.top : part.top + 8, part.left : part.left + 8])
