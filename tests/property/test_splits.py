"""Folders that are splits by their names, and folders that are classes though they sound like it."""

import pytest

from smalti.data.splits import Splits, find, mixed

CLASSES = ("x", "y")


def found(*folders: str, classes=CLASSES) -> tuple[tuple[str, ...], ...]:
    """What is trained on, held out, left alone where each folder holds an image of each class."""
    splits = find([(*folder.split("/"), name, "1.png") for folder in folders for name in classes])
    return splits.train, splits.val, splits.neither


@pytest.mark.parametrize(
    ("train", "val"),
    [
        ("train", "val"),
        ("Train", "Test"),
        ("TRAIN", "VAL"),
        ("training", "testing"),
        ("Training", "Validation"),
        ("train", "valid"),
        ("train", "dev"),
        ("train", "eval"),
        ("train", "held-out"),
        ("train2017", "val2017"),
        ("imagesTr", "imagesTs"),
        ("train_images", "test_images"),
        ("images_train", "images_val"),
        ("train-set", "test-set"),
        ("trainset", "testset"),
        ("TrainImages", "TestImages"),
        ("train 256", "val 256"),
        ("train_256x256", "test_256x256"),
        ("Training Set (1)", "Test Set (1)"),
        ("1_train", "2_test"),
        ("trainval", "test"),
        ("coco_train", "coco_val"),
        ("DIV2K_train_HR", "DIV2K_valid_HR"),
        ("images/train", "images/val"),
        ("data_train/train", "data_train/test"),
    ],
)
def test_splits_in_any_spelling(train, val):
    assert found(val, train) == ((train,), (val,), ())
    assert find([(*folder.split("/"), "1.png") for folder in (train, val)]) == Splits(
        train=(train,), val=(val,)
    )


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (("train", "val", "test"), (("train",), ("val",), ("test",))),
        (
            ("train2017", "val2017", "test2017", "unlabeled2017"),
            (("train2017",), ("val2017",), ("test2017", "unlabeled2017")),
        ),
        (("train", "test", "eval"), (("train",), ("eval",), ("test",))),
        (("trainA", "trainB", "testA", "testB"), (("trainA", "trainB"), ("testA", "testB"), ())),
        (("train", "val", "trainval"), (("train",), ("val",), ("trainval",))),
        (("train",), (("train",), (), ())),
        (
            ("seg_train/seg_train", "seg_test/seg_test"),
            (("seg_train/seg_train",), ("seg_test/seg_test",), ()),
        ),
        (("cat/train", "cat/test", "dog/train"), (("*/train",), ("*/test",), ())),
    ],
)
def test_more_than_two(folders, expected):
    assert found(*folders) == expected


@pytest.mark.parametrize(
    "folders",
    [
        ("test", "cat", "dog"),
        ("train", "bus"),
        ("trains", "tests"),
        ("training_shoes", "boots"),
        ("training_shoes", "test_tubes"),
        ("valid", "invalid", "train"),
        ("steam_train", "electric_train"),
        ("train", "test", "masks"),
        ("val", "test"),
        ("test",),
        ("cat/train", "dog/lying"),
        ("toy/train", "wood/train"),
        ("vehicles/train",),
        ("train", "extra"),
    ],
)
def test_what_could_as_well_be_classes(folders):
    assert found(*folders) == ((), (), ())


def test_held_out_folders_without_the_classes_are_left_alone():
    """Kaggle's test images have none."""
    labelled = [("train", name, "1.png") for name in CLASSES]
    assert find([*labelled, ("test", "1.png")]) == Splits(train=("train",), neither=("test",))
    both = [*labelled, ("val", "x", "1.png"), ("test", "1.png")]
    assert find(both) == Splits(train=("train",), val=("val",), neither=("test",))


def test_loose_images_need_both():
    loose = [("logo.png",), ("train", "1.png")]
    assert find(loose) == Splits()
    assert find([*loose, ("test", "1.png")]) == Splits(train=("train",), val=("test",))
    assert find([("1.png",)]) == find([]) == Splits()


def test_splits_among_classes_are_told():
    assert mixed(["train", "test", "masks"]) == ["test", "train"]
    assert mixed(["test", "cat"]) == mixed(["train", "bus"]) == mixed(["train", "test"]) == []
