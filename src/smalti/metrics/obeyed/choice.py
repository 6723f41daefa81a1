"""Which judge a model's condition has."""

from collections.abc import Callable
from typing import Any

from jaxtyping import Float
from torch import Tensor

from smalti.features.protocol import Space
from smalti.metrics.obeyed.boxes import Boxes
from smalti.metrics.obeyed.depth import Depth
from smalti.metrics.obeyed.edges import Edges, lines
from smalti.metrics.obeyed.label import Label
from smalti.metrics.obeyed.low_resolution import LowResolution
from smalti.metrics.obeyed.protocol import Judge
from smalti.metrics.obeyed.segmentation import Segmentation

_EXTREME = 0.05  # of a map's range: values so near to its darkest or lightest are one of the two
_TWO = 0.98  # of the values of a map that has but two
_THIN = 0.4  # of a map's places that are lines at most


def judge_of(condition: Any, space: Space, conditions: Any) -> Judge | None:
    """Return what tells whether images obey a model's condition; None: nothing does.

    condition: the model's `Condition`. space: by whose features judges see. conditions: some of those that
    images are drawn of, as `Condition.from_batch` gives them: of maps that are no classes they tell the kind.
    """
    made = _JUDGES.get(condition.argument)
    return None if made is None else made(condition, space, conditions)


def _of_map(condition: Any, space: Space, maps: Float[Tensor, "b c H W"]) -> Judge:
    """Classes, edges, depth or low resolution."""
    if condition.of_classes:
        return Segmentation(space, condition.tokenizer.channels)
    if has_lines(maps):
        return Edges()
    return Depth(space) if condition.tokenizer.channels == 1 else LowResolution()


def has_lines(maps: Float[Tensor, "b c H W"]) -> bool:
    """Return whether maps are of edges: light lines on dark, and hardly a value between the two."""
    low, high = maps.min(), maps.max()
    near = _EXTREME * (high - low)
    of_two = ((maps <= low + near) | (maps >= high - near)).double().mean().item()
    return bool(high > low) and of_two >= _TWO and lines(maps).double().mean().item() <= _THIN


_JUDGES: dict[str, Callable[[Any, Space, Any], Judge]] = {  # by the condition's argument
    "label": lambda condition, space, conditions: Label(space),
    "map": _of_map,
    "boxes": lambda condition, space, conditions: Boxes(space, condition.settings.classes),
    "points": lambda condition, space, conditions: Boxes(space, condition.settings.classes),
}
