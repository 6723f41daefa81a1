"""The share of the machine's limit that decoding and the tokenizer reach.

Decoding at batch 1 must read the weights and the cache for every token: these bytes over the measured memory
bandwidth are the time it cannot do without, and that over its own time is the share. The bandwidth is that of
a copy (bytes read and written) and of a matrix-vector product (bytes read), which not every processor shares
between cores; both over arrays of the model's own size, which may stay in the processor's last cache, and of
twice that cache. The tokenizer is held against the throughput of a large square matrix product in its own
precision, by counted FLOPs.

    python benchmarks/limit.py --short --out runs/benchmarks
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import common
import models
import torch
from common import Options
from memory import megabytes
from tokenizer import build, images
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from smalti.pipeline import Pipeline
from smalti.tokenizer import Tokenizer

TOKENS = models.SIDE**2
LEAST = 2**29  # bytes of an array that is said to lie in memory
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}
COLUMNS = 4096  # of the matrix whose product with a vector is timed
SIZES = ((12, 512), (12, 768), (24, 1024))  # layers, width; heads of 64


def main() -> None:
    """Two tables."""
    given = common.options(__doc__)
    cache = last_cache(given.device)
    rows = decoding(given, max(LEAST, 2 * cache))
    common.report("limit_decoding", rows, given.out, device=given.device, last_cache_mb=megabytes(cache))
    common.report("limit_tokenizer", tokenizers(given), given.out, device=given.device)


def decoding(given: Options, far: int) -> Iterator[dict[str, Any]]:
    """Rows of all sizes and precisions; far: bytes of arrays that no cache holds."""
    for layers, width in ((4, 512),) if given.short else SIZES[:1] if given.figures else SIZES:
        model = models.generator(layers=layers, width=width, heads=width // 64).to(given.device)
        for dtype in (torch.float32, torch.bfloat16):
            found = shares(model.to(dtype), far, turns=3 if given.short else 7)
            size = {"layers x width": f"{layers} x {width}", "dtype": common.word(dtype)}
            yield from ({**size, **row} for row in found)


def shares(model: Pipeline, far: int, turns: int) -> list[dict[str, Any]]:
    """A row for each way of measuring the bandwidth, all in turns with one sample."""
    weights, like = weights_of(model), model.prior.head.weight.detach()
    ways = {"ours": partial(model.sample, label=3, top_k=100)}
    moved: dict[str, int] = {}  # bytes of a call
    for where, size in {"beyond the cache": far, "of the model's size": weights}.items():
        matrix = like.new_ones(size // (COLUMNS * like.element_size()), COLUMNS)
        ways[f"copy {where}"], moved[f"copy {where}"] = (
            partial(torch.empty_like(matrix).copy_, matrix),
            2 * size,
        )
        ways[f"product {where}"], moved[f"product {where}"] = partial(torch.mv, matrix, matrix[0]), size
    memory: dict[str, int | None] = {}
    found = common.race(ways, turns, memory=memory)
    needed = TOKENS * weights + cache_of(model)
    rows = []
    for name, size in moved.items():
        ideal = [needed / size * seconds for seconds in found[name]]
        share = common.ratio(found["ours"], ideal)
        rows.append({
            "MB a token": needed / TOKENS / 1e6, "ms a token": share.ours / TOKENS * 1e3, "against": name,
            "GB/s": needed / share.theirs / 1e9, "share": share, "peak MB": megabytes(memory["ours"]),
        })  # fmt: skip
    return rows


def weights_of(model: Pipeline) -> int:
    """Bytes of weights that a token needs: all but the tables, of which it needs a row."""
    inside = [
        *model.prior.blocks.parameters(),
        *model.prior.norm.parameters(),
        *model.prior.head.parameters(),
    ]
    return sum(one.numel() * one.element_size() for one in inside)


def cache_of(model: Pipeline) -> int:
    """Bytes of keys and values read for all tokens of a sample: token t reads t of both, in every layer."""
    a_token = model.prior.new_cache(1).nbytes // TOKENS  # the last code is never fed, a class is
    return a_token * TOKENS * (TOKENS + 1) // 2


def last_cache(device: torch.device) -> int:
    """Bytes of the cache before memory; 0 where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).L2_cache_size
    found = [0]
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text().strip()
        found.append(int(text[:-1]) * UNITS[text[-1]])
    return max(found)


def tokenizers(given: Options) -> Iterator[dict[str, Any]]:
    """A row for each precision, of encode and decode at 256 pixels."""
    model, turns = build().to(given.device), 3 if given.short else 7
    x = images(1, 256, given.device)
    count = flops(model, x)
    for dtype in (torch.float32, torch.bfloat16):
        model.to(dtype)
        side = 1024 if given.short else 4096
        square = torch.ones(side, side, dtype=dtype, device=given.device)
        memory: dict[str, int | None] = {}
        ways = {"ours": partial(model.reconstruct, x), "product": partial(torch.mm, square, square)}
        found = common.race(ways, turns, memory=memory)
        ideal = [count / (2 * side**3) * seconds for seconds in found["product"]]
        share = common.ratio(found["ours"], ideal)
        yield {
            "pixels": 256, "dtype": common.word(dtype), "GFLOP": count / 1e9, "seconds": share.ours,
            "against": f"product of {side} x {side}", "GFLOP/s": count / share.theirs / 1e9, "share": share,
            "peak MB": megabytes(memory["ours"]),
        }  # fmt: skip


def flops(model: Tokenizer, x: Tensor) -> int:
    """Of products and convolutions; attention spelled out, so that it is counted too."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model.reconstruct(x)
    return counter.get_total_flops()


if __name__ == "__main__":
    main()
