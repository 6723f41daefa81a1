"""Makes the small tensors beside it, which pin today's numbers: `python tests/golden/own/make.py NAME`.

NAME: tokenizer_tiny, quantizers_tiny, priors_tiny or imported_tiny. Run it only where numbers are meant to
change, with code that passes the other tests of tests/golden beside the tensors of the 2021 code, and say
so in the log.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from smalti import config
from smalti.conditions.label import LabelSettings
from smalti.formats.compvis import codebook
from smalti.pipeline import Pipeline, PipelineSettings
from smalti.priors.gpt import GPTSettings
from smalti.priors.modern import ModernSettings
from smalti.quantizers import QUANTIZERS as MEMBERS
from smalti.quantizers.ema import EmaSettings
from smalti.quantizers.gaussian import GaussianSettings
from smalti.quantizers.gumbel import GumbelSettings
from smalti.quantizers.remap import RemappedSettings
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings

HERE = Path(__file__).parent


def redraw(module: torch.nn.Module, generator: torch.Generator) -> None:
    """Weights so large that every part of a network shows in its output."""
    with torch.no_grad():
        for name, weight in module.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if weight.dim() == 1:
                is_scale = "norm" in name and name.endswith("weight")
                weight.copy_(1 + 0.3 * noise if is_scale else 0.15 * noise)
            else:
                weight.copy_(1.2 * noise / weight[0].numel() ** 0.5)


def tokenizer_tiny() -> None:
    """A tokenizer with every kind of block, square and wide images, both ranges of images."""
    network = NetworkSettings(
        width=4, multipliers=(1, 2), blocks=1, attention_levels=(1,), latent_channels=4, code_dim=4, groups=2
    )
    settings = TokenizerSettings(network=network, quantizer=VectorQuantizerSettings(codebook_size=16))
    tokenizer = Tokenizer(settings).eval()
    generator = torch.Generator().manual_seed(0)
    redraw(tokenizer, generator)
    images = torch.rand(2, 3, 8, 12, generator=generator) * 2 - 1
    tensors = {f"weights.{name}": weight for name, weight in tokenizer.state_dict().items()}
    entries = tokenizer.quantizer.codebook.weight
    with torch.no_grad():
        found = tokenizer.latents(images).movedim(1, -1).flatten(0, 2)
        entries.copy_(found[torch.randperm(len(found), generator=generator)[: len(entries)]])
        tensors["images"] = images
        for image_range in ("-1..1", "0..1"):
            tokenizer.settings = dataclasses.replace(settings, image_range=image_range)
            tensors[f"{image_range}/latents"] = latents = tokenizer.latents(images)
            tensors[f"{image_range}/codes"] = tokenizer.encode(images)
            tensors[f"{image_range}/reconstruction"] = tokenizer.reconstruct(images)
            two = torch.cdist(latents.movedim(1, -1).flatten(0, 2), entries).topk(2, largest=False).values
            assert (two[:, 1] - two[:, 0]).min() > 1e-3, "a code hangs by a thread: take another seed"
    save_file(
        {name: tensor.detach().contiguous() for name, tensor in tensors.items()},
        HERE / "tokenizer_tiny.safetensors",
        metadata={"settings": json.dumps(config.dump(settings))},
    )


QUANTIZERS = {
    "gumbel": GumbelSettings(codebook_size=12, kl=0.5),
    "ema": EmaSettings(codebook_size=12, decay=0.9, revive_below=0.5),
    "gaussian": GaussianSettings(kl=0.25),
    "remapped": RemappedSettings(inner=VectorQuantizerSettings(codebook_size=12), used=5),
    "remapped_gumbel": RemappedSettings(inner=GumbelSettings(codebook_size=12), used=5),
}


def results(kind: str, quantizer: Any, latents: torch.Tensor) -> dict[str, torch.Tensor]:
    """What is pinned of a quantizer: in use, drawn by given noise, and after a step."""
    found = {"in_use": quantizer.eval()(latents)}
    noise = torch.linspace(-2, 3, 2 * 12 * 5 * 3).view(12, 2, 5, 3).transpose(0, 1) % 1.7
    if kind == "gumbel":
        found["drawn"] = quantizer.draw(latents, noise)
    numbers = {
        f"{name}/{part}": getattr(result, part).detach()
        for name, result in found.items()
        for part in ("latents", "codes", "loss")
        if getattr(result, part) is not None
    }
    if kind == "gaussian":
        numbers["drawn/latents"] = quantizer.draw(latents, noise[:, :4])
    if kind == "ema":
        quantizer.after_step(latents, torch.Generator().manual_seed(0))
        numbers |= {f"after/{name}": tensor.clone() for name, tensor in quantizer.state_dict().items()}
    return numbers


def quantizers_tiny() -> None:
    """Every kind but vq, whose numbers are the tokenizer's."""
    generator, tensors = torch.Generator().manual_seed(2), {}
    for kind, chosen in QUANTIZERS.items():
        quantizer = MEMBERS[chosen.kind][1](chosen, dim=4)
        for name, tensor in quantizer.state_dict().items():
            if name == "used":
                tensor.copy_(torch.tensor([7, 2, 3, 11, 5]))
            elif name == "cluster_size":
                tensor.copy_(torch.rand(12, generator=generator) + 0.2)
            else:
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
            tensors[f"{kind}/weights.{name}"] = tensor.clone()
        tensors[f"{kind}/given"] = torch.randn(2, 4 * quantizer.moments, 5, 3, generator=generator)
        found = results(kind, quantizer, tensors[f"{kind}/given"])
        tensors |= {f"{kind}/{name}": tensor.contiguous() for name, tensor in found.items()}
    settings = {kind: config.dump(chosen) for kind, chosen in QUANTIZERS.items()}
    save_file(tensors, HERE / "quantizers_tiny.safetensors", metadata={"settings": json.dumps(settings)})


