"""Classes by number, and by name where they have names."""

import difflib
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from smalti.errors import UserError


@dataclass(frozen=True)
class Classes:
    """count classes with numbers 0 .. count - 1; names by number, or none."""

    count: int
    names: tuple[str, ...] = ()

    def number(self, label: Any) -> int:
        """The number of a class given by name or number; a word that is no name may be a whole number.

        UserError for what is neither, and for a number out of range.
        """
        if isinstance(label, str) and label in self.names:
            return self.names.index(label)
        try:
            number = int(label) if isinstance(label, str) else operator.index(label)
        except (TypeError, ValueError):
            near = difflib.get_close_matches(str(label), self.names, n=1)
            remedy = f"did you mean {near[0]}?" if near else f"give {self.known()}"
            raise UserError("the name or number of a class", repr(label), remedy) from None
        if not 0 <= number < self.count:
            expected = f"a class number from 0 to {self.count - 1}"
            raise UserError(expected, str(number), f"give {self.known()}")
        return number

    def known(self) -> str:
        """What may be given, in words."""
        numbers = f"a number from 0 to {self.count - 1}"
        if not self.names:
            return numbers
        more = ", ..." if len(self.names) > 5 else ""
        return f"{numbers}, or a name: {', '.join(self.names[:5])}{more}"


def check_names(count: int, names: Sequence[str]) -> None:
    """UserError unless there is a different name for each class, or none at all."""
    if names and len(set(names)) != count:
        got = f"{len(names)} names, {len(set(names))} of them different"
        raise UserError(f"{count} different names of classes, or none", got, "mend condition.names")
