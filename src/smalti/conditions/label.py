"""A class label: one token, the number of the class."""

import difflib
import operator
from collections.abc import Iterable
from typing import Any, Literal

import torch
from jaxtyping import Int64
from torch import Tensor

from smalti.conditions.prompt import SamePrompt
from smalti.config import Positive, Share, settings
from smalti.errors import UserError


@settings
class LabelSettings:
    """The classes, and how often training hides them."""

    kind: Literal["label"] = "label"
    classes: Positive  # how many
    names: tuple[str, ...] = ()  # by number; empty where the classes have none
    dropout: Share = 0.0  # of pictures shown without their label; above 0 the model can be guided

    def __post_init__(self) -> None:
        if self.names and len(set(self.names)) != self.classes:
            got = f"{len(self.names)} names, {len(set(self.names))} of them different"
            raise UserError(
                f"{self.classes} different names of classes, or none", got, "mend condition.names"
            )


class LabelCondition:
    """Takes a class by name or number. With dropout one more token says that no label is given."""

    argument: str | None = "label"

    def __init__(self, settings: LabelSettings) -> None:
        self.classes, self.names, self.dropout = settings.classes, settings.names, settings.dropout
        self.vocabulary = settings.classes + (settings.dropout > 0)
        self.length = 1

    def encode(self, value: Any, *, num: int, grid: tuple[int, int], device: torch.device) -> SamePrompt:
        """A class (its name or number) for all canvases, or a sequence or Int64 tensor of num of them.

        A word that is no class's name but a whole number counts as that number. UserError for a label that
        is missing, unknown or out of range, and for another count than num.
        """
        if value is None:
            raise UserError("a label", "none", f"give label= {self._known()}")
        if isinstance(value, Tensor):
            value = value.tolist()
        if isinstance(value, str) or not isinstance(value, Iterable):
            numbers = [self._number(value)] * num
        else:
            numbers = [self._number(one) for one in value]
        if len(numbers) != num:
            raise UserError(f"one label, or {num} of them", f"{len(numbers)}", "give one for each picture")
        return SamePrompt(prefix=torch.tensor(numbers, dtype=torch.int64, device=device)[:, None])

    def null(self, *, num: int, grid: tuple[int, int], device: torch.device) -> SamePrompt:
        """The token of "no label"; UserError if training never showed it."""
        if not self.dropout:
            remedy = "leave guidance at 1, or train with condition.dropout=0.1"
            raise UserError("a model that was trained without labels at times", "dropout 0", remedy)
        return SamePrompt(prefix=torch.full((num, 1), self.classes, device=device))

    def drop(self, prefix: Int64[Tensor, "b m"], generator: torch.Generator) -> Int64[Tensor, "b m"]:
        """The prefix with a share `dropout` of the labels replaced by "no label"."""
        draws = torch.rand(len(prefix), 1, generator=generator, device=generator.device)
        return prefix.masked_fill((draws < self.dropout).to(prefix.device), self.classes)

    def _number(self, label: Any) -> int:
        if isinstance(label, str) and label in self.names:
            return self.names.index(label)
        try:
            number = int(label) if isinstance(label, str) else operator.index(label)
        except (TypeError, ValueError):
            near = difflib.get_close_matches(str(label), self.names, n=1)
            remedy = f"did you mean {near[0]}?" if near else f"give {self._known()}"
            raise UserError("the name or number of a class", repr(label), remedy) from None
        if not 0 <= number < self.classes:
            raise UserError(
                f"a class number from 0 to {self.classes - 1}", str(number), f"give {self._known()}"
            )
        return number

    def _known(self) -> str:
        numbers = f"a number from 0 to {self.classes - 1}"
        if not self.names:
            return numbers
        more = ", ..." if len(self.names) > 5 else ""
        return f"{numbers}, or a name: {', '.join(self.names[:5])}{more}"
