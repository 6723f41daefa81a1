"""Pictures to codes and back: images a second against diffusers' VQModel and the 2021 network, same weights.

Then the search for the nearest entry against torch.cdist and vector-quantize-pytorch, time and peak memory.
Codes are held against each other first; in fp32 they must be equal, but for one in a thousand of a search
among many entries (two may be equally near but for rounding). In bf16 the share of equal codes is told.
"""

import copy
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from baselines.network_2021 import VQModel2021
from common import Options, compare, options, peak_memory, report
from torch import Tensor

from smalti.formats import diffusers
from smalti.quantizers.clusters import nearest
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings

Network = Callable[[Tensor], Tensor]


def build(codes: int = 1024) -> Tokenizer:
    """The published f16 network, with entries as far apart as its latents are, so that codes are many."""
    torch.manual_seed(0)
    quantizer = VectorQuantizerSettings.legacy(codebook_size=codes)
    tokenizer = Tokenizer(TokenizerSettings(network=NetworkSettings(), quantizer=quantizer)).eval()
    with torch.no_grad():
        latents = tokenizer.latents(pictures(1, 256, torch.device("cpu")))
        spread = latents.std((0, 2, 3)) * torch.randn(codes, latents.shape[1])
        tokenizer.quantizer.codebook.weight.copy_(latents.mean((0, 2, 3)) + spread)
    return tokenizer


def pictures(batch: int, size: int, device: torch.device) -> Tensor:
    noise = torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(1))
    return (noise * 2 - 1).to(device)


def of_diffusers(tokenizer: Tokenizer) -> Any:
    """Diffusers' model with the same weights, through the files it reads."""
    from diffusers import VQModel

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "model").mkdir()
        diffusers.write(tokenizer, Path(folder) / "model", {})
        return VQModel.from_pretrained(Path(folder) / "model").eval()


@torch.no_grad()
def whole(model: Any, x: Tensor) -> Tensor:
    """Both ways through ours."""
    return model.decode(model.encode(x))


@torch.no_grad()
def whole_2021(model: VQModel2021, x: Tensor) -> Tensor:
    return model(x.to(model.decoder.conv_out.weight.dtype))[0]


@torch.no_grad()
def whole_diffusers(model: Any, x: Tensor) -> Tensor:
    return model(x.to(model.dtype)).sample


def networks(given: Options) -> list[dict[str, Any]]:
    """Encode and decode, both precisions, each against both others in fp32 and in its own precision."""
    ours = build().to(given.device)
    old = VQModel2021(ours.settings.network, ours.codebook_size).to(given.device).eval()
    old.load_state_dict(ours.state_dict())
    peers: dict[str, tuple[Any, Any]] = {"2021": (whole_2021, old)}
    peers["diffusers"] = (whole_diffusers, of_diffusers(ours.cpu()).to(given.device))
    ours.to(given.device)
    rows = []
    for size in [128] if given.short else [256, 512]:
        x = pictures(1, size, given.device)
        for dtype in (torch.float32, torch.bfloat16):
            mine = copy.deepcopy(ours).keep_in(dtype)
            codes = ours.encode(x)
            share = (mine.encode(x) == codes).float().mean().item()
            assert dtype != torch.float32 or torch.equal(old.encode(x)[2], codes), "other codes than in 2021"
            for name, (run, model) in peers.items():
                row = {"pixels": size, "ours": str(dtype).removeprefix("torch."), "same codes": share}
                for theirs in dict.fromkeys((torch.float32, dtype)):
                    their = copy.deepcopy(model).to(theirs)
                    found = compare(partial(whole, mine, x), partial(run, their, x), 3 if given.short else 7)
                    what = {"theirs": f"{name}, {str(theirs).removeprefix('torch.')}"}
                    rows.append({**row, **what, "times faster": found, "images a second": 1 / found.ours})
    return rows


def search(given: Options) -> list[dict[str, Any]]:
    """The nearest of v entries for the rows of one picture of 1024 pixels."""
    rows, count = [], 1024 if given.short else 4096
    for codes in (1024, 16384) if given.short else (1024, 16384, 262144):
        chance = torch.Generator().manual_seed(codes)
        entries = torch.randn(codes, 256, generator=chance).to(given.device)
        z = torch.randn(count, 256, generator=chance).to(given.device)
        ours = partial(nearest, z, entries)
        own = peak_memory(ours)
        for name, theirs in {"torch.cdist": _cdist, "vector-quantize-pytorch": _library(entries)}.items():
            work = partial(theirs, z, entries)
            memory = peak_memory(work)
            equal = (work() == ours()).float().mean().item()
            assert equal > 0.999, f"{name} finds other entries: {equal}"
            found = compare(ours, work, 3 if given.short else 7)
            row = {"codes": codes, "rows": count, "theirs": name, "times faster": found, "same": equal}
            rows.append({**row, "peak bytes": own, "their peak bytes": memory})
    return rows


def _cdist(z: Tensor, entries: Tensor) -> Tensor:
    return torch.cdist(z, entries).argmin(-1)


def _library(entries: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    from vector_quantize_pytorch import VectorQuantize

    layer = VectorQuantize(dim=entries.shape[1], codebook_size=len(entries)).to(entries.device).eval()
    layer.codebook = entries

    @torch.no_grad()
    def codes(z: Tensor, _: Tensor) -> Tensor:
        return layer(z[None])[1][0]

    return codes


def main() -> None:
    """Command line."""
    given = options(__doc__)
    found = search(given)  # first: it tells peak memory
    report("codebook_search", found, given.out, device=given.device)
    report("tokenizer", networks(given), given.out, device=given.device)


if __name__ == "__main__":
    main()
