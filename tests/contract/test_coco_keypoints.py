"""COCO's keypoints: which figures are samples, what is shown around them, where joints are in that."""

import json

import pytest
import torch
from PIL import Image

from smalti.conditions.pose import COCO, HIDDEN, NOWHERE, SEEN
from smalti.data.coco_keypoints import CocoKeypoints, CocoKeypointsSettings
from smalti.data.loader import in_order
from smalti.data.report import inspect
from smalti.data.transforms import CropSettings
from smalti.errors import UserError

HEIGHT, WIDTH = 24, 36


def reader(root, split="train", **changes) -> CocoKeypoints:
    return CocoKeypoints(CocoKeypointsSettings(**{"root": root, "min_height": 8, **changes}), split)


def change(root, how) -> None:
    """Change the annotations of the training images in place."""
    path = root / "annotations" / "person_keypoints_train2017.json"
    found = json.loads(path.read_text())
    how(found)
    path.write_text(json.dumps(found))


def test_a_figure_a_sample(coco_keypoints):
    found = reader(coco_keypoints)
    assert len(found) == 6
    assert found.joints == COCO
    assert [len(found[number].pose.figures) for number in range(6)] == [1, 2, 1, 1, 1, 1]
    everybody = reader(coco_keypoints, min_joints=1)
    assert [path.name for path in everybody.paths[:4]] == [f"{number:012}.jpg" for number in (0, 1, 1, 2)]
    assert everybody[2].image.shape != everybody[1].image.shape
    assert len(reader(coco_keypoints, min_joints=1, min_height=13)) == 6


def test_what_is_shown_around_a_figure(coco_keypoints):
    """Its box is 7 x 18.5 from (18, 1); with 15 percent on each side 24 pixels are shown, from column 10."""
    whole = reader(coco_keypoints, aspect=None)[0]
    assert whole.image.shape == (3, HEIGHT, WIDTH)
    assert whole.pose.figures[0][3] == whole.pose.seen()[0][3] == (20 / WIDTH, 5 / HEIGHT, HIDDEN)
    assert whole.pose.figures[0][16] == NOWHERE
    part = reader(coco_keypoints)[0]
    assert part.image.shape == (3, 24, 24)
    assert part.image.equal(whole.image[:, :, 10:34])
    (figure,) = part.pose.seen()
    for x, y, visibility in figure[:16]:
        assert visibility in (HIDDEN, SEEN)
        assert 0.4 < x < 0.6
        assert 0 < y < 0.8
    assert figure[0][0] * 24 == pytest.approx(20 - 10)
    assert figure[0][1] * 24 == pytest.approx(2)
    narrow = reader(coco_keypoints, aspect=0.5, margin=0.0)[0]
    assert narrow.image.shape == (3, 18, 9)
    assert narrow.image.equal(whole.image[:, 1:19, 17:26])


@pytest.mark.parametrize("orientation", [2, 3, 5, 6])
def test_joints_turn_with_their_images(coco_keypoints, orientation):
    """Mirrored ones exchange left and right, as the picture does."""
    path = coco_keypoints / "train2017" / f"{0:012}.jpg"
    before = reader(coco_keypoints, aspect=None)[0]
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.open(path)
    image.save(path, exif=exif, quality=100, subsampling=0)
    found = reader(coco_keypoints, aspect=None)[0]
    swapped = orientation in (5, 6)
    assert found.image.shape == ((3, WIDTH, HEIGHT) if swapped else (3, HEIGHT, WIDTH))
    x, y, _ = before.pose.figures[0][COCO.index("left_eye")]
    place = {2: (1 - x, y), 3: (1 - x, 1 - y), 5: (y, x), 6: (1 - y, x)}[orientation]
    name = "right_eye" if orientation in (2, 5) else "left_eye"
    assert found.pose.figures[0][COCO.index(name)] == (*map(pytest.approx, place), HIDDEN)
    same = reader(coco_keypoints, aspect=None, annotated="upright")
    if swapped:  # sizes tell
        assert same[0].pose == found.pose
    else:
        assert same[0].pose == before.pose


def test_notes_say_how_turned_images_are_taken(coco_keypoints):
    exif = Image.Exif()
    exif[0x0112] = 3
    path = coco_keypoints / "train2017" / f"{0:012}.jpg"
    Image.open(path).save(path, exif=exif)
    found = reader(coco_keypoints)
    (told,) = found.notes(inspect(found).headers)
    assert told.startswith("1 images are turned by EXIF, and no size tells what their joints describe")


def test_batches(coco_keypoints):
    (batch,) = in_order(reader(coco_keypoints, "val"), size=(16, 16), crop=CropSettings(), batch=6)
    assert batch.images.shape == (6, 3, 16, 16)
    assert len(batch.poses) == 6
    assert batch.poses[0].crop == (10 / WIDTH, 0.0, 34 / WIDTH, 1.0)
    assert torch.tensor([pose.seen()[0][0] for pose in batch.poses])[:, 0].std() == 0


def test_files_that_are_none(coco_keypoints):
    with pytest.raises(UserError, match=r"figures with 17 joints .* got none among 7"):
        reader(coco_keypoints, min_joints=17)
    with pytest.raises(UserError, match=r"annotations in COCO's format, got .*person_keypoints_train2014"):
        reader(coco_keypoints, year="2014")
    change(coco_keypoints, lambda found: found["annotations"][0]["keypoints"].pop())
    with pytest.raises(UserError, match=r"annotations in COCO's format, got .*person_keypoints_train2017"):
        reader(coco_keypoints)
    change(coco_keypoints, lambda found: found["categories"][0].pop("keypoints"))
    with pytest.raises(UserError, match=r"annotations in COCO's format, got .*person_keypoints_train2017"):
        reader(coco_keypoints)


def test_an_image_of_another_size(coco_keypoints):
    Image.new("RGB", (WIDTH, WIDTH)).save(coco_keypoints / "train2017" / f"{3:012}.jpg")
    with pytest.raises(UserError, match="joints for the image's size, 36 x 36 pixels, got 24 x 36 in"):
        reader(coco_keypoints)[3]
