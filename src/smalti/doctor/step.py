"""A small training step: what the machine is timed and repeated by."""

import torch

from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings

SIDE, BATCH = 64, 8  # pixels; images a step


class Step:
    """A step of a small tokenizer, as that of `tokenizer_hour`; same weights, same images."""

    def __init__(self, device: torch.device) -> None:
        network = NetworkSettings(
            width=16, multipliers=(1, 2, 4), blocks=1, attention_levels=(), mid_attention=False,
            latent_channels=64, code_dim=32, groups=8,
        )  # fmt: skip
        settings = TokenizerSettings(network=network, quantizer=VectorQuantizerSettings(codebook_size=256))
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            self.network = Tokenizer(settings).to(device).train()
            self.images = (torch.rand(BATCH, 3, SIDE, SIDE) * 2 - 1).to(device)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-3)

    def __call__(self) -> None:
        """Rebuild, pass gradients back, move."""
        quantized = self.network.quantize(self.network.latents(self.images), 0)
        rebuilt = self.network.decode_latents(quantized.latents)
        loss = (rebuilt - self.images).abs().mean() + quantized.loss
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
