"""Who knows how codes lie beside each other: the members by kind."""

from typing import Annotated, Any

from smalti.priors.passes import Passes
from smalti.schema import Line, Members, Shelf

PRIORS = Members(
    __name__,
    {
        "gpt": Line("gpt", "GPTSettings", "GPT"),
        "modern": Line("modern", "ModernSettings", "Modern"),
        "llamagen": Line("llamagen", "LlamaGenSettings", "LlamaGen"),
        "masked": Line("masked", "MaskedSettings", "Masked", Passes),
        "neighbourhood": Line("neighbourhood", "NeighbourhoodSettings", "Neighbourhood"),
        "pixelsnail": Line("pixelsnail", "PixelSNAILSettings", "PixelSNAIL"),
    },
)

PriorSettings = Annotated[Any, Shelf(PRIORS)]

__all__ = ["PRIORS", "PriorSettings"]
