"""Whether the graphs of a folder give what torch gives: what was compared, and how many came out equal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smalti.conditions.context import SameContext
from smalti.drawing.canvas import Canvas
from smalti.drawing.guidance import Guided, Weighted
from smalti.drawing.loop import draw as generate
from smalti.errors import UserError, optional
from smalti.formats.onnx import graphs
from smalti.formats.onnx.draw import Model, gumbel, keys, opened
from smalti.pipeline import Pipeline
from smalti.priors.layers import pack
from smalti.tokenizer import Tokenizer
from smalti.tokenizer.use import in_use
from smalti.tokens.choice import Choice

IMAGES, BATCH, DRAWN = 64, 8, 4
CELLS = 16  # a side, of images for a tokenizer alone
ODD = ((3, (5, 3)), (1, (9, 14)))  # more batches: how many images, of how many cells
MOVED, TRIALS = 1e-4, 32  # a code ties if torch gives it too with latents moved by so much of their spread
CLOSE = 1e-3  # logits: of their spread, how far they may be apart
SHADE = 1 / 255  # images in [-1, 1]: half a step of 8 bits
_WAYS = {"greedy": Choice(top_k=1), "drawn": Choice()}


def check(model: Tokenizer | Pipeline, out: Path) -> dict[str, Any]:
    """Return the record of the check, and leave check.npz with which anyone can repeat it.

    UserError where something else than rounding must be the reason of a difference.
    """
    runtime = optional("onnxruntime", extra="onnx")
    ours = Model(out, ["CPUExecutionProvider"])
    tokenizer = model if isinstance(model, Tokenizer) else model.tokenizer
    grid = (CELLS, CELLS) if isinstance(model, Tokenizer) else model.prior.scope.grid
    kept, record = _tokenizer(tokenizer, ours, grid)
    if isinstance(model, Pipeline):
        more, of_prior = _prior(model, ours)
        kept, record = kept | more, record | of_prior
    np.savez_compressed(out / "check.npz", **kept)
    return {"runtime": f"onnxruntime {runtime.__version__}, CPU", "images": "generated", **record}


def told(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the record for people, a line each."""
    return ()


def _tokenizer(
    tokenizer: Tokenizer, ours: Model, grid: tuple[int, int]
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    rng, factor = np.random.default_rng(0), tokenizer.factor
    how = {"scale": np.float32(1 / 127.5), "shift": np.float32(-1)}
    if tokenizer.settings.content == "segmentation":
        how = {"scale": np.float32(1), "shift": np.float32(0)}
    main = _images(rng, IMAGES, tokenizer, (grid[0] * factor, grid[1] * factor))
    batches = [main[first : first + BATCH] for first in range(0, IMAGES, BATCH)]
    batches += [_images(rng, count, tokenizer, (h * factor, w * factor)) for count, (h, w) in ODD]
    compared, equal, ties, farthest, codes = 0, 0, 0, 0.0, []
    for batch in batches:
        images = opened(batch, **how)
        wanted = tokenizer.encode(torch.from_numpy(images), is_checked=True)
        found = torch.from_numpy(ours.encode(images))
        compared, equal = compared + wanted.numel(), equal + int((found == wanted).sum())
        if not found.equal(wanted):
            ties += _ties(tokenizer, torch.from_numpy(images), wanted, found)
        decoded = tokenizer.decode(wanted).numpy() - ours.decode(wanted.numpy())
        farthest = max(farthest, float(np.abs(decoded).max()))
        codes.append(wanted.numpy())
    if equal + ties < compared:
        raise _other("codes", f"{compared - equal - ties} of {compared} others, though nothing ties")
    if farthest > SHADE and tokenizer.settings.content == "image":
        raise _other("images", f"some that differ by {farthest:.2g}")
    kept = {"images": main, "codes": np.concatenate(codes[: IMAGES // BATCH]), **how}
    record = {
        "codes": {"compared": compared, "equal": equal, "ties": ties, "ties_within": MOVED},
        "decoded": {"images": sum(map(len, batches)), "largest_difference": farthest},
    }
    return kept, record


def _ties(tokenizer: Tokenizer, images: Tensor, wanted: Tensor, found: Tensor) -> int:
    """Return how many codes differ, and torch gives them too when latents move by as much as rounding may."""
    rng = torch.Generator().manual_seed(0)
    with in_use(tokenizer):
        latents = tokenizer.latents(images)
        spread, given = MOVED * latents.std(), wanted.new_zeros(wanted.shape, dtype=torch.bool)
        for _ in range(TRIALS):
            moved = latents + spread * torch.randn(latents.shape, generator=rng)
            given |= tokenizer.quantize(moved).codes == found
    return int((given & (found != wanted)).sum())


def _prior(model: Pipeline, ours: Model) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    prior, limit = model.prior, model.tokenizer.codebook_size
    prefix = graphs.prefix_example(prior.scope, DRAWN, torch.Generator().manual_seed(0))
    given = {name: tensor.numpy() for name, tensor in prefix.items()}
    seeds = list(range(DRAWN))
    kept, record = {**given, "seeds": np.array(seeds)}, {}
    for name, choice in _WAYS.items():
        wanted = _generated(model, prefix, choice)
        kept[name] = wanted.numpy()
        with in_use(model):
            logits = prior(model.sequence(wanted), graphs.as_prefix(prefix))[..., :limit].numpy()
        apart = np.abs(ours.logits(wanted.numpy(), **given) - logits).max()
        if apart > CLOSE * logits.std():
            raise _other("logits", f"some that differ by {apart:.2g}, where they spread by {logits.std():.2g}")
        found = ours.draw(seeds=seeds, **given, top_k=choice.top_k)
        equal = (found == kept[name]).all((1, 2))
        record[name] = {"images": DRAWN, "equal": int(equal.sum()), "logits_differ_by": float(apart)}
        if not equal.all():
            gaps = [_gap(model, logits[i], wanted[i], found[i], name == "drawn", i) for i in np.flatnonzero(~equal)]
            record[name]["gaps"] = gaps
    return kept, record


def _generated(model: Pipeline, prefix: Mapping[str, Tensor], choice: Choice) -> Tensor:
    raise NotImplementedError


def _images(rng: np.random.Generator, count: int, tokenizer: Tokenizer, size: tuple[int, int]) -> NDArray[Any]:
    raise NotImplementedError


def _other(what: str, got: str) -> UserError:
    return UserError(f"{what} as torch gives them", got, "install the versions of constraints.txt")
