"""A network that sees what scenes of 64 px show: classes, depths, boxes and joints. It judges drawn scenes.

Judges of `smalti evaluate` look through networks that learned from photographs; at 64 px they see little of
a scene (.69 of the joints of real ones). Of scenes anything can be learned, as they are made: this one is
trained on some thousands, and judges images that it has not seen. What it sees of real images is the ceiling.

    python experiments/tasks/sight.py OUT.safetensors [STEPS]

Prediction: of real scenes mIoU .90, order of depths .97, boxes .85, joints .85.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from smalti.conditions.box_tokens import Object, Scene
from smalti.conditions.pose import COCO, Pose
from smalti.data.loader import collate
from smalti.data.protocol import Batch
from smalti.data.scenes import SEGMENTS, Scenes, ScenesSettings
from smalti.files import save_tensors
from smalti.metrics.obeyed.boxes import Boxes, visible
from smalti.metrics.obeyed.depth import Depth
from smalti.metrics.obeyed.keypoints import Keypoints
from smalti.metrics.obeyed.protocol import Judge, Pairs, obeyed
from smalti.metrics.obeyed.segmentation import Segmentation
from smalti.scenes.compose import KINDS

SIDE, SEED, SCENES = 64, 7, 8000  # a seed of its own: no model learned from these scenes
STEPS, BATCH, WIDTH = 4000, 16, 24
PARTS = {"classes": len(SEGMENTS), "depth": 1, "joints": len(COCO), "middles": len(KINDS), "sides": 4}
SPREAD = 1.5  # pixels, of the bell around a joint or the middle of a thing
LEAST = 0.3  # of a bell's height: lower ones are no things
IOU = 0.5


class Sight(nn.Module):
    """A U-Net: maps of classes, of depth, of joints, of middles of things by class, and of their sides."""

    def __init__(self) -> None:
        super().__init__()
        one, two, three = WIDTH, 2 * WIDTH, 4 * WIDTH
        self.down = nn.ModuleList([_convolutions(3, one), _convolutions(one, two), _convolutions(two, three)])
        self.wide = nn.Sequential(_convolutions(three, three), _convolutions(three, three))
        self.up = nn.ModuleList([_convolutions(three + two, two), _convolutions(two + one, one)])
        self.last = nn.Conv2d(one, sum(PARTS.values()), 1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        held = []
        for number, part in enumerate(self.down):
            images = part(F.max_pool2d(images, 2) if number else images)
            held.append(images)
        found = self.wide(F.max_pool2d(held[-1], 2))
        found = held[-1] + F.interpolate(found, scale_factor=2)
        for part, beside in zip(self.up, (held[1], held[0]), strict=True):
            found = part(torch.cat([F.interpolate(found, scale_factor=2), beside], 1))
        return dict(zip(PARTS, self.last(found).split(list(PARTS.values()), 1), strict=True))


class SeenClasses(Segmentation):
    """mIoU of what is asked for and what the network sees."""

    learns = False

    def __init__(self, sight: Sight) -> None:
        self._sight, self._classes = sight, len(SEGMENTS)

    def look(self, images: Tensor) -> Tensor:
        return _see(self._sight, images)["classes"].argmax(1)


class SeenDepth(Depth):
    """The order of depths as the network sees them."""

    learns = False

    def __init__(self, sight: Sight) -> None:
        self._sight = sight

    def look(self, images: Tensor) -> Tensor:
        return _see(self._sight, images)["depth"][:, 0]


class SeenJoints(Keypoints):
    """Joints where the network sees them."""

    learns = False

    def __init__(self, sight: Sight) -> None:
        self._sight, self._names = sight, COCO

    def look(self, images: Tensor) -> Tensor:
        bells = _see(self._sight, images)["joints"].sigmoid()
        best = bells.flatten(2).argmax(2)
        height, width = bells.shape[2:]
        places = torch.stack([(best % width + 0.5) / width, (best // width + 0.5) / height], 2)
        return torch.cat([places, torch.full_like(places[..., :1], width / height)], 2)


class SeenBoxes(Boxes):
    """The share of boxes that overlap by half with a thing of their class that the network sees."""

    titles: ClassVar = {"box_recall": f"share of boxes in which a thing of their class is seen, IoU {IOU}"}
    learns = False

    def __init__(self, sight: Sight) -> None:
        self._sight = sight

    def look(self, images: Tensor) -> list[list[Object]]:
        return things(_see(self._sight, images))

    def compare(self, seen: Sequence[list[Object]], conditions: Any) -> Tensor:
        rows = torch.zeros(len(seen), 2, dtype=torch.float64)
        for row, found, scene in zip(rows, seen, conditions, strict=True):
            for asked in visible(scene):
                there = (one for one in found if one.label == int(asked.label) % len(KINDS))
                row += torch.tensor([any(overlap(asked, one) >= IOU for one in there), True])
        return rows


JUDGES: dict[str, type[Judge]] = {
    "segmentation": SeenClasses, "depth": SeenDepth, "keypoints": SeenJoints, "boxes": SeenBoxes
}  # fmt: skip


def things(seen: dict[str, Tensor]) -> list[list[Object]]:
    """Return the things of each image: where a middle is likelier than all around it, a box of its sides."""
    bells = seen["middles"].sigmoid()
    peaks = (bells == F.max_pool2d(bells, 5, 1, 2)) & (bells > LEAST)
    height, width = bells.shape[2:]
    found: list[list[Object]] = [[] for _ in bells]
    for image, label, row, column in peaks.nonzero().tolist():
        left, top, right, bottom = seen["sides"][image, :, row, column].tolist()
        x, y = (column + 0.5) / width, (row + 0.5) / height
        found[image].append(Object(label, x - left, y - top, x + right, y + bottom))
    return found


def overlap(one: Object, other: Object) -> float:
    """Return intersection over union."""
    wide = min(one.x1, other.x1) - max(one.x0, other.x0)
    high = min(one.y1, other.y1) - max(one.y0, other.y0)
    both = max(wide, 0) * max(high, 0)
    areas = [(thing.x1 - thing.x0) * (thing.y1 - thing.y0) for thing in (one, other)]
    return both / max(sum(areas) - both, 1e-9)


def read(path: Path) -> Sight:
    """Return a network that was trained."""
    found = Sight()
    found.load_state_dict(load_file(path))
    return found.eval()


def train(steps: int) -> Sight:
    """Return a network that has learned from scenes, which are rendered once."""
    torch.manual_seed(SEED)
    sight, given = Sight(), scenes("train", SCENES)
    optimizer = torch.optim.AdamW(sight.parameters(), lr=2e-3, weight_decay=1e-3)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps, pct_start=0.05)
    begun = time.monotonic()
    for step in range(steps):
        rows = torch.randint(SCENES, (BATCH,))
        loss = _loss(sight(given["images"][rows]), {key: value[rows] for key, value in given.items()})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rates.step()
        if step % 200 == 0:
            print(step, round(loss.item(), 3), f"{time.monotonic() - begun:.0f} s", flush=True)
    return sight.eval()


def scenes(split: str, count: int) -> dict[str, Tensor]:
    """Return images with targets of all that the network is to see."""
    found: list[dict[str, Tensor]] = []
    for start in range(0, count, 100):
        rows = range(start, min(start + 100, count))
        classes, depths = (batch(split, rows, content) for content in ("segmentation", "depth"))
        target = {"images": classes.images, "classes": classes.segmentations, "depth": depths.maps}
        target["joints"] = torch.stack([_joints(pose) for pose in classes.poses])
        middles, sides = zip(*[_boxes(scene) for scene in classes.scenes], strict=True)
        found.append({**target, "middles": torch.stack(middles), "sides": torch.stack(sides)})
    return {name: torch.cat([one[name] for one in found]) for name in found[0]}


def batch(split: str, rows: Sequence[int], content: str = "segmentation", people: float = 0.5) -> Batch:
    """Return scenes by their numbers."""
    reader = Scenes(ScenesSettings(size=SIDE, seed=SEED, content=content, people=people), split)
    return collate([reader[row] for row in rows])


def _convolutions(given: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (given, width):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.GroupNorm(8, width), nn.SiLU()]
    return nn.Sequential(*layers)


def _see(sight: Sight, images: Tensor) -> dict[str, Tensor]:
    assert images.shape[2:] == (SIDE, SIDE), "it has learned from no other size"
    with torch.inference_mode():
        return sight(images.float())


def _loss(seen: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    """Bells are learned by cross-entropy, heavier where they are; sides where a middle is."""
    there = (given["sides"] > 0).float()
    loss = F.cross_entropy(seen["classes"], given["classes"]) + 2 * F.l1_loss(seen["depth"], given["depth"])
    for name in ("joints", "middles"):
        weight = 1 + 50 * given[name]
        loss = loss + 2 * F.binary_cross_entropy_with_logits(seen[name], given[name], weight)
    return loss + 5 * ((seen["sides"] - given["sides"]).abs() * there).sum() / there.sum().clamp(min=1)


def _joints(pose: Pose) -> Tensor:
    found = torch.zeros(len(COCO), SIDE, SIDE)
    for figure in pose.seen():
        for number, joint in enumerate(figure):
            if joint.visibility:
                found[number] = torch.maximum(found[number], _bell(joint.x, joint.y))
    return found


def _boxes(scene: Scene) -> tuple[Tensor, Tensor]:
    middles, sides = torch.zeros(len(KINDS), SIDE, SIDE), torch.zeros(4, SIDE, SIDE)
    centres = (torch.arange(SIDE) + 0.5) / SIDE
    for thing in scene.objects:
        x, y = (thing.x0 + thing.x1) / 2, (thing.y0 + thing.y1) / 2
        bell = _bell(x, y)
        middles[int(thing.label)] = torch.maximum(middles[int(thing.label)], bell)
        near = bell > 0.4
        rows, columns = centres[:, None].expand(SIDE, SIDE), centres.expand(SIDE, SIDE)
        own = torch.stack([columns - thing.x0, rows - thing.y0, thing.x1 - columns, thing.y1 - rows])
        sides = torch.where(near & (own > 0), own, sides)
    return middles, sides


def _bell(x: float, y: float) -> Tensor:
    places = torch.arange(SIDE) + 0.5
    away = (places - x * SIDE) ** 2 + (places[:, None] - y * SIDE) ** 2
    return torch.exp(-away / (2 * SPREAD**2))


def ceilings(sight: Sight, count: int = 300) -> dict[str, float]:
    """Return what is seen of real scenes that were not learned from."""
    numbers = {}
    for kind, judge in JUDGES.items():
        found = batch("val", range(count), "depth" if kind == "depth" else "segmentation")
        conditions = {"segmentation": found.segmentations, "depth": found.maps, "keypoints": found.poses}
        real = Pairs(images=found.images, conditions=conditions.get(kind, found.scenes))
        if isinstance(real.conditions, tuple):
            real = Pairs(images=found.images, conditions=list(real.conditions))
        numbers |= {name: round(one.value, 3) for name, one in obeyed(judge(sight), real, real=real).items()}
    return numbers


def main(out: Path, steps: int) -> None:
    torch.set_num_threads(1)
    sight = train(steps)
    save_tensors(sight.state_dict(), out)
    print(ceilings(read(out)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else STEPS)
