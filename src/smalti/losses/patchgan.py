"""The discriminator of the 2021 recipe: a small convolutional network that judges every patch of an image."""

import math
from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from smalti import strategy
from smalti.config import Few, Positive, settings


@settings
class PatchGANSettings:
    """Size of the discriminator. With 3 layers it sees patches of 70 x 70 pixels."""

    width: Positive = 64  # features after the first convolution
    layers: Few = 3  # convolutions that halve the grid
    norm: Literal["batch", "act"] = "batch"

    @property
    def least(self) -> int:
        """Return the shortest side of an image that it can judge, in pixels: three cells are left of it."""
        return 3 * 2**self.layers

    @staticmethod
    def deepest(side: int) -> int:
        """Return the most layers for images whose shortest side has so many pixels.

        0: there is none for them.
        """
        return max(0, (side // 3).bit_length() - 1)

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> "PatchGANSettings":
        """Return the settings of a discriminator's tensors."""
        convolutions = sum(tensor.dim() == 4 and name.endswith("weight") for name, tensor in state.items())
        norm: Literal["batch", "act"] = "act" if "main.3.loc" in state else "batch"
        return cls(width=len(state["main.0.weight"]), layers=convolutions - 2, norm=norm)


class PatchGAN(nn.Module):
    """Scores of overlapping patches: high for real ones. Names of tensors are those of the 2021 code."""

    def __init__(
        self, settings: PatchGANSettings, channels: int = 3, *, generator: torch.Generator | None = None
    ) -> None:
        """channels: of the images. generator: see `reset`."""
        super().__init__()
        widths = [settings.width * min(2**layer, 8) for layer in range(settings.layers + 1)]
        stack: list[nn.Module] = [nn.Conv2d(channels, widths[0], 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for layer in range(1, settings.layers + 1):
            stride = 2 if layer < settings.layers else 1
            stack += _block(widths[layer - 1], widths[layer], stride, settings.norm)
        self.main = nn.Sequential(*stack, nn.Conv2d(widths[-1], 1, 4, padding=1))
        self.reset(generator)

    def reset(self, generator: torch.Generator | None = None) -> None:
        """Draw the weights anew, as in 2021; generator None: torch's default one, as every module does."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, 0.02, generator=generator)
                if module.bias is not None:  # torch's own start of a bias, kept by the 2021 code
                    bound = 1 / math.sqrt(module.weight[0].numel())
                    nn.init.uniform_(module.bias, -bound, bound, generator=generator)
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()
                nn.init.normal_(module.weight, 1.0, 0.02, generator=generator)
            elif isinstance(module, ActNorm):
                module.reset()

    def forward(self, images: Float[Tensor, "b c H W"]) -> Float[Tensor, "b 1 y x"]:
        """Return one score a patch, for images in [-1, 1]; 256 x 256 give 30 x 30."""
        return self.main(images)


class ActNorm(nn.Module):
    """A shift and a scale for each channel, which whiten the first training batch and are learned from then.

    Source: arXiv:1807.03039, 3.1. Until then, in eval mode, the identity.
    """

    is_kept_whole = True  # see strategy.py

    initialized: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.scale = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.register_buffer("initialized", torch.tensor(0, dtype=torch.uint8))

    def forward(self, x: Float[Tensor, "b e y x"]) -> Float[Tensor, "b e y x"]:
        """Shift, then scale."""
        if self.training and not self.initialized:
            self._start(x.detach().float())
        return self.scale * (x + self.loc)

    def reset(self) -> None:
        """Forget the batch that was seen."""
        with torch.no_grad():
            self.loc.zero_()
            self.scale.fill_(1.0)
            self.initialized.zero_()

    @torch.no_grad()
    def _start(self, x: Tensor) -> None:
        # over all processes: each alone would begin with weights of its own, and never meet the others again
        processes = strategy.current()
        values = x.numel() // x.shape[1] * processes.count
        assert values > 1, "ActNorm starts from a batch with more than one value a channel"
        mean = processes.average(x.mean((0, 2, 3), keepdim=True))
        variance = (
            processes.average((x - mean).square().mean((0, 2, 3), keepdim=True)) * values / (values - 1)
        )
        self.loc.copy_(-mean)
        self.scale.copy_(1 / (variance.sqrt() + 1e-6))
        self.initialized.fill_(1)


def _block(before: int, after: int, stride: int, norm: str) -> list[nn.Module]:
    layer = nn.BatchNorm2d(after) if norm == "batch" else ActNorm(after)
    # BatchNorm takes the mean away, so a bias before it would do nothing
    convolution = nn.Conv2d(before, after, 4, stride=stride, padding=1, bias=norm == "act")
    return [convolution, layer, nn.LeakyReLU(0.2)]
