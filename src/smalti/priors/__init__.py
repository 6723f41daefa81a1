"""Who knows how codes lie beside each other: the members by kind."""

from typing import Annotated, Any

from smalti.priors.gpt import GPT, GPTSettings
from smalti.priors.llamagen import LlamaGen, LlamaGenSettings
from smalti.priors.masked import Masked, MaskedSettings
from smalti.priors.modern import Modern, ModernSettings
from smalti.priors.neighbourhood import Neighbourhood, NeighbourhoodSettings
from smalti.priors.pixelsnail import PixelSNAIL, PixelSNAILSettings
from smalti.schema import Shelf

PRIORS: dict[str, tuple[type[Any], type[Any]]] = {
    "gpt": (GPTSettings, GPT),
    "modern": (ModernSettings, Modern),
    "llamagen": (LlamaGenSettings, LlamaGen),
    "masked": (MaskedSettings, Masked),
    "neighbourhood": (NeighbourhoodSettings, Neighbourhood),
    "pixelsnail": (PixelSNAILSettings, PixelSNAIL),
}

PriorSettings = Annotated[Any, Shelf(PRIORS)]

__all__ = ["PRIORS", "PriorSettings"]
