"""How latents become codes: the members by kind."""

from typing import Annotated, Any

from pydantic import Discriminator, Tag

from smalti.quantizers.ema import EmaQuantizer, EmaSettings
from smalti.quantizers.gaussian import GaussianQuantizer, GaussianSettings
from smalti.quantizers.gumbel import GumbelQuantizer, GumbelSettings
from smalti.quantizers.protocol import kind_of
from smalti.quantizers.remap import RemappedQuantizer, RemappedSettings
from smalti.quantizers.vq import VectorQuantizer, VectorQuantizerSettings

QuantizerSettings = Annotated[
    Annotated[VectorQuantizerSettings, Tag("vq")]
    | Annotated[GumbelSettings, Tag("gumbel")]
    | Annotated[EmaSettings, Tag("ema")]
    | Annotated[RemappedSettings, Tag("remapped")]
    | Annotated[GaussianSettings, Tag("gaussian")],
    Discriminator(kind_of),
]

QUANTIZERS: dict[str, tuple[type[Any], type[Any]]] = {
    "vq": (VectorQuantizerSettings, VectorQuantizer),
    "gumbel": (GumbelSettings, GumbelQuantizer),
    "ema": (EmaSettings, EmaQuantizer),
    "remapped": (RemappedSettings, RemappedQuantizer),
    "gaussian": (GaussianSettings, GaussianQuantizer),
}

__all__ = ["QUANTIZERS", "QuantizerSettings"]
