"""What the comparisons with the paper do alike: images, models that are trained once, distances, a report.

Every model lies under the cache by what it was made of, so scripts share them, and a run that was ended goes
on. Times are those of the processor, not of a clock: others may use the machine.
"""

import argparse
import csv
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from smalti import imaging, library
from smalti.data.transforms import CropSettings
from smalti.features import SPACES
from smalti.losses import DISTANCES
from smalti.metrics.distances import frechet
from smalti.metrics.reconstruction import psnr, ssim
from smalti.pipeline import Pipeline
from smalti.quantizers.usage import perplexity, usage
from smalti.tokenizer import Tokenizer
from smalti.training.folder import RunFolder
from smalti.training.precompute import encode
from smalti.training.train import train
from smalti.weights.catalogue import WEIGHTS

HELD_OUT = 0.08  # of images that do not say themselves which are held out
WINDOW = 8  # cells a side of what a prior sees, whatever the factor
MULTIPLIERS = {1: (2,), 2: (1, 4), 4: (1, 2, 8), 8: (1, 2, 4, 8), 16: (1, 1, 2, 4, 8)}  # of width 16


@dataclass(frozen=True, kw_only=True)
class Form:
    """How large everything is."""

    side: int  # pixels of an image
    crop: int  # pixels from which tokenizers learn
    factors: tuple[int, ...]
    tokenizer_steps: int
    prior_steps: int
    layers: int
    width: int
    samples: int  # images a set of which a distance is told
    seeds: int


