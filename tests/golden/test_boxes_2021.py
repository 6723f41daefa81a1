"""Annotations in the files of COCO and Open Images become the tokens that the 2021 code made of them."""

import pytest
import torch

from smalti.conditions.box_tokens import Scene
from smalti.conditions.boxes import BoxesCondition, BoxesSettings
from smalti.conditions.points import PointsCondition, PointsSettings
from smalti.data.coco import Coco, CocoSettings
from smalti.data.open_images import OpenImages, OpenImagesSettings

CPU = torch.device("cpu")
KINDS = {
    "objects_bbox": (BoxesSettings, BoxesCondition),
    "objects_center_points": (PointsSettings, PointsCondition),
}


@pytest.fixture(scope="module")
def readers(golden):
    """By the names of the case; with them how classes are told."""
    case = golden("box_tokens")
    numbers = case.case["category_numbers"]
    lines = (case.folder / "open_images_mini" / "class-descriptions-boxable.csv").read_text().splitlines()
    described = dict(line.split(",", 1) for line in lines)
    mapping = numbers["open_images_category_mapping"]
    merge = {described[one]: described[other] for one, other in mapping.items()}
    names = tuple(name for _, name in numbers["open_images_id_name"])
    coco = CocoSettings(root=case.folder / "coco_mini")
    # in the order of the 2021 code, where unknown flags count as set
    openly = OpenImagesSettings(
        root=case.folder / "open_images_mini", names=names, merge=merge, min_area=1e-4, unknown_flags=True
    )
    flags = ("group", "occluded", "depiction", "inside")
    return {
        "coco_mini/validation": (Coco(coco, "val"), ()),  # where the flag of groups was never set
        "open_images_mini/validation": (OpenImages(openly, "val"), flags),
        "open_images_mini/train": (OpenImages(openly, "train"), flags),
    }


def test_classes_and_images(golden, readers):
    case = golden("box_tokens").case
    numbers = case["category_numbers"]
    coco, openly = readers["coco_mini/validation"][0], readers["open_images_mini/train"][0]
    assert list(coco.classes) == [name for _, name in numbers["coco_id_name"]]
    things = CocoSettings(root=coco.root.parent, parts=("things",), min_objects=1)
    assert list(Coco(things, "val").classes) == [name for _, name in numbers["coco_things_only"]]
    assert list(openly.classes) == [name for _, name in numbers["open_images_id_name"]]
    left_out = case["images_left_out"]["coco_mini"]
    assert not {int(path.stem) for path in coco.paths} & set(left_out)
    for name, (reader, _) in readers.items():
        rows = {row["image_id"] for row in case["rows"] if row["dataset"] == name}
        assert {path.stem.lstrip("0") for path in reader.paths} == {one.lstrip("0") for one in rows}


def test_tokens(golden, readers):
    """Every crop, flip and kind; things in the order that the 2021 code had shuffled them to."""
    rows = golden("box_tokens").case["rows"]
    assert len(rows) == 90
    for row in rows:
        condition, scene = told(row, *readers[row["dataset"]])
        prefix = condition.context(scene, num=1, grid=(8, 8), device=CPU).window(0, 0, 8, 8)
        assert prefix[0].tolist() == row["tokens"], row
        (decoded,) = condition.decode(prefix)
        assert len(decoded.objects) == len(row["decoded"])
        for thing, (number, box) in zip(decoded.objects, row["decoded"], strict=True):
            assert thing.label == number
            sides = (thing.x1 - thing.x0, thing.y1 - thing.y0)
            found = (thing.x0, thing.y0, *sides)[: len(box)]
            assert found == pytest.approx(box, abs=1e-5)
        if row["encode_crop"]:
            x0, y0, x1, y1 = decoded.crop
            assert (x0, y0, x1 - x0, y1 - y0) == pytest.approx(row["decoded_crop"], abs=1e-5)


def told(row, reader, flags):
    """The condition of a row, and its scene in the order it was told in."""
    names = [path.stem.lstrip("0") for path in reader.paths]
    index = names.index(row["image_id"].lstrip("0"))
    objects = list(reader[index].scene.objects)
    before, after = row["annotation_ids_in_file_order"], row["annotation_ids_after_shuffle"]
    assert len(before) == len(objects)
    objects = [objects[before.index(one)] for one in after]
    x, y, w, h = row["crop_bbox"] or (0.0, 0.0, 1.0, 1.0)
    scene = Scene(tuple(objects), crop=(x, y, x + w, y + h))
    settings, member = KINDS[row["kind"]]
    how = settings(
        classes=len(reader.classes), flags=flags, encode_crop=row["encode_crop"], clip_both_ends=False
    )
    return member(how), scene.flipped() if row["flipped"] else scene
