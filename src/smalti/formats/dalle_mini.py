"""The VQGAN of dalle-mini, in flax: flax_model.msgpack + config.json, converted from the 2021 model.

Its code applies all attention blocks of a level after each residual block, where the 2021 code applies one:
the same weights give other images. What is read here gives its images (network.attention says so).
"""

import dataclasses

from torch import Tensor

from smalti.formats.compvis import codebook
from smalti.formats.compvis import network as networks
from smalti.formats.layout import build, line, state_2021
from smalti.formats.ledger import Ledger
from smalti.formats.naming import Naming
from smalti.formats.protocol import Imported, Wanted
from smalti.formats.source import Source
from smalti.tokenizer import TokenizerSettings

_NAMES = Naming(
    (
        ("encoder.down.#.block.#.", "encoder.down_#.block_#."),
        ("encoder.down.#.attn.#.", "encoder.down_#.attn_#."),
        ("encoder.down.#.downsample.", "encoder.down_#.downsample."),
        ("decoder.up.#.block.#.", "decoder.up_#.block_#."),
        ("decoder.up.#.attn.#.", "decoder.up_#.attn_#."),
        ("decoder.up.#.upsample.", "decoder.up_#.upsample."),
        ("quantize.embedding.weight", "quantize.embedding.embedding"),
        ("norm.weight", "norm.scale"),
        ("norm1.weight", "norm1.scale"),
        ("norm2.weight", "norm2.scale"),
        ("norm_out.weight", "norm_out.scale"),
        ("weight", "kernel"),
    ),
    levels=0,  # both count them from the image down
)


def recognises(source: Source) -> bool:
    """Return whether it has flax's names for the networks of 2021."""
    return source.tensors.keys() >= {"encoder.conv_in.kernel", "encoder.down_0.block_0.conv1.kernel"}


def describe(source: Source) -> str:
    """Return factor, codes and channels, in one line."""
    book = _book(source)
    return line("dalle-mini VQGAN (flax)", _settings(_state(book), source, book.where))


def read(source: Source, wanted: Wanted) -> Imported:
    """Return the tokenizer. UserError for tensors that do not fit each other or config.json."""
    book = _book(source)
    state = _state(book)
    model = build(state, _settings(state, source, book.where), _NAMES, book.where)
    return Imported(model=model, dropped=book.finish())


def _book(source: Source) -> Ledger:
    return Ledger(source.tensors, str(source.weights))


def _state(book: Ledger) -> dict[str, Tensor]:
    return {name: _turned(name, tensor) for name, tensor in state_2021(book, _NAMES).items()}


def _turned(name: str, tensor: Tensor) -> Tensor:
    """Return a convolution's (y, x, in, out) as (out, in, y, x); older files' norms (1, 1, 1, e) as (e)."""
    if name.startswith("quantize."):
        return tensor
    if "norm" in name and tensor.dim() == 4 and tensor.shape[:3].numel() == 1:
        return tensor.flatten()
    return tensor.permute(3, 2, 0, 1) if tensor.dim() == 4 else tensor


def _settings(state: dict[str, Tensor], source: Source, where: str) -> TokenizerSettings:
    found = networks.find(state, source.config, where)
    return TokenizerSettings(
        network=dataclasses.replace(found, attention="all_after_each"),
        quantizer=codebook.find(state, {"params": source.config}, where),
    )
