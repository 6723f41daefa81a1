"""Boxes and points: what they take and refuse, which of them a window sees, what is told of a crop."""

import numpy as np
import pytest
import torch

from smalti.conditions.box_tokens import Object, Scene
from smalti.conditions.boxes import BoxesCondition, BoxesSettings
from smalti.conditions.points import PointsCondition, PointsSettings
from smalti.errors import UserError

CPU = torch.device("cpu")
NAMES = ("house", "person", "tree")
NONE = 80


def boxes(**changes) -> BoxesCondition:
    """Points of a 9 x 9 grid, 0.125 apart."""
    how = {"classes": 3, "names": NAMES, "no_tokens": 81, "max_objects": 2, **changes}
    return BoxesCondition(BoxesSettings(**how))


def points(**changes) -> PointsCondition:
    how = {"classes": 3, "names": NAMES, "no_tokens": 81, "max_objects": 2, **changes}
    return PointsCondition(PointsSettings(**how))


def tokens(condition, value, window=(0, 0, 4, 8), grid=(4, 8), num=1):
    prompt = condition.context(value, num=num, grid=grid, device=CPU)
    return prompt.window(*window).tolist()


def test_boxes():
    value = [("person", 0.0, 0.125, 0.5, 1.0), (0, 0.25, 0.25, 0.25, 0.5)]
    assert tokens(boxes(), value) == [[1, 9, 76, 0, 20, 38, 0, 80]]
    assert tokens(boxes(), []) == [[NONE] * 6 + [0, 80]]
    assert tokens(boxes(encode_crop=False), value[:1]) == [[1, 9, 76, NONE, NONE, NONE]]


def test_points():
    assert tokens(points(), [("tree", 0.5, 0.25), ("house", 0.0, 0.0, 1.0, 0.5)]) == [[2, 22, 0, 22, 0, 80]]


def test_one_list_for_each_canvas():
    value = [[("tree", 0.0, 0.0, 1.0, 1.0)], []]
    assert tokens(boxes(), value, num=2) == [[2, 0, 80, *[NONE] * 3, 0, 80], [*[NONE] * 6, 0, 80]]
    assert tokens(boxes(), [[], []], num=2) == [[*[NONE] * 6, 0, 80]] * 2


def test_a_window_sees_what_it_touches():
    """The right half of the image; what ends at its border is not in it."""
    left, right = ("tree", 0.0, 0.0, 0.5, 1.0), ("tree", 0.25, 0.0, 0.625, 1.0)
    window = (0, 4, 4, 4)
    assert tokens(boxes(), [left, right], window) == [[2, 2, 77, *[NONE] * 3, 4, 80]]
    inside = boxes(encode_crop=False)
    assert tokens(inside, [left, right], window) == [[2, 0, 74, *[NONE] * 3]]
    as_in_2021 = boxes(encode_crop=False, clip_both_ends=False)  # the width is kept: 0.75 of the half
    assert tokens(as_in_2021, [left, right], window) == [[2, 0, 78, *[NONE] * 3]]


def test_points_are_seen_where_they_lie_and_boxes_where_they_reach():
    window = (0, 4, 4, 4)
    assert tokens(points(), [("tree", 0.375, 0.5), ("tree", 0.75, 0.5)], window) == [
        [2, 42, NONE, NONE, 4, 80]
    ]
    assert tokens(points(), [("tree", 0.125, 0.0, 0.625, 1.0)], window) == [[2, 39, NONE, NONE, 4, 80]]


def test_a_scene_is_told_with_its_crop():
    """Twice cut, a scene is told as cut once; and flipped."""
    things = (Object("tree", 0.0, 0.0, 0.125, 0.25), Object(1, 0.5, 0.5, 0.75, 1.0))
    scene = Scene(things).part((0.5, 0.0, 1.0, 1.0))
    assert tokens(boxes(), scene) == [[1, 40, 78, *[NONE] * 3, 4, 80]]
    assert tokens(boxes(), scene, window=(0, 4, 4, 4)) == [[*[NONE] * 6, 6, 80]]
    assert tokens(boxes(), Scene(things).flipped()) == [[2, 7, 26, 1, 38, 76, 0, 80]]


def test_flags():
    condition = boxes(flags=("group", "occluded"))
    group = 1 + 3 * 1
    for number in (group, np.int64(group)):
        assert tokens(condition, [(number, 0, 0, 1, 1)])[0][0] == group
    assert (
        condition.decode(torch.tensor(tokens(condition, [(group, 0, 0, 1, 1)])))[0].objects[0].label == group
    )
    both = Scene((Object(1 + 3 * (1 + 4), 0.0, 0.0, 1.0, 1.0),))  # depiction, which this model is not told
    assert tokens(condition, both)[0][0] == group
    assert tokens(boxes(), both)[0][0] == 1
    with pytest.raises(UserError, match="flags among occluded"):
        tokens(boxes(flags=("occluded",)), [(group, 0, 0, 1, 1)])


