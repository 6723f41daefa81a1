"""What a prior can be told: the members by kind."""

from typing import Annotated, Any

from pydantic import Field

from smalti.conditions.label import LabelCondition, LabelSettings
from smalti.conditions.none import NoCondition, NoConditionSettings

ConditionSettings = Annotated[NoConditionSettings | LabelSettings, Field(discriminator="kind")]

CONDITIONS: dict[str, tuple[type[Any], type[Any]]] = {
    "none": (NoConditionSettings, NoCondition),
    "label": (LabelSettings, LabelCondition),
}

__all__ = ["CONDITIONS", "ConditionSettings"]
