"""Images to codes and back: images a second against diffusers' VQModel and the 2021 network, same weights.

Then the search for the nearest entry against torch.cdist and vector-quantize-pytorch, time and peak memory.
Codes and images are held against each other first; in fp32 codes must be equal, but for one in a thousand
of a search among many entries (two may be equally near but for rounding). In bf16 the share of equal codes is
told.
"""

import copy
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from baselines.network_2021 import VQModel2021
from common import Options, options, race, ratio, report, word
from memory import megabytes
from torch import Tensor

from smalti.formats import diffusers
from smalti.quantizers.clusters import nearest
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings

CLOSE = 1e-3  # of images in [-1, 1], in fp32
SIDES = {"our": "ours", "their": "theirs"}


def build(codes: int = 1024) -> Tokenizer:
    """The published f16 network, with entries as far apart as its latents are, so that codes are many."""
    torch.manual_seed(0)
    quantizer = VectorQuantizerSettings.legacy(codebook_size=codes)
    tokenizer = Tokenizer(TokenizerSettings(network=NetworkSettings(), quantizer=quantizer)).eval()
    with torch.no_grad():
        latents = tokenizer.latents(images(1, 256, torch.device("cpu")))
        spread = latents.std((0, 2, 3)) * torch.randn(codes, latents.shape[1])
        tokenizer.quantizer.codebook.weight.copy_(latents.mean((0, 2, 3)) + spread)
    return tokenizer


def images(batch: int, size: int, device: torch.device) -> Tensor:
    noise = torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(1))
    return (noise * 2 - 1).to(device)


def of_diffusers(tokenizer: Tokenizer) -> Any:
    """Diffusers' model with the same weights, through the files it reads."""
    from diffusers import VQModel

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "model").mkdir()
        diffusers.write(tokenizer, Path(folder) / "model", {})
        return VQModel.from_pretrained(Path(folder) / "model", low_cpu_mem_usage=False).eval()


class Diffusers:
    """Diffusers' model, called as ours is."""

    def __init__(self, model: Any) -> None:
        self.model = model

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        latents = self.model.encode(x.to(self.model.dtype)).latents
        codes = self.model.quantize(latents)[2][2]
        return codes.view(len(x), *latents.shape[2:])

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        shape = (*codes.shape, self.model.config.vq_embed_dim)
        q = self.model.quantize.get_codebook_entry(codes.flatten(), shape)
        return self.model.decode(q.to(self.model.dtype), force_not_quantize=True).sample


class Of2021:
    """The 2021 network, called as ours is."""

    def __init__(self, model: VQModel2021) -> None:
        self.model = model

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        return self.model.encode(x.to(self.model.decoder.conv_out.weight.dtype))[2]

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        return self.model.decode(self.model.quantizer.codebook(codes).permute(0, 3, 1, 2).contiguous())


def networks(given: Options) -> Iterator[dict[str, Any]]:
    """Encode and decode, both precisions, each against both others in fp32 and in its own precision."""
    ours = build()
    old = VQModel2021(ours.settings.network, ours.codebook_size)
    old.load_state_dict(ours.state_dict())
    others = {"2021": Of2021(old.eval()), "diffusers": Diffusers(of_diffusers(ours))}
    ours.to(given.device)
    for other in others.values():
        other.model.to(given.device)
    for size in [128] if given.short else [256] if given.figures else [256, 512]:
        x = images(1, size, given.device)
        check(ours, others, x)
        for dtype in (torch.float32, torch.bfloat16):
            mine = copy.deepcopy(ours).to(dtype)
            share = (mine.encode(x) == ours.encode(x)).float().mean().item()
            row = {"pixels": size, "ours": word(dtype), "same codes": share}
            for name, other in others.items():
                for theirs in dict.fromkeys((torch.float32, dtype)):
                    their = copy.deepcopy(other)
                    their.model.to(theirs)
                    what = {**row, "theirs": f"{name}, {word(theirs)}"}
                    yield from ({**what, **found} for found in both_ways(mine, their, x, given))


def check(ours: Tokenizer, others: dict[str, Any], x: Tensor) -> None:
    """Equal codes, and images that differ by rounding; AssertionError else."""
    codes = ours.encode(x)
    rebuilt = ours.decode(codes)
    for name, other in others.items():
        assert torch.equal(other.encode(x), codes), f"{name} has other codes"
        difference = (other.decode(codes) - rebuilt).abs().max().item()
        assert difference < CLOSE, f"images of {name} differ by {difference}"


def both_ways(ours: Tokenizer, theirs: Any, x: Tensor, given: Options) -> list[dict[str, Any]]:
    """A row for encode and decode together, and in the long form for encode and for decode."""
    codes, rows, turns = ours.encode(x), [], 3 if given.short else 7
    works = {
        "encode + decode": lambda model: model.decode(model.encode(x)),
        "encode": lambda model: model.encode(x),
        "decode": lambda model: model.decode(codes),
    }
    for name, work in list(works.items())[: 1 if given.short else None]:
        memory: dict[str, int | None] = {}
        found = race({"ours": partial(work, ours), "theirs": partial(work, theirs)}, turns, memory=memory)
        times = ratio(found["ours"], found["theirs"])
        rate = {"our images/s": 1 / times.ours, "their images/s": 1 / times.theirs}
        peaks = {f"{side} peak MB": megabytes(memory[key]) for side, key in SIDES.items()}
        rows.append({"work": name, "times faster": times, **rate, **peaks})
    return rows


def search(given: Options) -> Iterator[dict[str, Any]]:
    """The nearest of v entries for the rows of one image of 1024 pixels."""
    count = 1024 if given.short else 4096
    for codes in (1024, 16384) if given.short or given.figures else (1024, 16384, 262144):
        chance = torch.Generator().manual_seed(codes)
        entries = torch.randn(codes, 256, generator=chance).to(given.device)
        z = torch.randn(count, 256, generator=chance).to(given.device)
        ours = partial(nearest, z, entries)
        for name, theirs in {"torch.cdist": _cdist, "vector-quantize-pytorch": _library(entries)}.items():
            work, memory = partial(theirs, z, entries), {}
            equal = (work() == ours()).float().mean().item()
            assert equal > 0.999, f"{name} finds other entries: {equal}"
            found = race({"ours": ours, "theirs": work}, 3 if given.short else 7, memory=memory)
            times = ratio(found["ours"], found["theirs"])
            row = {"codes": codes, "rows": count, "theirs": name, "times faster": times, "same": equal}
            row |= {f"{side} peak MB": megabytes(memory[key]) for side, key in SIDES.items()}
            own, their = memory["ours"], memory["theirs"]
            yield {**row, "times less memory": their / own if own and their is not None else None}


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
    report("codebook_search", search(given), given.out, device=given.device)
    report("tokenizer", networks(given), given.out, device=given.device)


if __name__ == "__main__":
    main()
