"""Scenes that are made: the same whoever makes them, and all that is said of them true of their pixels."""

import re

import pytest
import torch

from smalti.conditions.pose import SEEN
from smalti.data.loader import Crops, Loader
from smalti.data.report import inspect
from smalti.data.scenes import NEAREST, SEGMENTS, Scenes, ScenesSettings
from smalti.data.transforms import CropSettings
from smalti.errors import UserError
from smalti.scenes import colours
from smalti.scenes.compose import compose

SKY, GROUND = SEGMENTS.index("sky"), SEGMENTS.index("ground")

# of number 7 of 48 x 64 pixels, in which there is a person: red, green and blue of a column, every 12th row
PIXELS = [[188, 227, 135, 111], [153, 176, 113, 95], [155, 143, 103, 90]]
TEXT = (
    "an upright striped blue capsule, a large striped red box, "
    "a person in a pink shirt and green trousers jumping "
    "and an upright yellow capsule on a striped gray ground"
)
FINGERPRINT = "100000 84417ec823a05667"


def made(**how) -> Scenes:
    return Scenes(ScenesSettings(**{"size": (48, 64), **how}), "train")


@pytest.fixture(scope="module")
def samples():
    """Many, by number."""
    reader = made(people=0.7)
    return [reader[number] for number in range(40)]


def same(one, other) -> bool:
    tensors = ("image", "segmentation", "map")
    pairs = [(getattr(one, name), getattr(other, name)) for name in tensors]
    alike = all(a is b or torch.equal(a, b) for a, b in pairs)
    return alike and all(
        getattr(one, name) == getattr(other, name) for name in ("scene", "pose", "texts", "label")
    )


def test_a_number_has_one_image_in_any_order_and_on_any_threads():
    reader, threads = made(size=(192, 256)), torch.get_num_threads()
    before = [reader[number] for number in (3, 0)]
    torch.set_num_threads(1 if threads > 1 else 2)  # 49,152 pixels: more than one thread takes
    try:
        assert all(
            same(made(size=(192, 256))[number], one) for number, one in zip((3, 0), before, strict=True)
        )
    finally:
        torch.set_num_threads(threads)
    assert not torch.equal(before[0].image, before[1].image)


def test_processes_that_open_images_make_the_same():
    crop = {"size": (48, 64), "crop": CropSettings(), "batch": 4, "seed": 5}
    batches = [next(Loader(made(), workers=workers, **crop).batches(2)) for workers in (0, 1)]
    assert torch.equal(batches[0].images, batches[1].images)
    assert torch.equal(batches[0].segmentations, batches[1].segmentations)
    assert batches[0].texts == batches[1].texts


def test_pixels_are_those_that_they_were():
    """Exact wherever sums, products, quotients and roots are rounded as IEEE 754 has it."""
    sample = made(people=1.0)[7]
    assert sample.image[:, ::12, 21].tolist() == PIXELS
    assert sample.texts[0] == TEXT
    assert made(people=1.0).summary().fingerprint() == FINGERPRINT


def test_splits_and_seeds_are_apart():
    val = Scenes(ScenesSettings(size=(48, 64), val_count=7), "val")
    readers = [made(), val, made(seed=1), made(people=0.2)]
    assert [len(reader) for reader in readers] == [100_000, 7, 100_000, 100_000]
    for one in readers:
        for other in readers:
            alike = torch.equal(one[0].image, other[0].image)
            assert alike == (one is other) or other.settings.people == 0.2 or one.settings.people == 0.2
    assert len({reader.summary().fingerprint() for reader in readers}) == len(readers)


def test_depth_goes_with_the_classes():
    """The sky is infinitely far; the ground lies where the camera says; things stand before it."""
    classes, depths = made(people=1.0), made(people=1.0, content="depth")
    for number in range(12):
        labels, found = classes[number].segmentation, depths[number].map[0]
        assert torch.equal(classes[number].image, depths[number].image)
        assert torch.equal(found == -1, labels == SKY)
        camera = compose(("scenes", 1, 0, "train", number), (48, 64), (1, 4), 1.0).world.camera
        rays = camera.grid()
        flat = 2 * NEAREST / (-camera.height / rays.y.expand(48, 64)) - 1  # of the bare ground, in the map
        below = rays.y.expand(48, 64) < 0
        assert torch.allclose(found[labels == GROUND], flat[labels == GROUND].clamp(max=1), atol=1e-5)
        assert bool((found >= flat.clamp(max=1) - 1e-4)[below].all())


def test_boxes_are_tight(samples):
    seen = 0
    for sample in samples:
        height, width = sample.segmentation.shape
        masks = torch.zeros(height, width, dtype=torch.bool)
        for thing in sample.scene.objects:
            box = [thing.x0 * width, thing.y0 * height, thing.x1 * width, thing.y1 * height]
            left, top, right, bottom = (round(side) for side in box)
            assert [left, top, right, bottom] == pytest.approx(box), "borders of pixels"
            mask = sample.segmentation == 2 + thing.label
            masks[top:bottom, left:right] |= mask[top:bottom, left:right]
            if sum(other.label == thing.label for other in sample.scene.objects) == 1:
                rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
                seen += 1
                assert [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1] == [left, top, right, bottom]
        assert int(((sample.segmentation >= 2) & ~masks).sum()) < 2 * 4, "but for things hardly seen"
    assert seen > 35


