"""How far are floor and ceiling apart, for each judge of conditions, on real images?

A part of real pairs is held out and judged, by a judge that learned from the others: its value is then the
ceiling of any model on such data, and what it says of exchanged conditions the floor.

    python experiments/obeyed.py OUT SPACE captions TABLE.csv          columns file, caption, split
    python experiments/obeyed.py OUT SPACE labels TABLE.csv            columns file, group, split
    python experiments/obeyed.py OUT SPACE boxes COCO                  in the publishers' layout
    python experiments/obeyed.py OUT SPACE depth IMAGES MAPS           and segmentation, low_resolution, edges

Prediction: of captions .80 among 20 and .66 among near ones (found before by a script), of depths the order
of four pairs in five; of segmentations little, with some dozens of pairs to learn from.
"""

import csv
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from smalti import imaging
from smalti.conditions.map_files import open_map
from smalti.data.coco import Coco, CocoSettings
from smalti.data.loader import in_order
from smalti.data.transforms import CropSettings
from smalti.features import SPACES
from smalti.features.minilm import MiniLM
from smalti.features.protocol import Space
from smalti.metrics.obeyed.boxes import Boxes
from smalti.metrics.obeyed.depth import Depth
from smalti.metrics.obeyed.edges import Edges
from smalti.metrics.obeyed.label import Label
from smalti.metrics.obeyed.low_resolution import LowResolution
from smalti.metrics.obeyed.protocol import Judge, Pairs, obeyed, take
from smalti.metrics.obeyed.segmentation import Segmentation
from smalti.metrics.obeyed.text import Text
from smalti.reading.labels import open_labels

SIDE, FOLDS, FACTOR = 256, 4, 4


def main(out: Path, space: str, kind: str, places: list[str]) -> None:
    network, begun = SPACES[space].read(), time.monotonic()
    if kind in ("captions", "labels"):
        parts = table(kind, Path(places[0]))
    else:
        parts = [boxes(Path(places[0]))] if kind == "boxes" else folds(kind, *map(Path, places))
    found = []
    for train, real in parts:
        one = obeyed(judge(kind, network, train), real, real=real, train=train)
        found.append({name: asdict(number) for name, number in one.items()})
    means = {
        name: {key: sum(one[name][key] for one in found) / len(found) for key in found[0][name]}
        for name in found[0]
    }
    out.mkdir(parents=True, exist_ok=True)
    seconds = round(time.monotonic() - begun, 1)
    record = {"space": space, "kind": kind, "folds": len(found), "seconds": seconds, "numbers": means}
    (out / f"{kind}.json").write_text(json.dumps(record, indent=2) + "\n")
    for name, number in means.items():
        print(name, {key: round(value, 3) for key, value in number.items()}, f"{seconds} s")


def judge(kind: str, space: Space, train: Pairs) -> Judge:
    if kind == "captions":
        return Text(space, MiniLM.read())
    if kind == "segmentation":
        return Segmentation(space, 256)
    if kind == "boxes":
        return Boxes(
            space, 1 + max(int(thing.label) for scene in train.conditions for thing in scene.objects)
        )
    made = {"labels": Label, "depth": Depth}
    return made[kind](space) if kind in made else {"edges": Edges, "low_resolution": LowResolution}[kind]()


def table(kind: str, path: Path) -> list[tuple[Pairs, Pairs]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    groups = sorted({row["group"] for row in rows})
    sides = []
    for split in ("train", "val"):
        some = [row for row in rows if row["split"] == split]
        images = torch.stack([imaging.to_float(imaging.open_rgb(path.parent / row["file"])) for row in some])
        labels = torch.tensor([groups.index(row["group"]) for row in some])
        texts = [row["caption"] for row in some]
        sides.append(Pairs(images=images, conditions=texts if kind == "captions" else labels))
    return [(sides[0], sides[1])]


def boxes(root: Path) -> tuple[Pairs, Pairs]:
    sides = []
    for split in ("train", "val"):
        reader, images, scenes = Coco(CocoSettings(root=root), split), [], []
        for batch in in_order(reader, size=(SIDE, SIDE), crop=CropSettings(), batch=16):
            images.append(batch.images)
            scenes += batch.scenes
        sides.append(Pairs(images=torch.cat(images), conditions=scenes))
    return sides[0], sides[1]


def folds(kind: str, root: Path, maps: Path) -> list[tuple[Pairs, Pairs]]:
    images, conditions = [], []
    for path in imaging.find_images(root):
        images.append(square(imaging.to_float(imaging.open_rgb(path))))
        conditions.append(condition(kind, images[-1], maps / path.relative_to(root).with_suffix(".png")))
    every = Pairs(images=torch.stack(images), conditions=torch.stack(conditions))
    found = []
    for fold in range(FOLDS):
        held = [number for number in range(len(images)) if number % FOLDS == fold]
        rest = [number for number in range(len(images)) if number % FOLDS != fold]
        found.append(
            tuple(Pairs(images=every.images[n], conditions=take(every.conditions, n)) for n in (rest, held))
        )
    return found


def condition(kind: str, image: Tensor, path: Path) -> Tensor:
    if kind == "segmentation":
        return square(open_labels(path)[None].float(), "nearest-exact")[0].long()
    if kind == "depth":
        return square(open_map(path, 1))
    if kind == "low_resolution":
        return imaging.resize(imaging.resize(image[None], (SIDE // FACTOR,) * 2), (SIDE, SIDE))[0].clamp(
            -1, 1
        )
    return (
        Edges().look(image[None]).float()
    )  # of the image itself: a ceiling of 1, only the floor says something


def square(found: Tensor, filter: str = "bicubic") -> Tensor:
    """The middle of an image or a map, c SIDE SIDE."""
    height, width = found.shape[1:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return imaging.resize(found[None, :, top : top + side, left : left + side], (SIDE, SIDE), filter)[
        0
    ].clamp(-1, 255)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:])
