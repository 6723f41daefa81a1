"""Images that tests train on, and one thread, so that numbers do not move."""

import csv
import gc
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from trials import TOLD, in_words

from smalti.conditions.pose import COCO

_HEIGHT, _WIDTH = 24, 36  # of the images with maps or annotations: oblong, so that axes cannot be mixed up


def pytest_collection_finish():
    gc.freeze()  # what was imported stays: collecting rubbish need not look through it after each test


def pytest_terminal_summary(terminalreporter):
    """Tell of the bad inputs that tests have taken, in one line."""
    reports = [report for found in terminalreporter.stats.values() for report in found]
    calls = [report for report in reports if getattr(report, "when", "") == "call"]
    pairs = [pair for report in calls for pair in report.user_properties]
    if told := [value for name, value in pairs if name == TOLD]:
        terminalreporter.write_line(in_words(told))


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with two classes of eight small images each: stripes that lie and stripes that stand."""
    generator = torch.Generator().manual_seed(0)
    folder = tmp_path / "photos"
    for name in ("lying", "standing"):
        (folder / name).mkdir(parents=True)
        for number in range(8):
            stripes = (torch.arange(40) + number) // 4 % 2 * 180
            image = stripes.expand(40, 40) if name == "standing" else stripes.expand(40, 40).T
            noise = torch.randint(0, 60, (40, 40, 3), generator=generator)
            pixels = (image[:, :, None] + noise).clamp(max=255).to(torch.uint8)
            Image.fromarray(pixels.numpy()).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture
def paired(tmp_path: Path) -> Path:
    """Twelve images with their maps, in folders by kind."""
    for number in range(12):
        noise = np.random.default_rng(number)
        _image(tmp_path / "images" / f"{number}.jpg", number)
        depths = noise.normal(size=(_HEIGHT, _WIDTH)).astype("<f4")
        labels = noise.integers(0, 5, (_HEIGHT, _WIDTH), dtype=np.uint8)
        for kind, pixels in (("depth", depths[..., None].view(np.uint8)), ("segmentation", labels)):
            (tmp_path / kind).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / kind / f"{number}.png")
    return tmp_path


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Six images a split, each with a house and a tree; one is crowded."""
    root = tmp_path / "coco"
    for split in ("train", "val"):
        images, found = [], {"instances": [], "stuff": []}
        for number in range(6):
            name = f"{number}.jpg"
            _image(root / f"{split}2017" / name, number)
            images.append({"id": number, "file_name": name, "width": _WIDTH, "height": _HEIGHT})
            for category, box in ((2, [0, 0, 18, 24]), (10, [9, 6, 27, 12])):
                crowd = int(number == 0 and category == 10)
                found["instances"].append(
                    {"image_id": number, "category_id": category, "bbox": box, "iscrowd": crowd}
                )
            found["stuff"].append({"image_id": number, "category_id": 183, "bbox": [0, 0, 36, 24]})
        names = {"instances": {2: "house", 10: "tree"}, "stuff": {183: "other", 92: "cloud"}}
        for file, annotations in found.items():
            categories = [{"id": id, "name": name} for id, name in names[file].items()]
            path = root / "annotations" / f"{file}_{split}2017.json"
            path.parent.mkdir(exist_ok=True)
            whole = {"images": images, "annotations": annotations, "categories": categories}
            path.write_text(json.dumps(whole))
    return root


@pytest.fixture
def coco_keypoints(tmp_path: Path) -> Path:
    """Six images a split in COCO's form: in each a person, in some a crowd, or another who is hardly seen."""
    root = tmp_path / "coco_keypoints"
    category = {"supercategory": "person", "id": 1, "name": "person", "keypoints": list(COCO)}
    category["skeleton"] = [[16, 14], [14, 12], [17, 15], [15, 13], [12, 13], [6, 12], [7, 13], [6, 7]]
    for split in ("train", "val"):
        images, annotations = [], []
        for number in range(6):
            image = {"id": 900 + number, "file_name": f"{number:012}.jpg", "license": 4}
            images.append(image | {"height": _HEIGHT, "width": _WIDTH})
            _image(root / f"{split}2017" / image["file_name"], number)
            person = [value for joint in range(16) for value in (20 + joint % 3, 2 + joint, 2 - joint % 2)]
            hardly = [4, 5, 2, *[0] * 48] if number == 1 else [0] * 51
            found = [{"keypoints": [*person, 0, 0, 0], "num_keypoints": 16, "bbox": [18, 1, 7, 18.5]}]
            if number in (1, 2):
                found += [{"keypoints": hardly, "num_keypoints": int(number == 1), "bbox": [3, 4, 4, 12]}]
                found[1]["iscrowd"] = int(number == 2)
            for one in found:
                same = {"image_id": 900 + number, "id": len(annotations), "category_id": 1, "iscrowd": 0}
                annotations.append({**same, "segmentation": [], "area": 48.0, **one})
        path = root / "annotations" / f"person_keypoints_{split}2017.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": [category]}))
    return root


@pytest.fixture
def open_images(tmp_path: Path) -> Path:
    """Six images a split, each with a house and a tree."""
    root = tmp_path / "open_images"
    columns = ["ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax"]
    columns += ["IsOccluded", "IsGroupOf", "IsDepiction", "IsInside"]
    for split, file in (("train", "oidv6-train"), ("validation", "validation")):
        rows = [columns]
        for number in range(6):
            _image(root / split / f"{number}.jpg", number)
            rows += [
                [number, "/m/2", 0, 0.5, 0, 1, 0, -1, 0, 0],
                [number, "/m/3", 0.25, 1, 0.25, 0.75, 1, 1, 0, 0],
            ]
        with (root / f"{file}-annotations-bbox.csv").open("w", newline="") as out:
            csv.writer(out).writerows(rows)
    (root / "class-descriptions-boxable.csv").write_text("/m/3,tree\n/m/2,house\n/m/1,cloud\n")
    return root


def _image(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (_HEIGHT, _WIDTH, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