FORMS = {
    "short": Form(side=32, crop=16, factors=(2, 4), tokenizer_steps=4, prior_steps=4, layers=1, width=16,
                  samples=8, seeds=1),
    "small": Form(side=64, crop=32, factors=(1, 2, 4, 8), tokenizer_steps=600, prior_steps=500, layers=4,
                  width=128, samples=128, seeds=3),
    "full": Form(side=128, crop=64, factors=(1, 2, 4, 8, 16), tokenizer_steps=5000, prior_steps=5000,
                 layers=8, width=256, samples=256, seeds=3),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Options:
    """What every script is told."""

    data: Path
    out: Path  # of JSON and pictures
    cache: Path  # of images and models
    name: str  # of the form
    form: Form
    seeds: range


def options(description: str | None) -> Options:
    """Read --data, --form, --seeds, --out and --cache."""
    parser = argparse.ArgumentParser(description=description)
    data = os.environ.get("SMALTI_IMAGES")
    parser.add_argument("--data", type=Path, default=data, required=data is None, help="a folder of images")
    parser.add_argument("--form", choices=FORMS, default="full", help="how large everything is")
    parser.add_argument("--seeds", type=int, help="how many; the form's own number unless given")
    parser.add_argument("--out", type=Path, default=Path("runs/experiments"), help="JSON and pictures")
    parser.add_argument("--cache", type=Path, default=Path("runs/experiments"), help="images and models")
    given = parser.parse_args()
    torch.set_num_threads(1)
    form = FORMS[given.form]
    return Options(
        data=Path(given.data),
        out=given.out,
        cache=given.cache / given.form,
        name=given.form,
        form=form,
        seeds=range(given.seeds or form.seeds),
    )


class Lab:
    """Images of one form, models of them, and how far images lie from the real ones."""

    def __init__(self, options: Options) -> None:
        self.form, self.options, self.cache = options.form, options, options.cache

    @cached_property
    def images(self) -> Path:
        """Images as squares in train/ and val/, by group where the data have a captions.csv that says it."""
        out = self.cache / "images"
        with _alone(out):
            if not (out / "done").exists():
                for path, split, group in _listed(self.options.data):
                    place = out / split / group
                    place.mkdir(parents=True, exist_ok=True)
                    _square(path, self.form.side).save(place / f"{path.stem}.png")
                (out / "done").touch()
        return out

    def real(self, split: str) -> Tensor:
        """As many images of a split as a set has, evenly chosen; fewer where there are fewer."""
        paths = imaging.find_images(self.images / split)
        count = min(self.form.samples, len(paths))
        chosen = [paths[index * len(paths) // count] for index in range(count)]
        return imaging.to_float(torch.stack([imaging.open_rgb(path) for path in chosen]))

    def tokenizer(self, factor: int, seed: int = 0, **changes: Any) -> Path:
        """A run folder of a tokenizer: the demo's recipe at another factor."""
        form = self.form
        settings = {
            "network.multipliers": MULTIPLIERS[factor],
            "size": form.crop,
            "steps": form.tokenizer_steps,
            "quantize_start": form.tokenizer_steps // 8,
            "losses.perceptual.kind": "lpips" if WEIGHTS["lpips_vgg"].at_hand else "hed",
            "losses.adversarial.start": form.tokenizer_steps * 6 // 10,
            "losses.adversarial.discriminator_start": form.tokenizer_steps // 2,
            "losses.adversarial.ramp": form.tokenizer_steps // 6,
            "validate_every": form.tokenizer_steps,
            "sample_every": form.tokenizer_steps,
            "checkpoint_every": max(form.tokenizer_steps // 4, 1),
            "seed": seed,
            **changes,
        }
        return self._trained(f"tokenizer-f{factor}", "demo_tokenizer", self.images, settings)

    def tokens(self, tokenizer: Path) -> Path:
        """Codes of crops of WINDOW x WINDOW cells, two of every image."""
        found = load(tokenizer)
        assert isinstance(found, Tokenizer), "a tokenizer's run"
        out = self.cache / "tokens" / tokenizer.name
        with _alone(out):
            if not (out / "done").exists():
                how = CropSettings(resize="none")
                side = WINDOW * found.factor
                encode(found, self.images, out, size=side, crops=2, crop=how, batch=64, resume=out.exists())
                (out / "done").touch()
        return out

    def prior(self, tokenizer: Path, seed: int = 0, data: Path | None = None, **changes: Any) -> Path:
        """A run folder of the 2021 transformer over a tokenizer's codes. data: None for its tokens."""
        form, found = self.form, load(tokenizer)
        settings: dict[str, Any] = {
            "tokenizer": str(tokenizer),
            "size": WINDOW * found.factor,
            "steps": form.prior_steps,
            "prior": self.transformer,
            "condition": {"kind": "none"},
            "optimizer.schedule": "constant",
            "optimizer.warmup": form.prior_steps // 20,
            "optimizer.lr": 1.0e-3,
            "optimizer.weight_decay": 0.01,
            "ema": 0.98,
            "validate_every": max(form.prior_steps // 8, 1),
            "sample_every": form.prior_steps,
            "checkpoint_every": max(form.prior_steps // 4, 1),
            "seed": seed,
            **changes,
        }
        kinds = settings["prior"]["kind"], settings.get("order", "row"), settings["condition"]["kind"]
        return self._trained(
            "-".join(("prior", *kinds)), "demo_prior", data or self.tokens(tokenizer), settings
        )

    @property
    def transformer(self) -> dict[str, Any]:
        """What stands under `prior` in the recipe of a transformer of this form."""
        return {"kind": "gpt", "layers": self.form.layers, "heads": 4, "width": self.form.width}

    @cached_property
    def space(self) -> Any:
        """The better yardstick of those at hand."""
        return SPACES[self.space_name].read()

    @cached_property
    def space_name(self) -> str:
        return next(name for name in ("mobilenet_v2", "lite0") if WEIGHTS[name].at_hand)

    @cached_property
    def distance_name(self) -> str:
        return next(name for name in ("lpips_alex", "hed") if WEIGHTS[name].at_hand)

    @cached_property
    def distance(self) -> Any:
        """LPIPS over AlexNet, from which no tokenizer here learns."""
        return DISTANCES[self.distance_name].read()

    @cached_property
    def held_out(self) -> Tensor:
        """Features of the held-out images."""
        return self.space.features(self.real("val"))

    def frechet(self, images: Tensor, real: Tensor | None = None) -> float:
        """Of images to as many held-out ones, evenly chosen. real: features of others."""
        reference = self.held_out if real is None else real
        return frechet(self.space.features(images.clamp(-1, 1)), evenly(reference, len(images)))

    def _trained(self, name: str, recipe: str, data: Path, settings: Mapping[str, Any]) -> Path:
        said = json.dumps([recipe, data.name, settings], sort_keys=True, default=str)
        digest = hashlib.blake2b(said.encode(), digest_size=4).hexdigest()
        out = self.cache / "models" / f"{name}-{digest}"
        with _alone(out):
            if RunFolder(out).model_step() != settings["steps"]:
                if RunFolder(out).settings.exists():
                    train(out=out, resume=True)
                else:
                    train(recipe, data=data, out=out, **settings)
        return out


def evenly(some: Tensor, count: int) -> Tensor:
    """So many rows, from the first to the last: images lie by their groups."""
    return some[[index * len(some) // count for index in range(count)]]


def load(run: Path) -> Any:
    """The model of a run."""
    return library.load(run)


def drawn(run: Path, num: int, batch: int = 32, **how: Any) -> Tensor:
    """Images by a prior's run, in [-1, 1]."""
    model = load(run)
    assert isinstance(model, Pipeline), "a prior's run"
    with torch.no_grad():
        return model.sample(num=num, micro_batch=min(batch, num), **how).tensors.clamp(-1, 1)


def nats(run: Path) -> dict[int, float]:
    """Nats a token of held-out codes, by step."""
    lines = map(json.loads, RunFolder(run).log.read_text().splitlines())
    return {line["step"]: line["nats_per_token"] for line in lines if line["kind"] == "validation"}


def parameters(run: Path, part: str = "") -> int:
    """Weights of a run's model, or of a part of it."""
    model = load(run)
    return sum(one.numel() for one in (getattr(model, part) if part else model).parameters())


@torch.no_grad()
def rebuilt(lab: "Lab", run: Path, real: Tensor) -> dict[str, Any]:
    """How far a tokenizer's reconstructions lie from images, and what of its codebook they use."""
    found = load(run)
    codes = found.encode(real)
    images = found.decode(codes).clamp(-1, 1)
    return {
        "psnr": psnr(real, images).mean().item(),
        "ssim": ssim(real, images).mean().item(),
        "distance": lab.distance(real, images).mean().item(),
        "used": usage(codes, found.codebook_size),
        "perplexity": perplexity(codes, found.codebook_size),
    }


def seconds(work: Callable[[], object]) -> float:
    """Of the processor, all threads."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def _listed(data: Path) -> Iterator[tuple[Path, str, str]]:
    """Images with their split and group; without a captions.csv a share is held out by a hash of the name."""
    table = data / "captions.csv"
    if table.exists():
        with table.open(encoding="utf-8", newline="") as file:
            for line in csv.DictReader(file):
                yield data / line["file"], line["split"], line["group"]
        return
    for path in imaging.find_images(data):
        hashed = int.from_bytes(hashlib.blake2b(path.name.encode(), digest_size=4).digest()) / 2**32
        yield path, "val" if hashed < HELD_OUT else "train", ""


def _square(path: Path, side: int) -> Image.Image:
    """The middle square of an image at so many pixels."""
    pixels = imaging.open_rgb(path)
    edge = min(pixels.shape[1:])
    top, left = ((length - edge) // 2 for length in pixels.shape[1:])
    found = imaging.resize(pixels[:, top : top + edge, left : left + edge], (side, side))
    return Image.fromarray(found.permute(1, 2, 0).contiguous().numpy())


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time makes what lies here; others wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
