"""What does one pass save? `smalti evaluate` of a tokenizer against its numbers taken one after the other.

The other side is what a person would write around torchmetrics: for each number the files are opened,
rebuilt and given to it. Its perceptual distances and feature networks are ours (torchmetrics' own want
other weights, or torchvision), so that both sides compute the same; its SSIM mirrors borders and is
another number. Each side has a process of its own, which tells its memory.

    python experiments/one_pass.py TOKENIZER IMAGES COUNT

Prediction: half the time, in less than 2 GB. Found, of 1,000 emoji of 128 px on two quiet cores: .72 of
the time (194 s), .66 of the processor's, 1.77 GiB. More than half of ours are convolutions of two VGG16
trunks (LPIPS, HED), which the other side computes as well and nobody can leave out.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator

import torch
from torch import Tensor
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure
from torchmetrics.image.fid import FrechetInceptionDistance

import smalti
from smalti import imaging
from smalti.evaluation.sets import Cut
from smalti.features import SPACES
from smalti.files import evenly
from smalti.losses import DISTANCES

SIDE = 128
NAMES = ("mobilenet_v2", "lite0")


def main(model: str, data: str, count: str) -> None:
    found = {side: measure(side, model, data, count) for side in ("ours", "theirs")}
    for kind in ("wall", "cpu"):
        found[kind] = found["ours"][kind] / found["theirs"][kind]
    print(json.dumps(found, indent=2))


def measure(side: str, model: str, data: str, count: str) -> dict[str, float]:
    lines = subprocess.check_output([sys.executable, __file__, model, data, count, side], text=True)
    return json.loads(lines.splitlines()[-1])


def ours(model: str, data: str, count: int) -> dict[str, float]:
    """The numbers of `smalti evaluate`, all that its networks at hand allow."""
    record = smalti.evaluate(model, data, num=count, split="all", train=None).record
    return {name: number.value for name, number in record.numbers.items()}


def theirs(model: str, data: str, count: int) -> dict[str, float]:
    """The same by torchmetrics, each with a loop over the files of its own."""
    tokenizer, paths = smalti.Tokenizer.from_pretrained(model), evenly(imaging.find_images(data), count)

    @torch.no_grad()
    def pairs() -> Iterator[tuple[Tensor, Tensor]]:
        cut = Cut(size=(SIDE, SIDE))
        for first in range(0, count, 16):
            real = torch.stack([cut(imaging.open_rgb(path), path) for path in paths[first : first + 16]])
            yield real, imaging.eight_bit(tokenizer.reconstruct(real))

    numbers = {}
    simple = {
        "psnr": PeakSignalNoiseRatio(data_range=1.0, reduction=None, dim=(1, 2, 3)),
        "ssim": StructuralSimilarityIndexMeasure(data_range=1.0),
    }
    for name, metric in simple.items():
        for real, rebuilt in pairs():
            metric.update((rebuilt + 1) / 2, (real + 1) / 2)
        numbers[name] = metric.compute().mean().item()
    for name, kind in DISTANCES.items():
        distance = kind.read()
        with torch.no_grad():
            numbers[name] = torch.cat([distance(real, rebuilt) for real, rebuilt in pairs()]).mean().item()
    for name in NAMES:
        metric = FrechetInceptionDistance(feature=Network(name), normalize=True)
        for real, rebuilt in pairs():
            metric.update((real + 1) / 2, real=True)
            metric.update((rebuilt + 1) / 2, real=False)
        numbers[f"{name}_rfd"] = metric.compute().item()
    return numbers


class Network(torch.nn.Module):
    """A feature space as torchmetrics takes one."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.space = SPACES[name].read()
        self.num_features = self.space.width

    def forward(self, images: Tensor) -> Tensor:
        return self.space.features(images.float() * 2 - 1)


def one_side(model: str, data: str, count: str, side: str) -> None:
    wall, cpu = time.time(), time.process_time()
    numbers = {"ours": ours, "theirs": theirs}[side](model, data, int(count))
    taken = {"wall": time.time() - wall, "cpu": time.process_time() - cpu}
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({**taken, "memory_gib": memory, **numbers}))


if __name__ == "__main__":
    (one_side if len(sys.argv) == 5 else main)(*sys.argv[1:])
