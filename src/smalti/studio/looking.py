"""Looking inside: codes of images, images of codes, how likely each cell is, what single codes decode to."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from smalti import imaging
from smalti.errors import UserError
from smalti.orders import inverse
from smalti.pipeline import Pipeline, tokenizer_of
from smalti.priors.protocol import Forced
from smalti.studio import asked, prepared
from smalti.studio.asked import Decoding, Looking
from smalti.studio.pictures import picture
from smalti.studio.prepared import Reader
from smalti.tokenizer import Tokenizer

MOST = 4096  # pieces of a request


def encoded(model: Tokenizer | Pipeline, wish: Looking, read: Reader) -> dict[str, Any]:
    """Return the codes of an image; of a model that draws, given conditions, how likely they are."""
    tokenizer = tokenizer_of(model)
    given = prepared.looking(tokenizer, wish, read)
    codes = tokenizer.encode(given[None])[0] if given.is_floating_point() else given
    found = None
    if isinstance(model, Pipeline) and (wish.condition is not None or not model.condition.named):
        size = (codes.shape[0] * tokenizer.factor, codes.shape[1] * tokenizer.factor)
        found = nats(model, codes, prepared.conditions(model, wish.condition or {}, size, read))
    return {"codes": codes.tolist(), "nats": found}


def decoded(model: Tokenizer | Pipeline, wish: Decoding, read: Reader) -> dict[str, Any]:
    """Return the image of codes."""
    tokenizer = tokenizer_of(model)
    rows, columns = len(wish.codes), max(map(len, wish.codes), default=0)
    asked.check_size((rows * tokenizer.factor, columns * tokenizer.factor), 1, 1, read.limits)
    return {"image": shown(tokenizer.decode(wish.codes))}


def reconstructed(model: Tokenizer | Pipeline, wish: Looking, read: Reader) -> dict[str, Any]:
    """Return an image as its codes tell it."""
    tokenizer = tokenizer_of(model)
    given = prepared.looking(tokenizer, wish, read)[None]
    rebuilt = tokenizer.reconstruct(given) if given.is_floating_point() else tokenizer.decode(given)
    return {"image": shown(rebuilt)}


def shown(images: Tensor) -> str:
    """Return the first image of some (b c H W), in [-1, 1] or logits of classes, as a data URL."""
    if images.shape[1] > 3:
        return picture(imaging.to_pil(imaging.colour_labels(images.argmax(1)))[0])
    return picture(imaging.to_pil(imaging.visible(images))[0])


def nats(model: Pipeline, codes: Tensor, condition: dict[str, Any]) -> list[list[float]] | None:
    """Return -ln p of each cell given the condition and the cells before it; None: the prior has none.

    So it is of a prior that scores no cell by those before it, and of images of another size than training
    crops, each cell of which is drawn through a window of its own.
    """
    grid = (codes.shape[0], codes.shape[1])
    if not isinstance(model.prior, Forced) or grid not in model.settings.grids:
        return None
    logits = model.logits(codes[None], **condition)[0]
    order = model.order_of(grid)
    of_each = F.cross_entropy(logits.float(), codes.to(logits.device).flatten()[order], reduction="none")
    cells: list[list[float]] = of_each[inverse(order)].view(grid).tolist()
    return [[round(cell, 4) for cell in row] for row in cells]


def pieces(model: Tokenizer | Pipeline, wanted: Sequence[int], columns: int | None = None) -> bytes:
    """Return what single codes, or where none are named all, decode to, side by side in rows, as a PNG.

    Each fills an image of 3 x 3 cells, of which the middle one is shown: so the decoder sees itself around
    it. columns: of the mosaic; None: all in a row.
    """
    tokenizer = tokenizer_of(model)
    wanted = wanted or range(tokenizer.codebook_size)
    if not 1 <= len(wanted) <= MOST:
        raise UserError(f"1 to {MOST} codes", str(len(wanted)), "ask for some of them")
    factor, parts = tokenizer.factor, []
    given = torch.tensor(wanted)
    for some in torch.split(given, 64):
        filled = tokenizer.decode(some[:, None, None].expand(-1, 3, 3).contiguous())
        middle = filled[:, :, factor : 2 * factor, factor : 2 * factor]
        if middle.shape[1] > 3:
            parts.append(imaging.colour_labels(middle.argmax(1)))
        else:
            parts.append(imaging.to_uint8(imaging.visible(middle)))
    return imaging.png(imaging.grid(torch.cat(parts), columns or len(wanted)))
