"""What canvases are told: values, guidance and a mixture of two values become contexts with weights.

Let c be the logits under all that is said, c_i those under condition i alone, u those under nothing. Codes
are drawn from

    c + sum_i (s_i - 1) (c_i - u)  =  u + sum_i s_i (c_i - u) + (c - u - sum_i (c_i - u))

with a scale for each condition, and from c + (s - 1) (c - u) = u + s (c - u) with one scale for all of them
together. With one condition both are u + s (c - u). Scales of 1 leave c, which is p(codes | all) in one pass.
The last brackets hold what conditions say only together; where they say it independently of one another they
are 0, and this is u + sum_i s_i (c_i - u) as in arXiv:2206.01714. That alone would not be p(codes | all) at
scales of 1, though the model has learned it, and would leap between 1 and whatever is next to it.
arXiv:2211.09800 (section 3.2.1) keeps it by telling one condition after the other; here none comes first.

A mixture of values a and b with share t is (1 - t) of the logits under a and t of those under b, each guided:
so the weights of a's contexts are multiplied by 1 - t, those of b's by t, cell by cell if t varies.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from smalti.conditions.context import Context
from smalti.conditions.protocol import Condition, Known
from smalti.drawing.guidance import Weight, Weighted
from smalti.errors import UserError, shown

RAMPS = ("left-right", "top-bottom")
Scales = float | Mapping[str, float]  # of all conditions together, or of some by keyword
_EXAMPLE = "for example mix=0.3, or mix=left-right"


@dataclass(frozen=True, kw_only=True)
class Told:
    """All that canvases are told, see `Guided`."""

    weighted: Sequence[Weighted]
    null: Context | None = None

    def take(self, rows: Int64[Tensor, " r"]) -> "Told":
        """Return what some of the canvases are told."""
        found = [one._replace(context=one.context.take(rows)) for one in self.weighted]
        return Told(weighted=found, null=self.null and self.null.take(rows))

    def __len__(self) -> int:
        return len(self.weighted) + (self.null is not None)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Which canvases are told."""

    num: int
    grid: tuple[int, int]
    window: tuple[int, int]  # cells that the prior looks through
    device: torch.device

    def of(self, grid: tuple[int, int]) -> dict[str, Any]:
        """Return it as methods of conditions take it, for canvases or windows of so many cells."""
        return {"num": self.num, "grid": grid, "device": self.device}


def tell(condition: Condition, given: Mapping[str, Any], scales: Scales, mix: Any, place: Place) -> Told:
    """Return what canvases are told.

    given: values by keyword. mix: None, or the share of the second of two values, see `shares`. UserError
    for values that the condition refuses, and for guidance that the model was not trained for.
    """
    mixed: frozenset[str] = frozenset() if mix is None else frozenset(pairs(condition, given))
    weights: Sequence[Weight] = (1.0,) if mix is None else shares(mix, place)
    ends = [{**given, **{name: given[name][end] for name in mixed}} for end in range(len(weights))]
    # says first what is wrong with a value
    contexts = [condition.context(condition.asked(end), **place.of(place.grid)) for end in ends]
    loose = frozenset(condition.loose)
    said = frozenset(name for name in loose if given.get(name) is not None)
    groups, narrow = list(_groups(condition, said, scales, place)), place.of(place.window)
    if groups and mixed - loose:
        got = f"one of {', '.join(sorted(mixed - loose))}"
        raise UserError("a mixture of what can be left out, to guide it", got, "leave guidance_scale at 1")
    found = []
    for names, (weight, plain) in _scaled(said, groups).items():
        varies = mixed & names or mixed - loose
        for end, share in enumerate(weights) if varies else [(0, 1.0)]:
            if isinstance(share, Tensor) or share:
                told = condition.without(contexts[end], said - names, **narrow)
                found.append(Weighted(told, share * weight, share * plain))
    return Told(weighted=found, null=condition.without(contexts[0], loose, **narrow) if groups else None)


