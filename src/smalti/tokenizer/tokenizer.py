"""The tokenizer: pictures to codes and back."""

from jaxtyping import Float, Int64
from torch import Tensor, nn

from smalti.errors import UserError
from smalti.quantizers import QUANTIZERS
from smalti.quantizers.protocol import Quantized, Quantizer
from smalti.tokenizer.decoder import Decoder
from smalti.tokenizer.encoder import Encoder
from smalti.tokenizer.settings import TokenizerSettings
from smalti.tokenizer.use import in_use


class Tokenizer(nn.Module):
    """Pictures in [-1, 1] to a grid of codes, one a cell of factor x factor pixels, and back.

    The networks are those of arXiv:2012.09841. `latents`, `quantize` and `decode_latents` are the steps of
    training and keep gradients; `encode`, `decode` and `reconstruct` are for use: no gradients, and no
    dropout even in training mode.
    """

    quantizer: Quantizer

    def __init__(self, settings: TokenizerSettings) -> None:
        super().__init__()
        network = settings.network
        _, member = QUANTIZERS[settings.quantizer.kind]
        self.settings = settings
        self.encoder = Encoder(network)
        self.decoder = Decoder(network)
        self.quantizer = member(settings.quantizer, dim=network.code_dim)
        self.quant_conv = nn.Conv2d(network.latent_channels, network.code_dim, 1)
        self.post_quant_conv = nn.Conv2d(network.code_dim, network.latent_channels, 1)

    @property
    def factor(self) -> int:
        """Pixels a cell side."""
        return self.settings.network.factor

    @property
    def codebook_size(self) -> int:
        """Entries of the codebook: codes are 0 .. codebook_size - 1."""
        return self.quantizer.codebook_size

    @property
    def channels(self) -> int:
        """Channels of the pictures that `encode` takes."""
        return self.settings.network.in_channels

    @property
    def last_layer(self) -> Tensor:
        """The weight where the gradients of two losses are compared for the adaptive weight."""
        return self.decoder.conv_out.weight

    def latents(self, images: Float[Tensor, "b c H W"]) -> Float[Tensor, "b d h w"]:
        """What the quantizer takes, from pictures in [-1, 1].

        Raises UserError for other channels than the model's, or sides that are no multiples of the factor.
        """
        self._check(images)
        inner = (images + 1) / 2 if self.settings.image_range == "0..1" else images
        return self.quant_conv(self.encoder(inner))

    def quantize(self, latents: Float[Tensor, "b d h w"]) -> Quantized:
        """Entries, codes and the quantizer's loss, computed in fp32 whatever the autocast."""
        return self.quantizer(latents)

    def decode_latents(self, quantized: Float[Tensor, "b d h w"]) -> Float[Tensor, "b c H W"]:
        """Pictures from quantized latents, around [-1, 1], not clipped."""
        # the quantizer gives fp32 also where the networks are kept in half precision
        inner = self.decoder(self.post_quant_conv(quantized.to(self.post_quant_conv.weight.dtype)))
        return inner * 2 - 1 if self.settings.image_range == "0..1" else inner

    def encode(self, images: Float[Tensor, "b c H W"]) -> Int64[Tensor, "b h w"]:
        """Codes of pictures in [-1, 1], row-major; sides of any multiple of the factor.

        Raises UserError as `latents` does.
        """
        with in_use(self):
            return self.quantize(self.latents(images)).codes

    def decode(self, codes: Int64[Tensor, "b h w"]) -> Float[Tensor, "b c H W"]:
        """Pictures of codes, around [-1, 1], not clipped. Raises UserError for codes the codebook lacks."""
        if ((codes < 0) | (codes >= self.codebook_size)).any():
            raise UserError(
                f"codes from 0 to {self.codebook_size - 1}",
                f"{codes.min().item()} to {codes.max().item()}",
                "decode with the tokenizer that made the codes",
            )
        with in_use(self):
            return self.decode_latents(self.quantizer.lookup(codes))

    def reconstruct(self, images: Float[Tensor, "b c H W"]) -> Float[Tensor, "b c_out H W"]:
        """Pictures as their codes tell them: decode(encode(images))."""
        return self.decode(self.encode(images))

    def _check(self, images: Tensor) -> None:
        if images.dim() != 4 or images.shape[1] != self.channels or not images.is_floating_point():
            raise UserError(
                f"pictures as floats (batch, {self.channels}, height, width) in [-1, 1]",
                f"{images.dtype} {tuple(images.shape)}",
                f"give {self.channels} channels, or use another tokenizer",
            )
        height, width = images.shape[2:]
        if min(height, width) == 0 or height % self.factor or width % self.factor:
            near = [max(1, round(side / self.factor)) * self.factor for side in (height, width)]
            raise UserError(
                f"sides that are multiples of {self.factor} (the tokenizer's factor)",
                f"{height} x {width} pixels",
                f"crop or resize to {near[0]} x {near[1]}",
            )
