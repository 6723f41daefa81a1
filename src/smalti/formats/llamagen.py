"""LlamaGen's tokenizers (VQ-16, VQ-8) and class-conditional priors (arXiv:2406.06525), each a .pt file.

A prior's file knows neither its tokenizer nor the size of its images, which are asked for.
"""

from collections.abc import Mapping
from math import isqrt

import torch
from torch import Tensor, nn

from smalti.conditions.label import LabelSettings
from smalti.errors import UserError
from smalti.formats.compvis.network import find
from smalti.formats.layout import build, line, state_2021
from smalti.formats.ledger import Ledger, fill
from smalti.formats.naming import Naming
from smalti.formats.protocol import Imported, Wanted
from smalti.formats.source import Source
from smalti.formats.states import clean
from smalti.formats.states import find as find_state
from smalti.pipeline import Pipeline, PipelineSettings
from smalti.priors.llamagen import LlamaGenSettings
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.tokenizer import Tokenizer, TokenizerSettings

TOKENIZER, CLASSES, TEXT = (
    "encoder.conv_blocks.0.res.0.conv1.weight",
    "cls_embedding.embedding_table.weight",
    "cls_embedding.cap_proj.fc1.weight",
)
_LEVEL = "decoder.conv_blocks."
_TOKENIZER_PIECES = (
    ("encoder.down.#.block.", "encoder.conv_blocks.#.res."),
    ("encoder.down.#.", "encoder.conv_blocks.#."),
    ("decoder.up.~.block.", "decoder.conv_blocks.~.res."),
    ("decoder.up.~.", "decoder.conv_blocks.~."),
    ("mid.block_1.", "mid.0."),
    ("mid.attn_1.", "mid.1."),
    ("mid.block_2.", "mid.2."),
)
_PRIOR_NAMES = Naming(
    (
        ("blocks.#.norm1.", "layers.#.attention_norm."),
        ("blocks.#.qkv.", "layers.#.attention.wqkv."),
        ("blocks.#.out.", "layers.#.attention.wo."),
        ("blocks.#.norm2.", "layers.#.ffn_norm."),
        ("blocks.#.up.", "layers.#.feed_forward.w1."),  # and w3 behind it
        ("blocks.#.down.", "layers.#.feed_forward.w2."),
        ("prefix_table.", "cls_embedding.embedding_table."),
        ("table.", "tok_embeddings."),
        ("head.", "output."),
    ),
    levels=0,
)
_HEADS = {  # (layers, width) of the models that there are -> heads
    (12, 768): 12,  # B
    (24, 1024): 16,  # L
    (36, 1280): 20,  # XL
    (48, 1536): 24,  # XXL
    (24, 3200): 32,  # 3B
    (48, 2560): 40,  # XXXL
    (22, 2048): 32,  # 1B
    (32, 4096): 32,  # 7B
}
_DROPOUT = 0.1  # of its training: classes, tokens, residuals


def recognises(source: Source) -> bool:
    """Return whether it is a tokenizer, a class-conditional prior or a text prior of LlamaGen's."""
    names = _tensors(source).keys()
    return TOKENIZER in names or (bool({CLASSES, TEXT} & names) and "tok_embeddings.weight" in names)


def describe(source: Source) -> str:
    """Return which of the three, and its sizes, in one line."""
    tensors = _tensors(source)
    if TOKENIZER in tensors:
        state = state_2021(Ledger(tensors, ""), _naming(tensors))
        return line("LlamaGen tokenizer", _tokenizer_settings(state, str(source.weights)))
    layers, width = _sizes(tensors)
    codes, told = len(tensors["tok_embeddings.weight"]), "text (not supported)"
    if TEXT not in tensors:
        told = f"{len(tensors[CLASSES]) - 1} classes"
    return f"LlamaGen prior: {layers} layers of width {width}, {codes} codes, {told}, without its tokenizer"


def read(source: Source, wanted: Wanted) -> Imported:
    """Return a tokenizer, or a generator with wanted.tokenizer for crops of wanted.size.

    UserError for what the user has to add, for tensors that do not fit, and for text models.
    """
    tensors = _tensors(source)
    book = Ledger(tensors, str(source.weights))
    discriminator = source.contents.get("discriminator")
    if TOKENIZER not in tensors:
        return Imported(model=_prior(book, tensors, wanted), dropped=book.finish())
    book.drop("quantize.codebook_used", "the codes used last in training")
    naming = _naming(tensors)
    state = state_2021(book, naming)
    model = build(state, _tokenizer_settings(state, book.where), naming, book.where)
    kept = (
        {clean(name): value for name, value in discriminator.items()}
        if isinstance(discriminator, dict)
        else {}
    )
    kept = kept if "main.0.weight" in kept else {}
    return Imported(model=model, dropped=book.finish(), discriminator=kept)


