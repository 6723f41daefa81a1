"""From shipped photographs to new images and one page of evidence."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from smalti import library
from smalti.data.transforms import CropSettings
from smalti.demo import photographs
from smalti.demo.first import First
from smalti.demo.page import DRAW, Page
from smalti.errors import UserError
from smalti.evaluation.run import Evaluation, evaluate
from smalti.pipeline import Pipeline
from smalti.tokenizer import Tokenizer
from smalti.training.precompute import encode
from smalti.training.train import train

CROP = 32  # pixels a side of a training crop
MEASURED = 240  # images of each kind, 30 a photograph
SEED = 1000  # of the first image that is drawn to be measured
CROPS = 4  # random crops of each training tile that the prior learns from


def run(out: Path, say: Callable[[str], object]) -> Path:
    """Draw with the model that ships; train a tokenizer and a prior, draw, measure; gives report.html's path.

    say: is told where the first page is, which the last one replaces.

    out: a new or empty folder; gets photos/, tokenizer/, tokens/, prior/, evaluation/, images/,
    numbers.json, the page.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError("a new or empty folder", f"{out}, which holds something", "choose another --out")
    first = First()
    say(f"{first.write(out)}: drawn by the model that ships. Now one is trained, which takes minutes.")
    began = time.monotonic()
    photographs.cut(out / "photos", CROP)
    train("demo_tokenizer", data=out / "photos" / "train", out=out / "tokenizer")
    tokenizer = library.load(out / "tokenizer")
    assert isinstance(tokenizer, Tokenizer), "a tokenizer's run folder holds a tokenizer"
    crop = CropSettings(resize="none")  # as the tokenizer saw the tiles, at their own scale
    encode(tokenizer, out / "photos" / "train", out / "tokens", size=CROP, crops=CROPS, crop=crop)
    train("demo_prior", data=out / "tokens", out=out / "prior", tokenizer=str(out / "tokenizer"))
    seconds = time.monotonic() - began
    model = library.load(out / "prior")
    assert isinstance(model, Pipeline), "a prior's run folder holds a generator"
    rebuilt, drawn = (measured(out, name) for name in ("tokenizer", "prior"))
    return Page(model, rebuilt, drawn, out).write(seconds, first)


def measured(out: Path, name: str) -> Evaluation:
    """Measure the tokenizer or the prior on held-out tiles, at their own scale; writes evaluation/NAME."""
    photos = out / "photos"
    how: dict[str, Any] = {"train": photos / "train", "resize": "none", "seed": SEED}
    how |= {"num": MEASURED, "train_num": MEASURED}
    found = evaluate(out / name, photos / "val", drawing=DRAW if name == "prior" else {}, **how)
    assert found is not None, "the demo is one process"
    found.save(out / "evaluation" / name)
    return found
