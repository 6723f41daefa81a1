"""Which judge a model's condition has."""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from smalti.features.protocol import Space
from smalti.metrics.obeyed import JUDGES
from smalti.metrics.obeyed.edges import lines
from smalti.metrics.obeyed.protocol import Judge

_LIKE = {"points": "boxes"}  # by a judge of another kind
JUDGED = {*JUDGES, *_LIKE, "map"}  # keywords of conditions that have a judge
_EXTREME = 0.05  # of a map's range: values so near to its darkest or lightest are one of the two
_TWO = 0.98  # of the values of a map that has but two
_THIN = 0.4  # of a map's places that are lines at most


def judge_of(condition: Any, space: Space, conditions: Any) -> Judge | None:
    """Return what tells whether images obey a model's condition; None: nothing does.

    condition: the model's `Condition`. space: by whose features judges see. conditions: some of those that
    images are drawn of, as `Condition.from_batch` gives them: of maps that are no classes they tell the kind.
    """
    kind = _LIKE.get(condition.argument, condition.argument)
    name = _of_map(condition, conditions) if kind == "map" else kind
    return JUDGES[name].of(condition, space) if name in JUDGES else None


def unjudged(condition: Any) -> list[str]:
    """Return the names of those of a model's conditions that no judge tells of."""
    return [name for name, one in condition.named.items() if one.argument not in JUDGED]


def most_learned(condition: Any) -> int:
    """Return how many training pairs the judges of a model's condition, or of those it joins, learn from."""
    kinds = [one.argument for one in condition.named.values()]  # a map's judges are of other names
    return max([Judge.most, *(JUDGES[kind].most for kind in kinds if kind in JUDGES)])


def has_lines(maps: Float[Tensor, "b c H W"]) -> bool:
    """Return whether maps are of edges: light lines on dark, and hardly a value between the two."""
    low, high = maps.min(), maps.max()
    near = _EXTREME * (high - low)
    of_two = ((maps <= low + near) | (maps >= high - near)).double().mean().item()
    return bool(high > low) and of_two >= _TWO and lines(maps).double().mean().item() <= _THIN


def _of_map(condition: Any, maps: Any) -> str:
    if condition.compute is not None:
        return condition.compute.settings.kind
    if condition.of_classes:
        return "segmentation"
    if has_lines(maps):
        return "edges"
    return "depth" if condition.tokenizer.channels == 1 else "low_resolution"
