"""Tokenizers of other projects that have the networks of 2021 under names of their own."""

from collections.abc import Mapping

import torch
from torch import Tensor

from smalti.formats.compvis.codebook import names
from smalti.formats.compvis.tokenizer import ours
from smalti.formats.ledger import Ledger, check_fit, fill
from smalti.formats.naming import Naming
from smalti.formats.own import Own
from smalti.tokenizer import Tokenizer, TokenizerSettings


def state_2021(book: Ledger, naming: Naming) -> dict[str, Tensor]:
    """Return all tensors of a file under the names of 2021; crosses them off."""
    return {naming.ours(name): tensor for name, tensor in book.below("").items()}


def build(
    state: Mapping[str, Tensor],
    settings: TokenizerSettings,
    naming: Naming,
    where: str,
    kept: Own | None = None,
) -> Tokenizer:
    """Return the tokenizer of a state dict with the names of 2021, strict both ways.

    Errors use the file's names.

    kept: what our own writer left of it besides.
    """
    middle = names(settings.quantizer)
    own, given = kept or Own(), ours(state, settings)

    def told(name: str) -> str:
        return naming.theirs(middle.get(name, name))

    with torch.device("meta"):  # whether tensors are as the settings say, before there is room for those
        promised = Tokenizer(settings)
    check_fit(promised, own.fill(promised, given), told, where)
    tokenizer = Tokenizer(settings)
    fill(tokenizer, own.fill(tokenizer, given), told, where)
    return tokenizer.eval()


def line(family: str, settings: TokenizerSettings) -> str:
    """Return what a file is, in one line."""
    network, quantizer = settings.network, settings.quantizer
    size = getattr(quantizer, "codebook_size", 0)
    what = (
        f"{size} codes of {network.code_dim} numbers" if size else f"{network.code_dim} means and variances"
    )
    return f"{family}: factor {network.factor}, {what} a cell, {network.in_channels} channels"
