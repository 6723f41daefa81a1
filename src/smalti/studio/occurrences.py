"""Where a code occurs in a data set, of which there are token shards."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from smalti.data.shards import TokenShards
from smalti.errors import UserError
from smalti.studio.looking import shown
from smalti.tokenizer import Tokenizer

EXAMPLES = 12  # images that are shown, evenly over those that have the code
AROUND = 8  # cells a side of an image that are shown at most, around a place of the code


class _Part(NamedTuple):
    codes: NDArray[Any]  # n h w, mapped
    rows: NDArray[np.int64]  # of the images that have the code


def occurrences(tokenizer: Tokenizer, shards: Sequence[TokenShards], code: int) -> dict[str, Any]:
    """Return in how many images a code occurs and how often, and some of them as the tokenizer decodes them.

    UserError for a code that the codebook lacks. Larger images are shown in part, decoded by itself.
    """
    if not 0 <= code < tokenizer.codebook_size:
        raise UserError(f"a code from 0 to {tokenizer.codebook_size - 1}", str(code), "name another")
    count, of, parts = 0, 0, []
    for codes in (codes for one in shards for codes in one.codes()):
        there = codes == code
        count, of = count + int(there.sum()), of + len(codes)
        parts.append(_Part(codes, np.flatnonzero(there.any((1, 2)))))
    ends = np.cumsum([len(part.rows) for part in parts], dtype=np.int64)
    images = int(ends[-1]) if parts else 0
    some, examples = min(EXAMPLES, images), []
    for number in (index * images // some for index in range(some)):
        at = int(np.searchsorted(ends, number, side="right"))
        part = parts[at]
        row = part.rows[number - (ends[at] - len(part.rows))]
        examples.append(_example(tokenizer, part.codes[row], code))
    return {"count": count, "images": images, "of": of, "examples": examples}


def _example(tokenizer: Tokenizer, codes: NDArray[Any], code: int) -> dict[str, Any]:
    """Return an image's part around the first place of a code, and the cells (row, column) that have it."""
    place = np.argwhere(codes == code)[0]
    starts = [
        max(0, min(int(at) - AROUND // 2, side - AROUND)) for at, side in zip(place, codes.shape, strict=True)
    ]
    part = codes[starts[0] : starts[0] + AROUND, starts[1] : starts[1] + AROUND]
    image = tokenizer.decode(torch.from_numpy(part.astype(np.int64))[None])
    return {"image": shown(image), "size": list(part.shape), "cells": np.argwhere(part == code).tolist()}