def test_things_come_in_any_order_while_training():
    condition = boxes(max_objects=4)
    value = [(0, 0, 0, 1, 1), (1, 0, 0, 0.5, 1), (2, 0.5, 0, 1, 1)]
    context = condition.context(value, num=60, grid=(4, 8), device=CPU)
    prefix = context.window(0, 0, 4, 8)
    varied = condition.drop(context, 60, torch.Generator().manual_seed(0)).window(0, 0, 4, 8)
    things = {tuple(row) for row in varied[:, [0, 3, 6]].tolist()}
    assert len(things) == 6
    assert (varied[:, 9:] == prefix[:, 9:]).all(), "the empty slot and the crop stay where they are"
    for scene in condition.decode(varied):
        assert sorted(scene.objects) == sorted(condition.decode(prefix[:1])[0].objects)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("person", r"expected a list of \(class, x0, y0, x1, y1\), got str"),
        ([("person", 0, 0, 1)], r"got \('person', 0, 0, 1\); give boxes="),
        ([("persn", 0, 0, 1, 1)], "got 'persn'; did you mean person"),
        ([(3, 0, 0, 1, 1)], "a class number from 0 to 2, got 3"),
        ([(0, 0, 0, 200, 100)], "all of them from 0 to 1.*divide pixels"),
        ([(0, 0.5, 0, 0.25, 1)], "x0 <= x1"),
        ([(0, 0, 0, float("nan"), 1)], "from 0 to 1"),
        ([(0, 0, 0, "1", 1)], "give boxes="),
        ([None], "got None"),
        ([[(0, 0, 0, 1, 1)], None], "got None"),
        ([(0, 0, 0, 1, 1)] * 3, "at most 2 things in an image, got 3"),
        ([[], [], []], "one list of things, or 2 of them, got 3"),
        (torch.zeros(1, 5), "got Tensor"),
    ],
)
def test_wrong_boxes(value, words):
    with pytest.raises(UserError, match=words):
        tokens(boxes(), value, num=2)


def test_wrong_points():
    with pytest.raises(UserError, match=r"\(class, x, y\)"):
        tokens(points(), [("tree", 0.5)])


def test_wrong_prefixes():
    with pytest.raises(UserError, match="prefixes of 8 tokens, got 3"):
        boxes().decode(torch.zeros(1, 3, dtype=torch.int64))
    with pytest.raises(UserError, match="the token of a point, 0 to 80, got 90"):
        boxes(no_tokens=91).decode(torch.tensor([[0, 90, 0, 90, 90, 90, 0, 80]]))


def test_numbers_must_suffice():
    with pytest.raises(UserError, match=r"no_tokens of at least 13.*got 12; condition\.no_tokens=13"):
        boxes(no_tokens=12, flags=("group", "occluded"))


def test_hidden_things_are_decoded_as_none():
    condition = boxes(dropout=0.5)
    null = condition.null(num=1, grid=(4, 8), device=CPU).window(0, 0, 4, 8)
    assert condition.decode(null) == [Scene(())]


def test_things_as_a_map():
    """A token a cell: 1 + 16 class + where the thing ends; smaller things lie on larger ones."""
    condition = boxes(layout="map", encode_crop=False, dropout=0.5)
    value = [("tree", 0.25, 0.5, 0.75, 1.0), ("house", 0.0, 0.0, 1.0, 1.0)]
    found = condition.context(value, num=2, grid=(2, 8), device=CPU).window(0, 0, 2, 8)
    house, tree = 1, 1 + 2 * 16
    above = [house + 1 + 4, *[house + 4] * 6, house + 2 + 4]
    within = [tree + 1 + 12, tree + 12, tree + 12, tree + 2 + 12]
    below = [house + 1 + 8, house + 8, *within, house + 8, house + 2 + 8]
    assert found.tolist() == [above + below] * 2
    assert condition.decode(found, (2, 8))[1] == Scene(
        (Object("house", 0.0, 0.0, 1.0, 1.0), Object("tree", 0.25, 0.5, 0.75, 1.0))
    )
    null = condition.null(num=1, grid=(2, 8), device=CPU).window(0, 0, 2, 8)
    assert null.tolist() == [[1 + 3 * 16] * 16]
    assert condition.decode(null, (2, 8)) == [Scene(())]
    assert condition.is_by_cell((2, 8))
    assert not boxes().is_by_cell((2, 8))
    assert condition.vocabulary == 2 + 3 * 16
    assert condition.length((2, 8)) == 16


def test_a_map_of_things_is_of_what_is_shown():
    """Beyond the crop's borders things do not end; mirrored, left is right; windows are cut out of it."""
    condition = boxes(layout="map", encode_crop=False)
    scene = Scene((Object(0, 0.25, 0.0, 0.75, 0.5),)).part((0.5, 0.0, 1.0, 1.0))
    assert tokens(condition, scene, (0, 0, 2, 4), grid=(2, 4)) == [[13, 15, 0, 0, 0, 0, 0, 0]]
    assert tokens(condition, scene.flipped(), (0, 0, 2, 4), grid=(2, 4)) == [[0, 0, 14, 13, 0, 0, 0, 0]]
    assert tokens(condition, scene, (0, 1, 2, 2), grid=(2, 4)) == [[15, 0, 0, 0]]
    gone = Scene((Object(0, 0.0, 0.0, 0.5, 1.0),)).part((0.5, 0.0, 1.0, 1.0))
    assert tokens(condition, gone, (0, 0, 2, 4), grid=(2, 4)) == [[0] * 8]


def test_points_as_a_map():
    condition = points(layout="map", encode_crop=False)
    value = [("tree", 1.0, 0.5), ("house", 0.0, 0.0, 0.5, 0.5)]
    assert tokens(condition, value, (0, 0, 2, 4), grid=(2, 4)) == [[0, 16, 0, 0, 0, 0, 0, 48]]


def test_flags_in_a_map():
    condition = boxes(layout="map", encode_crop=False, flags=("occluded",))
    (row,) = tokens(condition, [(1 + 3 * 2, 0, 0, 1, 1)], (0, 0, 1, 1), grid=(1, 1))
    assert row == [1 + 16 * 7 + 15]
    assert condition.decode(torch.tensor([row]), (1, 1))[0].objects[0].label == 7


def test_a_map_does_not_tell_the_crop():
    with pytest.raises(UserError, match=r"encode_crop=false with condition\.layout=map, got true"):
        boxes(layout="map")
