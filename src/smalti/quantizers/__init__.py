"""How latents become codes: the members by kind."""

from typing import Annotated, Any

from smalti.quantizers.ema import EmaQuantizer, EmaSettings
from smalti.quantizers.fsq import FsqQuantizer, FsqSettings
from smalti.quantizers.gaussian import GaussianQuantizer, GaussianSettings
from smalti.quantizers.gumbel import GumbelQuantizer, GumbelSettings
from smalti.quantizers.protocol import CommonSettings
from smalti.quantizers.remap import RemappedQuantizer, RemappedSettings
from smalti.quantizers.vq import VectorQuantizer, VectorQuantizerSettings
from smalti.schema import Shelf

QUANTIZERS: dict[str, tuple[type[Any], type[Any]]] = {
    "vq": (VectorQuantizerSettings, VectorQuantizer),
    "gumbel": (GumbelSettings, GumbelQuantizer),
    "ema": (EmaSettings, EmaQuantizer),
    "fsq": (FsqSettings, FsqQuantizer),
    "remapped": (RemappedSettings, RemappedQuantizer),
    "gaussian": (GaussianSettings, GaussianQuantizer),
}

QuantizerSettings = Annotated[CommonSettings, Shelf(QUANTIZERS, default="vq")]

__all__ = ["QUANTIZERS", "QuantizerSettings"]