PRIORS = {  # prior, order, grid
    "gpt": (GPTSettings(layers=2, heads=2, width=12), "row", (3, 4)),
    "modern": (ModernSettings(layers=2, heads=2, width=16), "row", (3, 4)),
    "modern_shift": (
        ModernSettings(layers=1, heads=2, width=16, conditioning="shift"),
        "spiral_out",
        (4, 4),
    ),
}
DRAWS = {  # sizes are in cells: a pixel is a cell here
    "greedy": {"num": 2, "label": [1, 2], "top_k": 1},
    "sampled": {"num": 4, "label": [0, 1, 2, 0], "seed": 5, "temperature": 1.2},
    "filtered": {"num": 4, "label": 1, "seed": 2**40, "top_k": 7, "top_p": 0.9},
    "likely": {"num": 4, "label": 1, "seed": 2**40, "min_p": 0.3},
    "guided": {"num": 4, "label": 2, "seed": -3, "guidance": 1.7},
    "wide": {"num": 2, "label": 0, "seed": 9, "size": [5, 7]},
}


def untrained(settings: PipelineSettings, codebook_size: int) -> Pipeline:
    """A generator whose tokenizer gives and takes codes, one a pixel, that nobody looks at."""
    network = NetworkSettings(
        width=4, multipliers=(1,), blocks=1, attention_levels=(), latent_channels=4, code_dim=4, groups=2
    )
    quantizer = VectorQuantizerSettings(codebook_size=codebook_size)
    return Pipeline(settings, Tokenizer(TokenizerSettings(network=network, quantizer=quantizer)))


def numbers(model: Pipeline, codes: torch.Tensor) -> dict[str, torch.Tensor]:
    """What is pinned of a prior: scores of given codes, and what every way of drawing lays with a cache."""
    labels = [2, 0]
    found = {
        "logits": model.logits(codes, label=labels),
        "nats_per_token": torch.tensor(model.nats_per_token(codes, label=labels)),
    }
    for name, options in DRAWS.items():
        if name != "wide" or model.settings.order == "row":
            size = {"size": tuple(options["size"])} if "size" in options else {}
            told = {key.replace("guidance", "guidance_scale"): value for key, value in options.items()}
            found[name] = model.sample(**{**told, **size}).codes
    return found


