"""Poses: what a crop shows of them, and what a mirror calls their joints."""

import pytest
import torch

from smalti.conditions.pose import COCO, HIDDEN, NOWHERE, SEEN, Joint, Pose, sides
from smalti.data.loader import collate
from smalti.data.protocol import Sample
from smalti.data.transforms import CropSettings, place

NAMES = ("nose", "left_hand", "right_hand")
POSE = Pose(NAMES, ((Joint(0.5, 0.25), Joint(0.75, 0.5, HIDDEN), Joint(0.125, 0.5)),))


def test_the_whole_image_is_shown():
    assert POSE.seen() == POSE.figures
    assert len(COCO) == 17
    assert len(sides(COCO)) == 8


def test_a_crop_shows_the_joints_within_it():
    part = POSE.part((0.25, 0.0, 1.0, 0.5))
    assert part.seen() == ((Joint(1 / 3, 0.5, SEEN), Joint(2 / 3, 1.0, HIDDEN), NOWHERE),)
    assert part.seen(in_crop=False) == ((*POSE.figures[0][:2], NOWHERE),)


def test_a_mirror_exchanges_left_and_right():
    nose = POSE.figures[0][0]
    mirrored = POSE.flipped()
    expected = (Joint(0.5, 0.25), Joint(0.875, 0.5), Joint(0.25, 0.5, HIDDEN))
    assert mirrored.seen() == (expected,)
    assert mirrored.seen(pairs=[("nose", "left_hand")]) == ((expected[2], nose, expected[1]),)
    assert mirrored.seen(pairs=()) == ((nose, expected[2], expected[1]),)
    assert mirrored.flipped().seen() == POSE.seen()
    # the left half as it is seen is the right half of the image
    part = mirrored.part((0.0, 0.0, 0.5, 1.0))
    assert part.seen() == ((Joint(1.0, 0.25), NOWHERE, Joint(0.5, 0.5, HIDDEN)),)
    assert part.seen(in_crop=False) == ((nose, NOWHERE, expected[2]),)


def test_joints_are_known_by_their_names():
    found = POSE.ordered(("tail", "right_hand", "nose"))
    assert found.figures == ((NOWHERE, Joint(0.125, 0.5), Joint(0.5, 0.25)),)
    assert POSE.ordered(NAMES) == POSE


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_joints_stay_on_their_pixels(flip):
    """A bright pixel each, wherever image and pose are cut, scaled and mirrored to."""
    places = [(5, 9), (11, 22), (17, 14)]
    image = torch.zeros(3, 20, 30, dtype=torch.uint8)
    for channel, (row, column) in enumerate(places):
        image[channel, row, column] = 255
    pose = Pose(NAMES, (tuple(Joint((x + 0.5) / 30, (y + 0.5) / 20) for y, x in places),))
    crop = CropSettings(resize="none", flip=flip)
    where = place((20, 30), (18, 26), crop, torch.Generator().manual_seed(3))
    batch = collate([Sample(image=where.image(image), pose=where.shown(pose))])
    (figure,) = batch.poses[0].seen()
    order = [0, 2, 1] if flip else [0, 1, 2]
    for joint, channel in zip(figure, order, strict=True):
        assert batch.images[0, channel, int(joint.y * 18), int(joint.x * 26)] == 1
