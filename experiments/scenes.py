"""What do scenes look like, and how fast are they made? A sheet: image, depth, classes, boxes and joints.

    python experiments/scenes.py OUT.png [--size 64] [--count 8] [--people 0.5] [--seed 0]

Prints each image's captions, and images a second on one thread with their number.
"""

import argparse
import time

import torch
from PIL import Image, ImageDraw

from smalti import imaging
from smalti.conditions.pose import SEEN, Pose
from smalti.config import read_size
from smalti.data.protocol import Sample
from smalti.data.scenes import Scenes, ScenesSettings

LIMBS = (  # pairs of joints between which a line is drawn
    ("left_shoulder", "right_shoulder"), ("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"),
    ("right_shoulder", "right_elbow"), ("right_elbow", "right_wrist"), ("left_shoulder", "left_hip"),
    ("right_shoulder", "right_hip"), ("left_hip", "right_hip"), ("left_hip", "left_knee"),
    ("left_knee", "left_ankle"), ("right_hip", "right_knee"), ("right_knee", "right_ankle"),
    ("nose", "left_eye"), ("nose", "right_eye"),
)  # fmt: skip
COLOURS = ("#e6194b", "#3cb44b", "#ffe119", "#4363d8")  # of boxes, by class


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--size", type=read_size, default=(64, 64))
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--people", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    how = {"size": asked.size, "people": asked.people, "seed": asked.seed}
    classes = Scenes(ScenesSettings(**how), "train")
    depths = Scenes(ScenesSettings(**how, content="depth"), "train")
    rows = []
    for number in range(asked.count):
        rows.append(_row(classes[number], depths[number]))
        print(number, *classes[number].texts or (), sep="\n  ")
    imaging.to_pil(torch.cat(rows, 1)[None])[0].save(asked.out)
    began, used = time.perf_counter(), time.process_time()
    for number in range(asked.count):
        classes[number]
    each, alone = (time.perf_counter() - began) / asked.count, (time.process_time() - used) / asked.count
    print(f"{1 / each:.0f} images a second, {1 / alone:.0f} of a processor that does nothing else")


def _row(sample: Sample, deep: Sample) -> torch.Tensor:
    """Return a scene beside its depth, classes, and boxes with joints; small ones enlarged."""
    image, times = sample.image, max(1, 256 // min(sample.image.shape[1:]))
    shown = [
        image,
        imaging.to_uint8(deep.map[None])[0].expand(3, -1, -1),
        imaging.colour_labels(sample.segmentation[None])[0],
        image,
    ]
    large = [part.repeat_interleave(times, 1).repeat_interleave(times, 2) for part in shown]
    large[3] = _marked(large[3], sample)
    return torch.cat(large, 2)


def _marked(image: torch.Tensor, sample: Sample) -> torch.Tensor:
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    pen, width, height = ImageDraw.Draw(picture), picture.width, picture.height
    for thing in sample.scene.objects:
        box = (thing.x0 * width, thing.y0 * height, thing.x1 * width - 1, thing.y1 * height - 1)
        pen.rectangle(box, outline=COLOURS[thing.label], width=2)
    _draw(pen, sample.pose, width, height)
    return imaging.from_pil(picture)


def _draw(pen: ImageDraw.ImageDraw, pose: Pose, width: int, height: int) -> None:
    for figure in pose.seen():
        joints = dict(zip(pose.names, figure, strict=True))
        at = {name: (joint.x * width, joint.y * height) for name, joint in joints.items() if joint.visibility}
        for one, other in LIMBS:
            if one in at and other in at:
                pen.line((at[one], at[other]), fill="white", width=2)
        for name, (x, y) in at.items():
            fill = "lime" if joints[name].visibility == SEEN else "red"
            pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=fill)


if __name__ == "__main__":
    main()
