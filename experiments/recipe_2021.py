"""Is `tokenizer_hour` better than the recipe of 2021 at equal steps and parameters? On emoji of 64 px.

Network, images, batches and steps are the same; what differs is loss, optimizer, start of the codebook,
averaged weights. The 2021 one has l1, LPIPS of all images, a hinge discriminator that counts from half of the
run on (arXiv:2012.09841; its 30,001 steps are no share of so few), Adam at 4.5e-6 an image of the batch, and
the same once more at the other recipe's rate, as the published one is meant for a million steps.

    python experiments/recipe_2021.py OUT EMOJI [STEPS]

Prediction: ahead of the published rate by more than 5 dB and .1 of LPIPS, of the higher rate by 1 dB and .02;
the 2021 recipe leaves most codes unused at either rate.
"""

import csv
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from smalti import imaging, library
from smalti.losses import DISTANCES
from smalti.metrics.reconstruction import psnr, ssim
from smalti.quantizers.usage import usage
from smalti.tokenizer import Tokenizer
from smalti.training.train import train

SIDE, STEPS, BATCH = 64, 1200, 8
PATCHGAN = {"width": 64, "layers": 3}
RATE = 4.5e-6 * BATCH


def published(rate: float, steps: int) -> dict[str, Any]:
    """Return what of `tokenizer_hour` the 2021 recipe has otherwise."""
    adversarial = {"objective": "hinge", "start": steps // 2, "weight": 0.8, "patchgan": PATCHGAN}
    return {
        "losses": {"l1": 1.0, "perceptual": {"kind": "lpips", "weight": 1.0}, "adversarial": adversarial},
        "quantizer": {"kind": "vq", "codebook_size": 1024, "commitment": 1.0, "codebook": 0.25},
        "quantize_start": 0,
        "optimizer": {"lr": rate, "betas": [0.5, 0.9]},
        "clip": None,
        "ema": 0.0,
    }


def main(out: Path, data: Path, steps: int) -> None:
    torch.set_num_threads(1)
    images = squares(data, out / "images")
    paths = imaging.find_images(images / "val")
    real = imaging.to_float(torch.stack([imaging.open_rgb(path) for path in paths]))
    lpips = DISTANCES["lpips_vgg"].read()
    ways = {"tokenizer_hour": {"quantize_start": steps // 10}}
    ways |= {f"2021, rate {rate:g}": published(rate, steps) for rate in (RATE, 8e-4)}
    rows, shown = {}, [real[:: len(real) // 8][:8]]
    for name, changes in ways.items():
        begun = time.process_time()
        found = tokenizer(out / name.replace(" ", "-"), images, steps, changes)
        seconds = time.process_time() - begun
        codes = found.encode(real)
        rebuilt = found.decode(codes).clamp(-1, 1)
        with torch.no_grad():
            apart = torch.cat([lpips(*pair) for pair in zip(real.split(32), rebuilt.split(32), strict=True)])
        numbers = {"psnr": psnr(real, rebuilt), "ssim": ssim(real, rebuilt), "lpips_vgg": apart}
        rows[name] = {what: round(values.mean().item(), 4) for what, values in numbers.items()}
        rows[name] |= {"usage": round(usage(codes, found.codebook_size), 3), "cpu_seconds": round(seconds)}
        print(name, json.dumps(rows[name]), flush=True)
        shown.append(rebuilt[:: len(real) // 8][:8])
    (out / "numbers.json").write_text(json.dumps({"steps": steps, "held out": len(real), **rows}, indent=2))
    sheet = imaging.grid(imaging.to_uint8(torch.cat(shown)), columns=len(shown[0]))
    imaging.save_png(out / "images.png", sheet, {"rows": ["real", *ways]})


def squares(data: Path, out: Path) -> Path:
    """Write the images in their splits, small."""
    with (data / "captions.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            place = out / row["split"] / f"{Path(row['file']).stem}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            if row["split"] in ("train", "val") and not place.exists():
                image = imaging.to_float(imaging.open_rgb(data / row["file"]))[None]  # on white ground
                small = imaging.resize(image, (SIDE, SIDE)).clamp(-1, 1)
                imaging.save_png(place, imaging.to_uint8(small)[0], {})
    return out


def tokenizer(out: Path, images: Path, steps: int, changes: dict[str, Any]) -> Tokenizer:
    every = {"steps": steps, "validate_every": steps, "sample_every": steps, "checkpoint_every": steps}
    found = library.load(train("tokenizer_hour", data=images, out=out, **every, **changes))
    assert isinstance(found, Tokenizer), "a tokenizer's recipe gives a tokenizer"
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else STEPS)
