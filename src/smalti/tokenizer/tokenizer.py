"""The tokenizer: images to codes and back."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from smalti.errors import UserError
from smalti.precision import beyond_fp16
from smalti.pretrained import Pretrained
from smalti.quantizers import QUANTIZERS
from smalti.quantizers.protocol import Quantized, Quantizer
from smalti.tokenizer.decoder import Decoder
from smalti.tokenizer.encoder import Encoder
from smalti.tokenizer.given import read_codes, read_images
from smalti.tokenizer.maskgit import MaskgitDecoder, MaskgitEncoder
from smalti.tokenizer.settings import TokenizerSettings
from smalti.tokenizer.tiling import by_tiles
from smalti.tokenizer.use import in_use, laid_out

# encoder, decoder, and the 1x1 convolutions between them and the codebook, where there are any
NETWORKS: dict[str, tuple[type[Any], type[Any], type[Any]]] = {
    "vqgan": (Encoder, Decoder, nn.Conv2d),
    "maskgit": (MaskgitEncoder, MaskgitDecoder, nn.Identity),
}


class Reconstruction(NamedTuple):
    """What a tokenizer makes of images, with gradients."""

    images: Float[Tensor, "b c H W"]  # around [-1, 1], not clipped
    codes: Int64[Tensor, "b h w"] | None  # None without a codebook
    quantizer_loss: Float[Tensor, ""]  # what the quantizer adds to a loss of training


class Tokenizer(Pretrained):
    """Images in [-1, 1] to a grid of codes, one a cell of factor x factor pixels, and back.

    The networks are those of arXiv:2012.09841, or others of the same plan. A call, `latents`, `quantize` and
    `decode_latents` are the steps of training and keep gradients; `encode`, `decode` and `reconstruct` are
    for use: no gradients, neither dropout nor draws even in training mode, and images in any common form,
    checked. `.to(torch.bfloat16)` and `.half()` leave the codebook in fp32. Without a codebook
    (quantizer.kind gaussian) there are no codes: `encode` and `decode` raise UserError. Of segmentations
    (content) what goes in is a channel a class, 0 or 1, and what comes out are the classes' logits.

    The networks can be compiled: `tokenizer.encoder.compile()`, `tokenizer.decoder.compile()`. On a CPU that
    was slower than they are (docs/log.md), so nothing here does it.
    """

    quantizer: Quantizer
    kind = "tokenizer"

    def __init__(self, settings: TokenizerSettings) -> None:
        super().__init__()
        network = settings.network
        _, member = QUANTIZERS[settings.quantizer.kind]
        self.settings = settings
        encoder, decoder, conv = NETWORKS[network.kind]
        self.encoder = encoder(network, member.moments)
        self.decoder = decoder(network)
        self.quantizer = member(settings.quantizer, dim=network.code_dim)
        self.quant_conv = conv(network.latent_channels * member.moments, network.code_dim * member.moments, 1)
        self.post_quant_conv = conv(network.code_dim, network.latent_channels, 1)

    @property
    def factor(self) -> int:
        """Return pixels a cell side."""
        return self.settings.network.factor

    @property
    def codebook_size(self) -> int:
        """Return entries of the codebook: codes are 0 .. codebook_size - 1. Without a codebook 0."""
        return self.quantizer.codebook_size

    @property
    def has_codes(self) -> bool:
        """Return whether there is a codebook, so that `encode` and `decode` can be called."""
        return self.settings.quantizer.has_codes

    @property
    def channels(self) -> int:
        """Return channels of the images that `encode` takes."""
        return self.settings.network.in_channels

    @property
    def dtype(self) -> torch.dtype:
        """Return what the networks are kept in; the codebook is in fp32 beside half precision."""
        return self.last_layer.dtype

    @property
    def last_layer(self) -> Tensor:
        """Return the weight where the gradients of two losses are compared for the adaptive weight."""
        return self.decoder.conv_out.weight

    def images(self, images: Any) -> Float[Tensor, "b c H W"]:
        """Return what `latents` takes, in [-1, 1] and on the model's device, of what a person has.

        images: a file's path, a Pillow image, a uint8 array (h, w, c), a tensor (c H W) or (b c H W) in
        [-1, 1] or of uint8, or a list of them, of one size; see given.py. UserError for others, and for
        floats that go from 0 to 1 or to 255.
        """
        return read_images(self, images).to(self.last_layer.device)

    def latents(self, images: Float[Tensor, "b c H W"] | Any) -> Float[Tensor, "b m h w"]:
        """Return what the quantizer takes, from images in [-1, 1].

        M is code_dim, twice that without a codebook.

        images: a tensor (b c H W), as `images` gives it. Raises UserError for other channels than the
        model's, for sides that are no multiples of the factor, and where fp16 overflows.
        """
        self._check(images)
        inner = (images + 1) / 2 if self.settings.image_range == "0..1" else images
        return self._in_range(self.quant_conv(self.encoder(laid_out(inner.to(self.dtype)))))

    def quantize(self, latents: Float[Tensor, "b m h w"], step: int = 0) -> Quantized:
        """Return entries, codes and the quantizer's loss, computed in fp32 whatever the autocast.

        step: of training, for what changes in its course.
        """
        return self.quantizer(latents, step)

    def decode_latents(self, quantized: Float[Tensor, "b d h w"]) -> Float[Tensor, "b c H W"]:
        """Return images from quantized latents, around [-1, 1], not clipped.

        UserError where fp16 overflows.
        """
        # the quantizer gives fp32 also where the networks are kept in half precision
        inner = self.decoder(self.post_quant_conv(laid_out(quantized.to(self.dtype))))
        inner = self._in_range(inner)
        inner = inner if self.dtype == torch.float32 else inner.float()
        return inner * 2 - 1 if self.settings.image_range == "0..1" else inner

    def encode(
        self, images: Any, tile: int | Any = None, *, is_checked: bool = False
    ) -> Int64[Tensor, "b h w"]:
        """Return codes of one image or several, row-major; sides of any multiple of the factor.

        images: as `images` takes them. tile: cells a side that are encoded at a time, 4 or more, for
        images that else do not fit into memory; what that changes is said in tiling.py. is_checked: these
        are what `latents` takes, and nobody need look at their range. Raises UserError as `images` and
        `latents` do.
        """
        self._need_codes()
        given = images if is_checked else self.images(images)
        self._check(given)
        with in_use(self):
            latents = self._by_tiles(self.latents, given, tile, (self.factor, 1))
            codes = self.quantize(latents).codes
        assert codes is not None, "a codebook gives codes"
        return codes

    def decode(self, codes: Int64[Tensor, "b h w"] | Any, tile: int | Any = None) -> Float[Tensor, "b c H W"]:
        """Return images of codes, around [-1, 1], not clipped, fp32. tile: as in `encode`.

        codes: (b h w) or (h w), whole numbers of any type. Raises UserError for codes the codebook lacks.
        """
        self._need_codes()
        laid = read_codes(self, codes).to(self.last_layer.device)
        with in_use(self):
            return self._by_tiles(self.decode_latents, self.quantizer.lookup(laid), tile, (1, self.factor))

    def reconstruct(self, images: Any, *, is_checked: bool = False) -> Float[Tensor, "b c_out H W"]:
        """Return images as their codes tell them: decode(encode(images)); without a codebook as the means do.

        images, is_checked: as in `encode`.
        """
        if self.has_codes:
            return self.decode(self.encode(images, is_checked=is_checked))
        given = images if is_checked else self.images(images)
        with in_use(self):
            return self.decode_latents(self.quantize(self.latents(given)).latents)

    def forward(self, images: Any, *, is_checked: bool = False) -> Reconstruction:
        """Give images as their codes tell them, those codes, and the quantizer's loss, with gradients.

        images, is_checked: as in `encode`. In training mode with the dropout and the draws of training.
        """
        quantized = self.quantize(self.latents(images if is_checked else self.images(images)))
        return Reconstruction(self.decode_latents(quantized.latents), quantized.codes, quantized.loss)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Tokenizer":
        """Apply as torch does .to, .half and the like; of half precision the quantizer keeps away.

        There some codes would be others: those whose two nearest entries are about equally near.
        """

        def kept(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            is_half = moved.dtype != tensor.dtype and moved.dtype in (torch.bfloat16, torch.float16)
            return tensor.to(moved.device) if is_half else moved

        for name, child in self.named_children():
            child._apply(kept if name == "quantizer" else fn)  # type: ignore[no-untyped-call]
        return self

    def _by_tiles(
        self, run: Callable[[Tensor], Tensor], x: Tensor, tile: int | Any, cell: tuple[int, int]
    ) -> Tensor:
        if tile is None:
            return run(x)
        if not isinstance(tile, int) or tile < 4:
            raise UserError("a tile of 4 cells a side or more", str(tile), "tile=32")
        return by_tiles(run, x, cell=cell, tile=tile)

    def _in_range(self, x: Tensor) -> Tensor:
        if self.dtype == torch.float16 and not x.isfinite().all():  # they would be code 0, or white
            raise beyond_fp16("tokenizer")
        return x

    def _need_codes(self) -> None:
        if not self.has_codes:
            got = f"one of kind {self.settings.quantizer.kind}, which has no codes"
            remedy = "use latents, quantize and decode_latents, or another tokenizer"
            raise UserError("a tokenizer with a codebook", got, remedy)

    def _check(self, images: Any) -> None:
        if not isinstance(images, Tensor):
            got = type(images).__name__
            raise UserError("images as a tensor (b, c, H, W)", got, "use what tokenizer.images makes of it")
        if images.dim() != 4 or images.shape[1] != self.channels or not images.is_floating_point():
            raise UserError(
                f"images as floats (batch, {self.channels}, height, width) in [-1, 1]",
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