def pairs(condition: Condition, given: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the keywords under which two values are given, to be mixed; UserError for other counts."""
    counts = {name: one.count(given[name]) for name, one in condition.named.items() if name in given}
    odd = next((count for count in counts.values() if count not in (None, 1, 2)), None)
    found = tuple(name for name, count in counts.items() if count == 2)
    if odd is not None or not found:
        names = " or ".join(condition.named) or "none: this model is told nothing"
        remedy = "give the first and the second, or leave mix out"
        raise UserError(f"two values to mix, of {names}", str(odd or "no two"), remedy)
    return found


def shares(mix: Any, place: Place) -> tuple[Weight, Weight]:
    """Return the shares of the first and of the second value, which sum to 1.

    mix: that of the second: a number from 0 to 1; "left-right" or "top-bottom", by which it rises from 0 in
    the first column or row of cells to 1 in the last; or an array or tensor (h w) of one for each cell.
    """
    rows, columns = place.grid
    if isinstance(mix, str) and mix in RAMPS:
        across = torch.linspace(0, 1, columns)[None].expand(rows, -1)
        down = torch.linspace(0, 1, rows)[:, None].expand(-1, columns)
        return _by_cell(across if mix == RAMPS[0] else down, place)
    try:
        second = torch.as_tensor(float(mix) if isinstance(mix, str | int) else mix, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise UserError(f"mix as a share or {' or '.join(RAMPS)}", shown(mix), _EXAMPLE) from None
    if second.dim() not in (0, 2) or (second.dim() and tuple(second.shape) != place.grid):
        expected = f"a share for all cells, or of {rows} x {columns} cells, for mix"
        raise UserError(expected, f"a tensor {tuple(second.shape)}", _EXAMPLE)
    if not ((second >= 0) & (second <= 1)).all():  # not a number fails too
        raise UserError("shares from 0 to 1 for mix", shown(mix), _EXAMPLE)
    return _by_cell(second, place) if second.dim() else (1 - second.item(), second.item())


def recorded(condition: Condition, given: Mapping[str, Any], mix: Any, num: int) -> dict[str, Any]:
    """Return what num images were told, by keyword, in plain values, one for each; of a mixture both.

    Nothing of `Known` values, which are those of training: nobody asks how a sheet was made.
    """
    mixed, found = () if mix is None else pairs(condition, given), {}
    for name, value in given.items():
        one = condition.named[name]
        if value is not None and not isinstance(value, Known):
            found[name] = (
                [one.describe(value, num=2)] * num if name in mixed else one.describe(value, num=num)
            )
    if mix is not None:
        plain = isinstance(mix, str | int | float)
        found["mix"] = [mix if plain else f"a tensor {tuple(torch.as_tensor(mix).shape)}"] * num
    return found


def _by_cell(second: Float[Tensor, "h w"], place: Place) -> tuple[Tensor, Tensor]:
    flat = second.flatten().float().to(place.device)
    return 1 - flat, flat


def _groups(
    condition: Condition, said: frozenset[str], scales: Scales, place: Place
) -> Iterator[tuple[frozenset[str], float]]:
    """Give the conditions that are guided together, with their scale; those that are not guided are left out.

    UserError for some that the model does not have, was not trained without, or is not told.
    """
    if not isinstance(scales, Mapping):
        if scales != 1:
            if not condition.loose:
                condition.null(**place.of(place.window))  # says why
            if said:
                yield said, scales
        return
    for name, scale in scales.items():
        if name not in condition.named:
            known = ", ".join(condition.named) or "none"
            raise UserError(f"guidance of the model's conditions: {known}", name, "leave it out")
        if scale == 1:
            continue
        condition.named[name].null(**place.of(place.window))  # says why it cannot be, where it cannot
        if name not in said:
            raise UserError(f"a value of {name}, which is to guide", "none", "give one, or no guidance of it")
        yield frozenset({name}), scale


def _scaled(
    said: frozenset[str], groups: Sequence[tuple[frozenset[str], float]]
) -> dict[frozenset[str], tuple[float, float]]:
    """Return for the conditions of each context that is looked at its weight, and that without guidance."""
    found = {said: (1.0, 1.0)}
    for names, scale in groups:
        found[names] = (scale, 1.0) if names == said else (scale - 1, 0.0)
    return found
