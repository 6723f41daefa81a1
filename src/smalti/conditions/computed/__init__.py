"""Maps that are computed of images: the computations by kind."""

from typing import Annotated, Any

from smalti.conditions.computed.edges import Edges, EdgesSettings
from smalti.conditions.computed.low_resolution import LowResolution, LowResolutionSettings
from smalti.conditions.computed.protocol import Computation
from smalti.conditions.computed.silhouette import Silhouette, SilhouetteSettings
from smalti.schema import Shelf

COMPUTED: dict[str, tuple[type[Any], type[Any]]] = {
    "edges": (EdgesSettings, Edges),
    "silhouette": (SilhouetteSettings, Silhouette),
    "low_resolution": (LowResolutionSettings, LowResolution),
}

ComputeSettings = Annotated[Any, Shelf(COMPUTED)]

__all__ = ["COMPUTED", "ComputeSettings", "computation"]


def computation(settings: Any) -> Computation:
    """Return the computation that settings of the shelf describe."""
    member: type[Computation] = COMPUTED[settings.kind][1]
    return member(settings)
