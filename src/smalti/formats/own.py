"""What a format of others has no word for: carried along in its files, so that a model comes back whole."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from smalti import config
from smalti.errors import UserError
from smalti.pipeline import PipelineSettings
from smalti.quantizers.remap import RemappedSettings
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings

SECTION = "smalti"  # under which our writers leave it
_USAGE = ".usage"  # the one tensor: how much each entry was used, by which idle ones are revived
_TOLD = ("kind", "classes", "tokens", "token", "no_tokens", "max_objects", "encode_crop", "size", "shared")
_SIZES = ("kind", "layers", "heads", "width")


@dataclass(frozen=True)
class Own:
    """What our writer left in a file of others; nothing where somebody else wrote it."""

    settings: Mapping[str, Any] = field(default_factory=dict)  # of a tokenizer or a generator, all of them
    tensors: Mapping[str, Tensor] = field(default_factory=dict)  # by our names

    def tokenizer(self, found: TokenizerSettings, where: str) -> TokenizerSettings:
        """Return the settings kept, else those found by the format's own words.

        UserError where they disagree.
        """
        if not self.settings:
            return found
        kept: TokenizerSettings = config.parse(self.settings, TokenizerSettings, where=SECTION)
        _check(_plain(kept), _plain(found), where)
        return kept

    def generator(self, found: PipelineSettings, where: str) -> PipelineSettings:
        """Return what `tokenizer` does."""
        if not self.settings:
            return found
        kept: PipelineSettings = config.parse(self.settings, PipelineSettings, where=SECTION)
        _check(_plain_prior(kept), _plain_prior(found), where)
        return kept

    def fill(self, tokenizer: Tokenizer, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return weights with the tensors kept.

        Where they were lost on the way, entries count as evenly used.
        """
        return {**own_tensors(tokenizer), **weights, **self.tensors}


def own_tensors(tokenizer: Tokenizer) -> dict[str, Tensor]:
    """Return the tensors that no other project's tokenizer has, by our names."""
    state = tokenizer.state_dict()
    return {name: tensor for name, tensor in state.items() if name.endswith(_USAGE)}


def _check(kept: Any, found: Any, where: str) -> None:
    if kept != found:
        remedy = f"take the section {SECTION} out of that file, if the rest of it is right"
        raise UserError(f"one model in {where}", f"another in its section {SECTION}", remedy)


def _plain(how: TokenizerSettings) -> Any:
    """Return what the formats have words for."""
    quantizer, network = how.quantizer, how.network
    used = quantizer.used if isinstance(quantizer, RemappedSettings) else None
    inner = quantizer.inner if isinstance(quantizer, RemappedSettings) else quantizer
    sizes = replace(network, dropout=0.0) if isinstance(network, NetworkSettings) else network
    return sizes, inner.kind, getattr(inner, "codebook_size", 0), used, how.image_range


def _plain_prior(how: PipelineSettings) -> Any:
    prior, unmasked = how.prior, getattr(how.prior, "unmasked", 0)
    sizes = [getattr(prior, name, None) for name in _SIZES]
    # one unmasked token alone is none
    return (
        how.order, how.grid, sizes, unmasked if unmasked > 1 else 0,
        [getattr(how.condition, name, None) for name in _TOLD],
    )  # fmt: skip
