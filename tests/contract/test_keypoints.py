"""Keypoints: what they take and refuse, how joints are told, what a window sees of them."""

import math

import pytest
import torch

from smalti.conditions.keypoints import KeypointsCondition, KeypointsSettings
from smalti.conditions.pose import COCO, HIDDEN, NOWHERE, SEEN, Joint, Pose
from smalti.conditions.skeleton import skeleton
from smalti.errors import UserError

CPU = torch.device("cpu")
NAMES = ("nose", "left_hand", "right_hand")
FIGURE = {"nose": (0.5, 0.125), "left_hand": (0.75, 0.5, 1), "right_hand": None}
NOBODY = dict.fromkeys(NAMES)
NONE = 3 + 9  # the token of a place that is none


def keypoints(**changes) -> KeypointsCondition:
    """Places 0.125 apart."""
    return KeypointsCondition(KeypointsSettings(**{"joints": NAMES, "places": 9, **changes}))


def tokens(condition, value, window=(0, 0, 4, 8), grid=(4, 8), num=1):
    return condition.context(value, num=num, grid=grid, device=CPU).window(*window).tolist()


def figure_of(*places):
    return tuple(Joint(*place) for place in places)


def pose(*figures) -> Pose:
    return Pose(NAMES, figures)


def test_three_tokens_a_joint():
    assert tokens(keypoints(), FIGURE) == [[2, 3 + 4, 3 + 1, 1, 3 + 6, 3 + 4, 0, NONE, NONE]]
    assert tokens(keypoints(), NOBODY) == [[0, NONE, NONE] * 3]


def test_two_tokens_a_joint():
    """A point of the grid in the place of x and y."""
    condition = keypoints(layout="point")
    assert tokens(condition, FIGURE) == [[2, 3 + 9 + 4, 1, 3 + 4 * 9 + 6, 0, 3 + 81]]
    assert condition.vocabulary == 3 + 81 + 1


def test_the_size_of_the_papers_pose():
    whole = KeypointsSettings(joints="body28")
    assert whole.names[:17] == COCO
    assert KeypointsCondition(whole).length((16, 16)) == 84
    assert keypoints(figures=2, encode_crop=True).length((16, 16)) == 2 * 3 * 3 + 4


def test_a_window_sees_what_is_in_it():
    right = (0, 4, 4, 4)
    nose, hand = [2, 3 + 0, 3 + 1], [1, 3 + 4, 3 + 4]
    assert tokens(keypoints(), FIGURE, right) == [[*nose, *hand, 0, NONE, NONE]]
    assert tokens(keypoints(), FIGURE, (0, 5, 4, 2)) == [[0, NONE, NONE, 1, 3 + 4, 3 + 4, 0, NONE, NONE]]
    told = [2, 3 + 4, 3 + 1, 1, 3 + 6, 3 + 4, 0, NONE, NONE, 3 + 4, 3 + 0, 3 + 8, 3 + 8]
    assert tokens(keypoints(encode_crop=True), FIGURE, right) == [told]


def test_a_mirror_exchanges_left_and_right():
    mirrored = pose((Joint(0.5, 0.125), NOWHERE, Joint(0.75, 0.5, HIDDEN))).flipped()
    assert tokens(keypoints(), mirrored) == [[2, 3 + 4, 3 + 1, 1, 3 + 2, 3 + 4, 0, NONE, NONE]]
    same = keypoints(pairs=())
    assert tokens(same, mirrored) == [[2, 3 + 4, 3 + 1, 0, NONE, NONE, 1, 3 + 2, 3 + 4]]
    other = keypoints(pairs=(("nose", "right_hand"),))
    assert tokens(other, mirrored) == [[1, 3 + 2, 3 + 4, 0, NONE, NONE, 2, 3 + 4, 3 + 1]]


def test_the_largest_figure_is_told_first():
    small = (Joint(0.125, 0.125), Joint(0.25, 0.25), NOWHERE)
    large = (Joint(0.5, 0.125), Joint(1.0, 1.0), NOWHERE)
    alone = tokens(keypoints(figures=2), pose(small))[0]
    assert alone[9:] == [0, NONE, NONE] * 3
    both = tokens(keypoints(figures=2), pose(small, large))[0]
    assert both[9:] == alone[:9]
    assert both[:9] == tokens(keypoints(), pose(large))[0]
    (held,) = keypoints().from_batch(type("Batch", (), {"poses": [pose(small, large)]}))
    assert keypoints().layout.tokens(held) == both[:9], "of data that have more the largest one is told"
    assert keypoints().layout.tokens(held.part((0.0, 0.0, 0.3, 0.3)))[0] == SEEN, (
        "and of a part that one within it"
    )


