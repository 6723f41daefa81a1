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
    codes, decoded = record["codes"], record["decoded"]
    ties = f", {codes['ties']} others tie within rounding" if codes["ties"] else ""
    lines = [
        f"codes: {codes['equal']} of {codes['compared']} equal to torch's{ties}; images: {record['images']}",
        f"decoded images: within {decoded['largest_difference']:.1e} of torch's",
    ]
    for name, one in ((name, record[name]) for name in _WAYS if name in record):
        ties = f", {one['ties']} others part where codes tie within rounding" if one["ties"] else ""
        near = f"logits within {one['logits_differ_by']:.1e}"
        lines.append(f"images, {name}: {one['equal']} of {one['images']} equal in every code{ties}; {near}")
    return tuple(lines)


def _tokenizer(
    tokenizer: Tokenizer, ours: Model, grid: tuple[int, int]
) -> tuple[dict[str, Any], dict[str, Any]]:
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


def _prior(model: Pipeline, ours: Model) -> tuple[dict[str, Any], dict[str, Any]]:
    prior, limit, seeds = model.prior, model.tokenizer.codebook_size, list(range(DRAWN))
    prefix = graphs.prefix_example(prior.scope, DRAWN, torch.Generator().manual_seed(0))
    given = {name: tensor.numpy() for name, tensor in prefix.items()}
    kept: dict[str, Any] = {**given, "seeds": np.array(seeds)}
    record: dict[str, Any] = {}
    for name, choice in _WAYS.items():
        wanted = _generated(model, prefix, seeds, choice)
        with in_use(model):
            logits = prior(model.sequence(wanted), graphs.as_prefix(prefix))[..., :limit].numpy()
        apart = float(np.abs(ours.logits(wanted.numpy(), *given.values()) - logits).max())
        if apart > CLOSE * logits.std():
            got = f"some that differ by {apart:.2g}, where they spread by {logits.std():.2g}"
            raise _other("logits", got)
        found = ours.draw(given["prefix"], seeds, given.get("filled"), top_k=choice.top_k)
        kept[name] = wanted.numpy()
        unequal = np.flatnonzero((found != kept[name]).any((1, 2)))
        for row in unequal:
            pair = kept[name][row].ravel(), found[row].ravel()
            gap = _gap(model, logits[row], pair, None if name == "greedy" else seeds[row])
            if gap > 4 * apart:
                raise _other(f"images, {name},", f"another code, which torch scores {gap:.2g} lower")
        record[name] = {
            "images": DRAWN,
            "equal": DRAWN - len(unequal),
            "ties": len(unequal),
            "logits_differ_by": apart,
        }
    return kept, record


def _generated(model: Pipeline, prefix: Mapping[str, Tensor], seeds: list[int], choice: Choice) -> Tensor:
    """Return codes (b h w) of new images, a row for each prefix, as a Pipeline draws them."""
    grid, device = model.prior.scope.grid, model.order.device
    canvas = Canvas(
        codes=torch.zeros(len(seeds), *grid, dtype=torch.int64, device=device),
        known=torch.zeros(grid, dtype=torch.bool),
        seeds=torch.tensor(seeds, device=device),
        window=grid,
        order=model.order_of(grid),
        choice=choice,
    )
    told = Weighted(SameContext(prefix=graphs.as_prefix(prefix)))
    guided = Guided([told], limit=model.tokenizer.codebook_size)
    with in_use(model):
        decoder = pack(model.prior).decoder(guided, canvas)
        return generate(decoder, canvas, model.prior.distribution)


def _gap(
    model: Pipeline, logits: NDArray[Any], pair: tuple[NDArray[Any], NDArray[Any]], seed: int | None
) -> float:
    """Return how much lower torch scores the other code at the first place where two images differ.

    logits (n v): of the first image. seed: of the noise; None: none.
    """
    order = model.order_of(model.prior.scope.grid).numpy()
    place = int(np.flatnonzero(pair[0][order] != pair[1][order])[0])
    cell = int(order[place])
    codes = np.array([[one[cell] for one in pair]])
    scores = logits[place, codes] + (0 if seed is None else gumbel(keys([seed], cell), codes))
    return float(scores[0, 0] - scores[0, 1])


def _images(
    rng: np.random.Generator, count: int, tokenizer: Tokenizer, size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Return images (b c H W) of ellipses before a ramp, with a little noise; of segmentations classes."""
    channels, is_image = tokenizer.channels, tokenizer.settings.content == "image"
    down, across = np.mgrid[-1 : 1 : size[0] * 1j, -1 : 1 : size[1] * 1j]
    found = np.empty((count, channels, *size), np.uint8)
    for image in found:
        ramp = rng.uniform(-60, 60, (2, channels, 1, 1))
        values = rng.uniform(60, 200, (channels, 1, 1)) + ramp[0] * down + ramp[1] * across
        for _ in range(8):
            (top, left), (height, width) = rng.uniform(-1, 1, 2), rng.uniform(0.1, 0.8, 2)
            inside = ((down - top) / height) ** 2 + ((across - left) / width) ** 2 < 1
            values[:, inside] = rng.uniform(0, 255, (channels, 1))
        values += rng.normal(0, 4, values.shape)
        largest = values.argmax(0)  # of segmentations a colour is a class: its strongest channel
        image[:] = values.clip(0, 255) if is_image else largest == np.arange(channels)[:, None, None]
    return found


def _other(what: str, got: str) -> UserError:
    return UserError(f"{what} as torch gives them", got, "install the versions of constraints.txt")
