"""Makes the small tensors beside it, which pin today's numbers: `python tests/golden/own/make.py`.

Run it only where numbers are meant to change, and say so in the log.
"""

import dataclasses
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from smalti import config
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
    """A tokenizer with every kind of block, square and wide pictures, both ranges of pictures."""
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


if __name__ == "__main__":
    tokenizer_tiny()