def test_figures_of_one_image_and_of_each():
    condition = keypoints(figures=2)
    assert tokens(condition, [FIGURE, NOBODY], num=2)[1] == [0, NONE, NONE] * 6
    both = tokens(condition, [[FIGURE, NOBODY]], num=1)
    assert both == tokens(condition, FIGURE)
    with pytest.raises(UserError, match="at most 1 figures in an image, got 2"):
        tokens(keypoints(), [[FIGURE, FIGURE]])


@pytest.mark.parametrize("how", [{}, {"layout": "point"}, {"encode_crop": True}, {"figures": 2}], ids=str)
def test_what_was_told_can_be_read_back(how):
    condition = keypoints(dropout=0.5, **how)
    prefix = condition.context(FIGURE, num=1, grid=(4, 8), device=CPU).window(0, 0, 4, 8)
    assert condition.decode(prefix, (4, 8)) == [pose((Joint(0.5, 0.125), Joint(0.75, 0.5, HIDDEN), NOWHERE))]
    null = condition.null(num=2, grid=(4, 8), device=CPU).window(0, 0, 4, 8)
    assert condition.decode(null, (4, 8)) == [pose(), pose()]
    part = condition.context(FIGURE, num=1, grid=(4, 8), device=CPU).window(0, 4, 4, 4)
    (found,) = condition.decode(part, (4, 4))
    assert found.crop == ((0.5, 0.0, 1.0, 1.0) if "encode_crop" in how else (0.0, 0.0, 1.0, 1.0))
    assert found.figures[0][1] == Joint(0.75 if "encode_crop" in how else 0.5, 0.5, HIDDEN)
    with pytest.raises(UserError, match="prefixes of"):
        condition.decode(prefix[:, 1:], (4, 8))


@pytest.mark.parametrize(
    ("figure", "words"),
    [
        ({"nose": (0, 0)}, "all 3 joints of a figure, got a figure without left_hand, right_hand; give null"),
        (FIGURE | {"left_hnd": None}, "got 'left_hnd'; did you mean left_hand?"),
        (FIGURE | {"tail": None}, "got 'tail'; joints are nose, left_hand, right_hand"),
        (FIGURE | {"nose": (0.5, 1.5)}, "nose as [x, y] or [x, y, visibility], x and y from 0 to 1"),
        (FIGURE | {"nose": (math.nan, 0.5)}, "got (nan, 0.5); divide pixels"),
        (FIGURE | {"nose": (0.5, 0.5, 3)}, "got (0.5, 0.5, 3)"),
        (FIGURE | {"nose": (0.5, 0.5, 1.5)}, "got (0.5, 0.5, 1.5)"),
        (FIGURE | {"nose": 0.5}, "got 0.5"),
        (FIGURE | {"nose": ("a", "b")}, "got ('a', 'b')"),
        (3, 'a figure as {"nose": [0.5, 0.2], ...}, got 3'),
        ([(0.5, 0.5)], "a figure as"),
        (None, 'expected keypoints, got none; give keypoints={"nose": [0.5, 0.2], ...}'),
    ],
    ids=str,
)
def test_mistakes(figure, words):
    with pytest.raises(UserError) as caught:
        tokens(keypoints(), figure)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"joints": ("nose", "nose")}, "names of joints, all different, got nose, nose"),
        ({"joints": ()}, "got none"),
        ({"pairs": (("nose", "tail"),)}, "condition.pairs of joints among nose, left_hand, right_hand"),
        ({"layout": "map", "encode_crop": True}, "condition.encode_crop=false with condition.layout=map"),
        ({"pairs": (("nose", "left_hand"), ("nose", "right_hand"))}, "each once at most"),
    ],
)
def test_settings_that_cannot_be(settings, words):
    with pytest.raises(UserError) as caught:
        keypoints(**settings)
    assert words in str(caught.value)


def test_joints_of_other_data():
    condition = keypoints()
    reader = type("Odd", (), {"gives": {"image", "pose"}, "joints": ("tail", "wing", "beak")})
    with pytest.raises(
        UserError, match=r"condition.joints among those of the data: tail, wing, beak, got nose"
    ):
        condition.needs(condition.settings, type("Data", (), {"kind": "odd"}), reader)
    reader.joints = ("tail", "nose")
    condition.needs(condition.settings, type("Data", (), {"kind": "odd"}), reader)


