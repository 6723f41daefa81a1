"""From shipped photographs to new images and one page of evidence."""

import time
from pathlib import Path

from smalti import library
from smalti.data.transforms import CropSettings
from smalti.demo import photographs
from smalti.demo.evidence import Evidence
from smalti.demo.page import Page
from smalti.errors import UserError
from smalti.pipeline import Pipeline
from smalti.tokenizer import Tokenizer
from smalti.training.precompute import encode
from smalti.training.train import train

CROP = 32  # pixels a side of a training crop
CROPS = 4  # random crops of each training tile that the prior learns from


def run(out: Path) -> Path:
    """Train a tokenizer and a prior, draw, measure; gives the path of report.html.

    out: a new or empty folder; gets photos/, tokenizer/, tokens/, prior/, images/, numbers.json, the page.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError("a new or empty folder", f"{out}, which holds something", "choose another --out")
    began = time.monotonic()
    photographs.cut(out / "photos", CROP)
    train("demo_tokenizer", data=out / "photos" / "train", out=out / "tokenizer")
    tokenizer = library.load(out / "tokenizer")
    assert isinstance(tokenizer, Tokenizer), "a tokenizer's run folder holds a tokenizer"
    crop = CropSettings(resize="none")  # as the tokenizer saw the tiles, at their own scale
    encode(tokenizer, out / "photos" / "train", out / "tokens", size=CROP, crops=CROPS, crop=crop)
    train("demo_prior", data=out / "tokens", out=out / "prior", tokenizer=str(out / "tokenizer"))
    model = library.load(out / "prior")
    assert isinstance(model, Pipeline), "a prior's run folder holds a generator"
    return Page(Evidence(model, out / "photos"), out).write(time.monotonic() - began)
