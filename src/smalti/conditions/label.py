"""A class label: one token, the number of the class."""

from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from smalti.conditions.classes import ByClass, Classes, check_names, plain
from smalti.conditions.context import SameContext
from smalti.conditions.dropout import ConditionDropout
from smalti.conditions.protocol import Codec, Option
from smalti.config import Positive, Share, settings
from smalti.errors import UserError


@settings
class LabelSettings:
    """The classes, and how often training hides them."""

    kind: Literal["label"] = "label"
    classes: Positive  # how many
    names: tuple[str, ...] = ()  # by number; empty where the classes have none
    dropout: Share = 0.0  # of images shown without their label; above 0 the model can be guided

    def __post_init__(self) -> None:
        check_names(self.classes, self.names)


class LabelCondition(ByClass):
    """Takes a class by name or number. With dropout one more token says that no label is given."""

    argument: ClassVar[str | None] = "label"
    option: ClassVar[Option | None] = Option("Class name, or its number where no class is called so.")
    example = "label={!r}"

    def __init__(
        self, settings: LabelSettings, tokenizer: Codec | None = None, part: nn.Module | None = None
    ) -> None:
        super().__init__(settings, tokenizer, part)
        self.names = settings.names
        self.classes = Classes(settings.classes, settings.names)
        self.dropout = ConditionDropout(what="labels", share=settings.dropout, token=settings.classes)
        self.vocabulary = settings.classes + self.dropout.extra

    def length(self, grid: tuple[int, int]) -> int:
        """Return one token."""
        return 1

    def from_user(self, value: Any, *, num: int, grid: tuple[int, int]) -> Int64[Tensor, " b"]:
        """Return class numbers, of a name or number, or of a sequence, array or tensor of num of them.

        A class that is called 2 is given by 2 and by "2"; where none is, that is the number of one. UserError
        for a label that is missing, unknown or out of range, and for another count than num.
        """
        if value is None:
            raise UserError("a label", "none", f"give label= {self.classes.known()}")
        numbers = [self.classes.number(one) for one in self.describe(value, num=num)]
        if len(numbers) != num:
            raise UserError(f"one label, or {num} of them", f"{len(numbers)}", "give one for each image")
        return torch.tensor(numbers, dtype=torch.int64)

    def from_batch(self, batch: Any) -> Int64[Tensor, " b"]:
        """Return the labels, which are numbers whatever the classes are called."""
        assert batch.labels is not None, "needs has looked"
        for number in (int(batch.labels.min()), int(batch.labels.max())):
            Classes(self.classes.count).number(number)
        return batch.labels

    def encode(
        self, value: Int64[Tensor, " b"], *, num: int, grid: tuple[int, int], device: torch.device
    ) -> SameContext:
        """Return a token a canvas."""
        return SameContext(prefix=value.to(device)[:, None])

    @classmethod
    def needs(cls, settings: Any, data: Any, reader: Any) -> None:
        """See Condition: classes, of which the model knows as many, by the same numbers."""
        classes = reader.classes if "label" in reader.gives else ()
        count = len(cls.settle({}, classes, str(data.root))["names"])
        if settings.classes < count:
            expected = f"condition.classes of at least {count}, as many as the data have"
            raise UserError(expected, str(settings.classes), f"condition.classes={count}, or other data")
        super().needs(settings, data, reader)

    def count(self, value: Any) -> int | None:
        """Return how many labels there are in a sequence; None for one label."""
        given = plain(value)
        return len(given) if isinstance(given, list) else None

    def describe(self, value: Any, *, num: int) -> list[Any]:
        """Return the labels as they were given."""
        given = plain(value)
        return given if isinstance(given, list) else [given] * num
