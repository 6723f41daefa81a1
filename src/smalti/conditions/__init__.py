"""What a prior can be conditioned on: the members by kind."""

from typing import Annotated, Any

from smalti.conditions.boxes import BoxesCondition, BoxesSettings
from smalti.conditions.coordinates import CoordinatesCondition, CoordinatesSettings
from smalti.conditions.label import LabelCondition, LabelSettings
from smalti.conditions.map import MapCondition, MapSettings
from smalti.conditions.none import NoCondition, NoConditionSettings
from smalti.conditions.points import PointsCondition, PointsSettings
from smalti.schema import Shelf

CONDITIONS: dict[str, tuple[type[Any], type[Any]]] = {
    "none": (NoConditionSettings, NoCondition),
    "label": (LabelSettings, LabelCondition),
    "map": (MapSettings, MapCondition),
    "coordinates": (CoordinatesSettings, CoordinatesCondition),
    "boxes": (BoxesSettings, BoxesCondition),
    "points": (PointsSettings, PointsCondition),
}

ConditionSettings = Annotated[Any, Shelf(CONDITIONS)]

__all__ = ["CONDITIONS", "ConditionSettings"]