def test_a_map_has_a_token_a_cell():
    """Of 1 nothing, 3 joints, 3 hidden ones; these three have no limbs."""
    condition = keypoints(layout="map", dropout=0.5)
    assert (condition.vocabulary, condition.length((2, 4)), condition.is_by_cell((2, 4))) == (8, 8, True)
    assert tokens(condition, FIGURE, (0, 0, 2, 4), (2, 4)) == [[0, 0, 1, 0, 0, 0, 0, 3 + 2]]
    assert tokens(condition, FIGURE, (1, 2, 1, 2), (2, 4)) == [[0, 3 + 2]]
    mirrored = pose((Joint(0.6, 0.125), NOWHERE, Joint(0.8, 1.0))).flipped().part((0.0, 0.0, 0.5, 1.0))
    assert tokens(condition, mirrored, (0, 0, 2, 4), (2, 4)) == [[0, 0, 0, 1, 0, 2, 0, 0]]


def test_limbs_go_through_cells():
    """An arm: shoulder, elbow, wrist; a limb is seen also where a joint of it is outside of the crop."""
    names = ("left_shoulder", "left_elbow", "left_wrist")
    condition = keypoints(joints=names, layout="map")
    figure = dict(zip(names, [(0.1, 0.1), (0.9, 0.1), (0.9, 0.9)], strict=True))
    upper, lower = 7, 8
    rows = [[1, upper, upper, 2], [0, 0, 0, lower], [0, 0, 0, lower], [0, 0, 0, 3]]
    assert tokens(condition, figure, (0, 0, 4, 4), (4, 4)) == [[token for row in rows for token in row]]
    (whole,) = condition.from_user(figure, num=1, grid=(4, 4))
    assert condition.layout.map(whole.part((0.5, 0.0, 1.0, 0.5)), (2, 2)).tolist() == [[upper, 2], [0, lower]]
    small = figure_of((0.3, 0.4), (0.3, 0.6), (0.4, 0.6))
    both = Pose(names, (small, whole.figures[0]))
    assert condition.layout.map(both, (4, 4)).tolist() == rows, "the larger one alone"
    two = keypoints(joints=names, layout="map", figures=2)
    rows[1][1], rows[2][1] = 1, 3
    assert two.layout.map(both, (4, 4)).tolist() == rows
    part = both.part((0.25, 0.25, 0.5, 0.75))
    assert condition.layout.map(part, (2, 1)).tolist() == [[1], [3]], "who is outside takes no room"


def test_maps_can_be_read_back():
    condition = keypoints(layout="map", dropout=0.5)
    prefix = condition.context(FIGURE, num=1, grid=(4, 8), device=CPU).window(0, 0, 4, 8)
    assert condition.decode(prefix, (4, 8)) == [
        pose((Joint(0.5625, 0.125), Joint(0.8125, 0.625, HIDDEN), NOWHERE))
    ]
    null = condition.null(num=1, grid=(4, 8), device=CPU).window(0, 0, 4, 8)
    assert condition.decode(null, (4, 8)) == [pose()]


def test_a_picture_of_a_pose():
    names = ("left_shoulder", "left_elbow", "nose")
    whole = Pose(names, (figure_of((0.25, 0.5), (0.75, 0.5), (0.5, 0.125, HIDDEN)),))
    picture = skeleton(whole, (40, 80))
    assert picture.shape == (3, 40, 80)
    assert (picture.min(), picture.max() <= 1) == (-1, True)
    lit = (picture > -1).any(0)
    assert lit[20, 20:61].all()
    assert not lit[30:].any()
    assert lit[5, 40]
    colours = [picture[:, 20, 20], picture[:, 20, 40], picture[:, 20, 60], picture[:, 5, 40]]
    assert colours[1].allclose(colours[2])
    assert not colours[0].allclose(colours[1])
    assert colours[3].max() < 0, "a hidden joint is dark"
    right = skeleton(whole.part((0.5, 0.0, 1.0, 1.0)), (40, 40))
    assert (right - picture[:, :, 40:]).abs().max() < 0.5, "the same, but for the width of lines"
    assert right[:, 20, 10].allclose(colours[1])
    assert skeleton(Pose(names, ()), (4, 6)).equal(-torch.ones(3, 4, 6))
