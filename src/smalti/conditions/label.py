"""A class label: one token, the number of the class."""

from typing import Any, Literal

import torch
from jaxtyping import Int64
from torch import Tensor

from smalti.conditions.classes import Classes, Numbers, check_names, plain
from smalti.conditions.hiding import Hiding
from smalti.conditions.prompt import SamePrompt
from smalti.conditions.protocol import Codec
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
        check_names(self.classes, self.names)


class LabelCondition:
    """Takes a class by name or number. With dropout one more token says that no label is given."""

    argument: str | None = "label"
    shift = 0

    def __init__(self, settings: LabelSettings, tokenizer: Codec | None = None) -> None:
        self.names = settings.names
        self.classes = Classes(settings.classes, settings.names)
        self.hiding = Hiding(what="labels", share=settings.dropout, token=settings.classes)
        self.vocabulary = settings.classes + self.hiding.extra

    def length(self, grid: tuple[int, int]) -> int:
        """One token."""
        return 1

    def encode(self, value: Any, *, num: int, grid: tuple[int, int], device: torch.device) -> SamePrompt:
        """A class (its name or number) for all canvases, or a sequence, array or tensor of num of them.

        A class that is called 2 is given by 2 and by "2"; where none is, that is the number of one. `Numbers`
        are numbers alone. UserError for a label that is missing, unknown or out of range, and for another
        count than num.
        """
        if value is None:
            raise UserError("a label", "none", f"give label= {self.classes.known()}")
        known = Classes(self.classes.count) if isinstance(value, Numbers) else self.classes
        numbers = [known.number(one) for one in _each(value, num)]
        if len(numbers) != num:
            raise UserError(f"one label, or {num} of them", f"{len(numbers)}", "give one for each picture")
        return SamePrompt(prefix=torch.tensor(numbers, dtype=torch.int64, device=device)[:, None])

    def null(self, *, num: int, grid: tuple[int, int], device: torch.device) -> SamePrompt:
        """The token of "no label"; UserError if training never showed it."""
        return self.hiding.null(num=num, length=1, device=device)

    def vary(self, prefix: Int64[Tensor, "b m"], generator: torch.Generator) -> Int64[Tensor, "b m"]:
        """The prefix with a share `dropout` of the labels replaced by "no label"."""
        return self.hiding.hide(prefix, generator)

    def count(self, value: Any) -> int | None:
        """As many as there are labels in a sequence."""
        given = plain(value)
        return len(given) if isinstance(given, list) else None

    def describe(self, value: Any, *, num: int) -> list[Any]:
        """The labels as they were given."""
        return _each(value, num)


def _each(value: Any, num: int) -> list[Any]:
    given = plain(value.of if isinstance(value, Numbers) else value)
    return given if isinstance(given, list) else [given] * num
