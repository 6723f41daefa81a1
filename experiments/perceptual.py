"""What does the perceptual distance buy? The demo's tokenizer twice: with it and without.

Same pictures, steps and seed.

    python experiments/perceptual.py OUT
"""

import json
import sys
from pathlib import Path

import torch

from smalti import images, library
from smalti.demo import photographs
from smalti.demo.run import CROP
from smalti.evaluation.distances import frechet
from smalti.evaluation.lite0 import Lite0
from smalti.evaluation.reconstruction import psnr, ssim
from smalti.losses.hed import HED
from smalti.training.train import train

KINDS = ("hed", "none")
STEPS = 200


def sharpness(pictures: torch.Tensor) -> float:
    """Mean size of the Laplacian: what blur takes away first."""
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]).expand(3, 1, 3, 3)
    return torch.nn.functional.conv2d(pictures, kernel, groups=3).abs().mean().item()


def main(out: Path) -> None:
    photographs.cut(out / "photos", CROP)
    paths = images.find_pictures(out / "photos" / "val")[::3]
    real = images.to_float(torch.stack([images.open_rgb(path) for path in paths]))
    features, hed, rows, shown = Lite0(), HED.read(), {}, [real[::8]]
    rows["real"] = {"sharpness": sharpness(real)}
    for kind in KINDS:
        changes = {"losses.perceptual.kind": kind, "steps": STEPS}
        run = train("demo_tokenizer", data=out / "photos" / "train", out=out / kind, **changes)
        rebuilt = library.load(run).reconstruct(real).clamp(-1, 1)
        with torch.no_grad():
            distance = hed(real, rebuilt).mean().item()
        rows[kind] = {
            "psnr": psnr(real, rebuilt).mean().item(),
            "ssim": ssim(real, rebuilt).mean().item(),
            "hed": distance,
            "lite0_fd": frechet(features.features(real), features.features(rebuilt)),
            "sharpness": sharpness(rebuilt),
        }
        shown.append(rebuilt[::8])
    (out / "numbers.json").write_text(json.dumps(rows, indent=2) + "\n")
    sheet = images.grid(images.to_uint8(torch.cat(shown)), columns=len(shown[0]))
    images.save_png(out / "pictures.png", sheet, {"rows": ["real", *KINDS]})
    print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