def test_joints_that_are_seen_lie_on_the_person(samples):
    person, seen, figures = SEGMENTS.index("person"), 0, 0
    for sample in samples:
        height, width = sample.segmentation.shape
        for figure in sample.pose.figures:
            figures += 1
            for joint in figure:
                assert 0 <= joint.x <= 1
                assert 0 <= joint.y <= 1
                if joint.visibility == SEEN:
                    seen += 1
                    assert sample.segmentation[int(joint.y * height), int(joint.x * width)] == person
    assert 18 < figures < 38, "seven of ten"
    assert seen > 10 * figures


def test_left_is_the_left_of_the_person():
    """Of people who show their faces the left shoulder is on the right of the image."""
    right = []
    for number in range(40):
        (figure,) = made(people=1.0)[number].pose.figures
        joints = dict(zip(Scenes.joints, figure, strict=True))
        eyes, nose = [joints[name].x for name in ("left_eye", "right_eye")], joints["nose"]
        if nose.visibility == SEEN and min(eyes) < nose.x < max(eyes):
            right.append(joints["left_shoulder"].x > joints["right_shoulder"].x)
    assert len(right) > 8
    assert all(right)


def test_captions_are_true(samples):
    """Each thing is named once, with its kind; what is left of another has its middle there."""
    compared = 0
    for sample in samples:
        named = re.findall(r"sphere|box|capsule|person", sample.texts[0])
        assert named == [Scenes.classes[thing.label] for thing in sample.scene.objects]
        assert named == re.findall(r"sphere|box|capsule|person", sample.texts[-1])
        assert named[0] == Scenes.classes[sample.label], "the main thing comes first"
        if len(named) != 2:
            continue
        one, other = ((thing.x0 + thing.x1) / 2 for thing in sample.scene.objects)
        for words, holds in (("left of", one < other), ("right of", one > other)):
            if words in sample.texts[1]:
                compared += 1
                assert holds
                exchanged = {"left": "right", "right": "left"}[words.split()[0]]
                assert f" {exchanged} of " in sample.mirrored[1]
    assert compared > 2


def test_colours_are_those_that_are_named():
    """The colour of a plain thing, as bright as its brightest pixels, is nearer to its name than to most."""
    right, count = 0, 0
    for number in range(60):
        sample = made(people=0.0, max_objects=1)[number]
        words = sample.texts[-1].split()
        if re.search("striped|checkered|spotted|marbled", sample.texts[0].split(" on ")[0]):
            continue
        pixels = sample.image[:, sample.segmentation >= 2].float() / 255
        bright = pixels[:, pixels.sum(0) >= pixels.sum(0).quantile(0.6)].median(1).values
        distances = {name: (bright - torch.tensor(colour)).norm() for name, colour in colours.NAMED.items()}
        nearest = sorted(distances, key=distances.get)[:2]
        count, right = count + 1, right + (words[-2] in nearest)
    assert count > 12
    assert right > 0.8 * count


def test_flipped_images_have_captions_of_their_own():
    reader = made()
    number = next(n for n in range(40) if " left of " in " ".join(reader[n].texts))
    crops = {flip: Crops(reader, (48, 64), CropSettings(flip=flip), seed=0)[0, number] for flip in (0.0, 1.0)}
    assert torch.equal(crops[1.0].image, crops[0.0].image.flip(2))
    assert crops[0.0].texts == reader[number].texts
    assert crops[1.0].texts == reader[number].mirrored
    assert " right of " in " ".join(crops[1.0].texts)


def test_captions_for_a_vocabulary_have_the_words_of_all():
    reader = made(count=500)
    known = {word for text in reader.captions() for word in text.split()}
    shown = {word for number in range(40) for word in " ".join(reader[number].texts).split()}
    assert shown <= known
    assert set(colours.NAMED) <= {word.strip(",") for word in known}


def test_the_report_says_what_is_made():
    text = inspect(made(size=(64, 96), people=0.25, max_objects=3)).text()
    assert text.splitlines() == [
        "100000 images",
        "scenes made as they are asked for, 64 x 96 pixels: 1 to 3 things, a person in 25%; seed 0",
    ]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"min_objects": 5}, "from 1 to 8, the smaller first, got 5 and 4"),
        ({"max_objects": 9}, "from 1 to 8, the smaller first, got 1 and 9"),
        ({"size": 16}, "data.size from 32 to 1024 pixels a side.*got 16 x 16"),
        ({"size": (512, 64)}, "one at most four times the other, got 512 x 64"),
    ],
)
def test_settings_that_make_nothing_are_refused(settings, words):
    with pytest.raises(UserError, match=words):
        ScenesSettings(**settings)
