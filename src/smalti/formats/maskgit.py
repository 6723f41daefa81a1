"""MaskGIT's tokenizer in PyTorch ("maskgit-vqgan-imagenet-f16-256"): a bare state dict.

Its names are ours but for the codebook's. Its images are in [0, 1].
"""

from collections.abc import Mapping

from torch import Tensor

from smalti.errors import UserError
from smalti.formats.layout import line
from smalti.formats.ledger import Ledger, fill
from smalti.formats.protocol import Imported, Wanted
from smalti.formats.source import Source
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.tokenizer import MaskgitSettings, Tokenizer, TokenizerSettings

CODEBOOK, OURS = "quantize.embedding.weight", "quantizer.codebook.weight"
_ANCHORS = {"encoder.mid.0.conv1.weight", "encoder.down.0.block.0.conv1.weight", CODEBOOK}


def recognises(source: Source) -> bool:
    """Return whether it has MaskGIT's blocks in the middle and nothing between encoder and codebook."""
    return source.tensors.keys() >= _ANCHORS and "quant_conv.weight" not in source.tensors


def describe(source: Source) -> str:
    """Return factor, codes and channels, in one line."""
    return line("MaskGIT tokenizer", _settings(source.tensors, str(source.weights)))


def read(source: Source, wanted: Wanted) -> Imported:
    """Return the tokenizer. UserError for tensors that do not fit."""
    book = Ledger(source.tensors, str(source.weights))
    model = Tokenizer(_settings(source.tensors, book.where))
    weights = {_swap(name, CODEBOOK, OURS): tensor for name, tensor in book.below("").items()}
    fill(model, weights, lambda name: _swap(name, OURS, CODEBOOK), book.where)
    return Imported(model=model.eval(), dropped=book.finish())


def _settings(tensors: Mapping[str, Tensor], where: str) -> TokenizerSettings:
    """Return the settings by shapes: its config.json adds nothing to them."""
    levels = 1 + max(int(name.split(".")[2]) for name in tensors if name.startswith("encoder.down."))
    first = _shape(tensors, "encoder.conv_in.weight", where)
    widths = [_shape(tensors, f"encoder.down.{n}.block.0.conv1.weight", where)[0] for n in range(levels)]
    if any(width % first[0] for width in widths):
        got = f"{', '.join(map(str, widths))} channels in {where}"
        raise UserError(f"levels whose channels are multiples of {first[0]}", got, "it cannot be carried")
    entries = _shape(tensors, CODEBOOK, where)
    network = MaskgitSettings(
        in_channels=first[1],
        out_channels=_shape(tensors, "decoder.conv_out.weight", where)[0],
        width=first[0],
        multipliers=tuple(width // first[0] for width in widths),
        blocks=len({name.split(".")[2] for name in tensors if name.startswith("encoder.mid.")}),
        code_dim=entries[1],
    )
    # its training weighed the two terms as the 2021 code does
    quantizer = VectorQuantizerSettings.legacy(codebook_size=entries[0])
    return TokenizerSettings(network=network, quantizer=quantizer, image_range="0..1")


def _shape(tensors: Mapping[str, Tensor], name: str, where: str) -> tuple[int, ...]:
    if name not in tensors or tensors[name].dim() < 2:
        raise UserError(f"{name} in {where}", "none", "the file is incomplete, or of another kind")
    return tuple(tensors[name].shape)


def _swap(name: str, old: str, new: str) -> str:
    return new if name == old else name
