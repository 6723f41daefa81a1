"""What does a small skew cost? Nats a token of the neighbourhood prior, by the cells it does not see for it.

Crops of 16 x 16 cells of the demo's photographs under the demo's tokenizer; priors that see 7 cells each way
but for what a skew of less than 8 hides, trained alike. Held-out crops are scored; a change is against skew 8
with the same seed, over crops.

    python experiments/skew.py DEMO/tokenizer OUT
"""

import json
import sys
from pathlib import Path

import torch
from torch import Tensor

from smalti import imaging, library
from smalti.data.transforms import CropSettings
from smalti.demo import photographs
from smalti.pipeline import Pipeline
from smalti.tokenizer import Tokenizer
from smalti.training.precompute import encode
from smalti.training.train import train

LAGS, SEEDS, RADIUS, CROP, STEPS = (8, 2), (0, 1), 7, 64, 600


def main(source: Path, out: Path) -> None:
    tokenizer = library.load(source)
    assert isinstance(tokenizer, Tokenizer), "a tokenizer"
    photographs.cut(out / "photos", CROP)
    crop = CropSettings(resize="none")
    encode(tokenizer, out / "photos" / "train", out / "tokens", size=CROP, crops=4, crop=crop)
    seeds = torch.stack([scored(out, source, LAGS[0], seed) for seed in SEEDS])  # seeds, crops
    rows = {LAGS[0]: row(seeds, seeds)}
    for skew in LAGS[1:]:
        rows[skew] = row(torch.stack([scored(out, source, skew, seed) for seed in SEEDS]), seeds)
    for skew, figures in rows.items():
        print(skew, json.dumps(figures))
    (out / "numbers.json").write_text(json.dumps(rows, indent=2) + "\n")


def scored(out: Path, tokenizer: Path, skew: int, seed: int) -> Tensor:
    """Nats a token of every held-out crop under a prior trained with this skew."""
    return nats(prior(tokenizer, out, skew, seed), out / "photos" / "val")


def prior(tokenizer: Path, out: Path, skew: int, seed: int) -> Pipeline:
    """Trained as the demo's prior is, in size as well."""
    size = {"kind": "neighbourhood", "layers": 4, "heads": 4, "width": 192, "radius": RADIUS, "skew": skew}
    changes = {"tokenizer": str(tokenizer), "size": CROP, "prior": size, "steps": STEPS, "seed": seed}
    run = train(
        "demo_prior", data=out / "tokens", out=out / f"skew{skew}-{seed}", sample_every=STEPS, **changes
    )
    found = library.load(run)
    assert isinstance(found, Pipeline), "a prior's recipe gives a generator"
    return found


def nats(model: Pipeline, folder: Path) -> Tensor:
    """-ln p a token of every held-out crop, under its class."""
    found = []
    for each in sorted(folder.iterdir()):
        images = [imaging.open_rgb(path) for path in imaging.find_images(each)]
        codes = model.tokenizer.encode(imaging.to_float(torch.stack(images)))
        shares = model.logits(codes, label=each.name).log_softmax(-1)
        found.append(-shares.gather(-1, codes.flatten(1)[..., None])[..., 0].mean(1))
    return torch.cat(found)


def row(now: Tensor, whole: Tensor) -> dict[str, float]:
    """Of nats (seeds, crops): means, the change against the whole neighbourhood, its error over crops."""
    changes = (now - whole).mean(0)
    return {
        "crops": len(changes),
        "nats a token": now.mean().item(),
        "between seeds": now.mean(1).std().item(),
        "change": changes.mean().item(),
        "its standard error": (changes.std() / len(changes) ** 0.5).item(),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