def priors_tiny() -> None:
    """Priors of each kind, with weights that half precision holds exactly.

    The file of today was made at commit 31ca885 with torch 2.13.0, where all tests beside this folder passed.
    """
    tensors, settings, codebook_size = {}, {}, 11
    for kind, (prior, order, grid) in PRIORS.items():
        condition = LabelSettings(classes=3, dropout=0.1)
        settings[kind] = PipelineSettings(prior=prior, condition=condition, order=order, grid=grid)
        model = untrained(settings[kind], codebook_size).eval()
        generator = torch.Generator().manual_seed(1)
        redraw(model.prior, generator)
        with torch.no_grad():
            for name, weight in model.prior.named_parameters():
                # what goes into the first norm so small that the norm's epsilon shows
                weight.copy_((weight / 4 if "table" in name or "positions" in name else weight).half())
        tensors |= {f"{kind}/weights.{name}": w.half() for name, w in model.prior.state_dict().items()}
        codes = torch.randint(codebook_size, (2, *grid), generator=generator)
        found = numbers(model, codes)
        for name, tensor in {"codes": codes, **found}.items():
            tensors[f"{kind}/{name}"] = tensor.clone() if tensor.is_floating_point() else tensor.byte()
        for _ in range(8):  # a draw that hangs by a thread would fall otherwise on another machine
            for name, tensor in model.prior.named_parameters():
                tensor.data = tensors[f"{kind}/weights.{name}"].float()
                tensor.data *= 1 + 2e-5 * torch.randn(tensor.shape, generator=generator)
            for name, again in numbers(model, codes).items():
                assert again.is_floating_point() or again.equal(found[name]), f"{kind} {name}: other seed"
    save_file(
        tensors,
        HERE / "priors_tiny.safetensors",
        metadata={
            "settings": json.dumps({kind: config.dump(value) for kind, value in settings.items()}),
            "codebook_size": str(codebook_size),
            "draws": json.dumps(DRAWS),
            "made": f"torch {torch.__version__}",
        },
    )


IMPORTED = {  # names in a state dict of 2021 -> what stands beside them
    "vq": {"embedding.weight": (12, 4)},
    "ema": {"embedding.weight": (12, 4), "embedding.cluster_size": (12,), "embedding.embed_avg": (12, 4)},
}


def learned(state: dict[str, torch.Tensor], latents: torch.Tensor) -> dict[str, torch.Tensor]:
    """What a quantizer of 2021 learns once it is imported: loss, gradients, and entries after a step."""
    chosen = codebook.find({f"quantize.{name}": tensor for name, tensor in state.items()}, {}, "")
    quantizer = MEMBERS[chosen.kind][1](chosen, dim=4).train()
    names = {theirs.removeprefix("quantize."): ours for ours, theirs in codebook.names(chosen).items()}
    quantizer.load_state_dict({names[key].removeprefix("quantizer."): t for key, t in state.items()})
    latents = latents.clone().requires_grad_()
    loss = quantizer(latents).loss
    loss.backward()
    found = {"loss": loss.detach(), "to_latents": latents.grad}
    if quantizer.codebook.weight.requires_grad:
        return found | {"to_entries": quantizer.codebook.weight.grad}
    quantizer.after_step(latents.detach(), torch.Generator().manual_seed(0))
    return found | {f"after/{name}": tensor.clone() for name, tensor in quantizer.state_dict().items()}


def imported_tiny() -> None:
    """How quantizers of 2021 go on learning; made where tests/golden beside the tensors of 2021 passed."""
    generator, tensors = torch.Generator().manual_seed(3), {}
    for kind, shapes in IMPORTED.items():
        state = {name: torch.rand(shape, generator=generator) + 0.1 for name, shape in shapes.items()}
        latents = torch.rand(2, 4, 5, 3, generator=generator)
        tensors |= {f"{kind}/state/{name}": tensor for name, tensor in state.items()}
        tensors |= {f"{kind}/latents": latents}
        tensors |= {f"{kind}/learned/{name}": tensor for name, tensor in learned(state, latents).items()}
    save_file(tensors, HERE / "imported_tiny.safetensors")


if __name__ == "__main__":
    makers = {
        "tokenizer_tiny": tokenizer_tiny,
        "quantizers_tiny": quantizers_tiny,
        "priors_tiny": priors_tiny,
        "imported_tiny": imported_tiny,
    }
    makers[sys.argv[1]]()