def _tensors(source: Source) -> Mapping[str, Tensor]:
    """Return the averaged weights where the file has them, as LlamaGen itself prefers."""
    averaged = source.contents.get("ema")
    if isinstance(averaged, dict) and all(isinstance(value, Tensor) for value in averaged.values()):
        return find_state(averaged, str(source.weights)).tensors
    return source.tensors


def _naming(tensors: Mapping[str, Tensor]) -> Naming:
    """Return our name: theirs counts the decoder's levels in the order of running."""
    levels = {name.removeprefix(_LEVEL).split(".")[0] for name in tensors if name.startswith(_LEVEL)}
    return Naming(_TOKENIZER_PIECES, levels=len(levels))


def _tokenizer_settings(state: Mapping[str, Tensor], where: str) -> TokenizerSettings:
    found = find(state, {}, where)
    entries = state.get("quantize.embedding.weight")
    if entries is None:
        raise UserError(
            f"quantize.embedding.weight in {where}", "none", "the file is incomplete: get it anew"
        )
    return TokenizerSettings(
        network=found, quantizer=VectorQuantizerSettings(codebook_size=len(entries), cosine=True)
    )


def _prior(book: Ledger, tensors: Mapping[str, Tensor], wanted: Wanted) -> Pipeline:
    if TEXT in tensors:
        remedy = "its class-conditional priors (c2i) can be read"
        raise UserError(
            f"a class-conditional prior in {book.where}", "a text model (t2i): not supported", remedy
        )
    tokenizer, settings = _tokenizer(tensors, wanted), _prior_settings(tensors, wanted)
    table = tensors.get("freqs_cis")
    book.drop("freqs_cis", "the table of rotary positions, which ours computes")
    model = Pipeline(
        PipelineSettings(
            prior=settings,
            condition=LabelSettings(classes=len(tensors[CLASSES]) - 1, dropout=_DROPOUT),
            grid=_grid(wanted, tokenizer, table),
        ),
        tokenizer,
    )
    assert isinstance(model.prior, nn.Module), "a prior has weights"
    weights = {_PRIOR_NAMES.ours(name): tensor for name, tensor in _joined(book).items()}
    fill(model.prior, weights, _PRIOR_NAMES.theirs, book.where)
    return model.eval()


def _joined(book: Ledger) -> dict[str, Tensor]:
    """Return their tensors, w3 laid behind w1, as ours has them; crosses all off."""
    found = book.below("")
    for name in [name for name in found if name.endswith(".feed_forward.w1.weight")]:
        other = name.replace(".w1.", ".w3.")
        if other in found:
            found[name] = torch.cat((found[name], found.pop(other)))
    return found


def _sizes(tensors: Mapping[str, Tensor]) -> tuple[int, int]:
    layers = {name.split(".")[1] for name in tensors if name.startswith("layers.")}
    return len(layers), tensors["tok_embeddings.weight"].shape[1]


def _prior_settings(tensors: Mapping[str, Tensor], wanted: Wanted) -> LlamaGenSettings:
    layers, width = _sizes(tensors)
    heads = wanted.num_heads or _HEADS.get((layers, width))
    if heads is None:
        got = f"{layers} layers of width {width}, which is none of the published sizes"
        raise UserError("the number of attention heads", got, "give --num-heads")
    return LlamaGenSettings(
        layers=layers,
        heads=heads,
        width=width,
        token_dropout=_DROPOUT,
        residual_dropout=_DROPOUT,
        ffn_dropout=_DROPOUT,
    )


def _tokenizer(tensors: Mapping[str, Tensor], wanted: Wanted) -> Tokenizer:
    codes = len(tensors["tok_embeddings.weight"])
    if wanted.tokenizer is None:
        remedy = "import its tokenizer first (vq_ds16_c2i.pt), then give its folder: --tokenizer FOLDER"
        raise UserError(f"the prior's tokenizer, with {codes} codes", "none: its file holds no other", remedy)
    if wanted.tokenizer.codebook_size != codes:
        got = f"one with {wanted.tokenizer.codebook_size}"
        raise UserError(
            f"a tokenizer with {codes} codes", got, "give the one that the prior was trained with"
        )
    return wanted.tokenizer


def _grid(wanted: Wanted, tokenizer: Tokenizer, table: Tensor | None) -> tuple[int, int]:
    """Return cells of a training crop.

    By the size asked for, else by the table of positions of older files.
    """
    if wanted.size is not None:
        height, width = wanted.size
        if height % tokenizer.factor or width % tokenizer.factor:
            expected = f"a size of multiples of {tokenizer.factor} pixels"
            raise UserError(expected, f"{height} x {width}", "give the size of the prior's training images")
        return height // tokenizer.factor, width // tokenizer.factor
    if table is None:
        remedy = "give --size, 256x256 or 384x384 for the published ones, as their files' names say"
        raise UserError("the size of the prior's images", "none: its file does not tell it", remedy)
    side = isqrt(len(table) - 1)
    return side, side
