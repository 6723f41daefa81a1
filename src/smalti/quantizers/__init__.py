"""How latents become codes: the members by kind."""

from typing import Any

from smalti.quantizers.vq import VectorQuantizer, VectorQuantizerSettings

# the second member makes this Annotated[A | B, Field(discriminator="kind")], with Field from pydantic
QuantizerSettings = VectorQuantizerSettings

QUANTIZERS: dict[str, tuple[type[Any], type[Any]]] = {
    "vq": (VectorQuantizerSettings, VectorQuantizer),
}

__all__ = ["QUANTIZERS", "QuantizerSettings"]
