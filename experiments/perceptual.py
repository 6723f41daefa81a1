"""What does the perceptual distance buy? The demo's tokenizer, without an adversary, with LPIPS, HED or none.

Same images, steps and seeds; each number is a mean over the seeds, its spread beside it. Prediction: each
distance is best by itself; LPIPS beats HED in sharpness and in both spaces, PSNR is highest without either.

    python experiments/perceptual.py OUT
"""

import json
import sys
from pathlib import Path
from statistics import fmean

import torch

from smalti import imaging, library
from smalti.demo import photographs
from smalti.demo.run import CROP
from smalti.features import SPACES
from smalti.losses import DISTANCES
from smalti.metrics.distances import frechet
from smalti.metrics.reconstruction import psnr, ssim
from smalti.tokenizer import Tokenizer
from smalti.training.train import train

KINDS = ("lpips", "hed", "none")
STEPS, SEEDS = 700, (0, 1, 2)
MEASURED = ("lite0", "mobilenet_v2")


def sharpness(images: torch.Tensor) -> float:
    """Mean size of the Laplacian: what blur takes away first."""
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]).expand(3, 1, 3, 3)
    return torch.nn.functional.conv2d(images, kernel, groups=3).abs().mean().item()


def main(out: Path) -> None:
    photographs.cut(out / "photos", CROP)
    paths = imaging.find_images(out / "photos" / "val")[::3]
    real = imaging.to_float(torch.stack([imaging.open_rgb(path) for path in paths]))
    measure, shown = Measure(real), [real[::8]]
    rows = {"real": {"sharpness": sharpness(real)}}
    for kind in KINDS:
        found = []
        for seed in SEEDS:
            rebuilt = tokenizer(out, kind, seed).reconstruct(real).clamp(-1, 1)
            found.append(measure(rebuilt))
            print(kind, seed, json.dumps(found[-1]), flush=True)
        for name in found[0]:
            values = [one[name] for one in found]
            rows.setdefault(kind, {})[name] = fmean(values)
            rows[kind][f"{name} spread"] = max(values) - min(values)
        shown.append(rebuilt[::8])
    (out / "numbers.json").write_text(json.dumps(rows, indent=2) + "\n")
    sheet = imaging.grid(imaging.to_uint8(torch.cat(shown)), columns=len(shown[0]))
    imaging.save_png(out / "images.png", sheet, {"rows": ["real", *KINDS]})
    print(json.dumps(rows, indent=2))


def tokenizer(out: Path, kind: str, seed: int) -> Tokenizer:
    changes = {
        "losses.perceptual.kind": kind,
        "losses.adversarial": None,
        "discriminator_optimizer": None,
        "steps": STEPS,
        "seed": seed,
    }
    data = out / "photos" / "train"
    found = library.load(train("demo_tokenizer", data=data, out=out / f"{kind}-{seed}", **changes))
    assert isinstance(found, Tokenizer), "a tokenizer's recipe gives a tokenizer"
    return found


class Measure:
    """How far rebuilt images are from the real ones."""

    def __init__(self, real: torch.Tensor) -> None:
        self.real = real
        self.distances = {name: member.read() for name, member in DISTANCES.items()}
        self.spaces = {name: SPACES[name].read() for name in MEASURED}
        self.features = {name: space.features(real) for name, space in self.spaces.items()}

    @torch.no_grad()
    def __call__(self, rebuilt: torch.Tensor) -> dict[str, float]:
        return {
            "psnr": psnr(self.real, rebuilt).mean().item(),
            "ssim": ssim(self.real, rebuilt).mean().item(),
            **{name: member(self.real, rebuilt).mean().item() for name, member in self.distances.items()},
            **{
                f"{name}-FD": frechet(self.features[name], space.features(rebuilt))
                for name, space in self.spaces.items()
            },
            "sharpness": sharpness(rebuilt),
        }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
