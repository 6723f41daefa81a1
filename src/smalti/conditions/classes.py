"""Classes by number, and by name where they have names."""

import difflib
import operator
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from typing import Any

from smalti.conditions.protocol import Condition
from smalti.errors import UserError


@dataclass(frozen=True)
class Classes:
    """count classes with numbers 0 .. count - 1; names by number, or none."""

    count: int
    names: tuple[str, ...] = ()

    def number(self, label: Any) -> int:
        """Return the number of a class given by name or number; a word that is no name may be a whole number.

        A name that is there wins: 2 and "2" are the class called 2, or the one called 02, where there is one,
        else class number 2. UserError for what is neither, and for a number out of range.
        """
        named = self.named(label)
        if named is not None:
            return named
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

    def named(self, label: Any) -> int | None:
        """Return the number of the class that is called so, by a word or a whole number; None: none is."""
        if isinstance(label, str):
            found = self._by_name.get(label)
            return self._by_value.get(int(label)) if found is None and _is_whole(label) else found
        if not isinstance(label, Integral):
            return None
        found = self._by_name.get(str(int(label)))
        return self._by_value.get(int(label)) if found is None else found

    @cached_property
    def _by_name(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.names)}

    @cached_property
    def _by_value(self) -> dict[int, int]:
        """Find by what a name says as a number, where no other name says the same: 007 and 7 are two."""
        whole = [(int(name), number) for number, name in enumerate(self.names) if _is_whole(name)]
        counts = Counter(value for value, _ in whole)
        return {value: number for value, number in whole if counts[value] == 1}

    def known(self) -> str:
        """Return what may be given, in words."""
        numbers = f"a number from 0 to {self.count - 1}"
        if not self.names:
            return numbers
        more = ", ..." if len(self.names) > 5 else ""
        return f"{numbers}, or a name: {', '.join(self.names[:5])}{more}"


class ByClass(Condition):
    """What conditions share that tell things by their classes, which are those of the data."""

    @classmethod
    def settle(cls, mapping: Mapping[str, Any], classes: Sequence[str], root: str) -> dict[str, Any]:
        """See Condition: the classes, unless the recipe has its own."""
        if "classes" in mapping:
            return dict(mapping)
        if not classes:
            remedy = "put each class into a sub-folder of its own, or give 'condition={kind: none}'"
            raise UserError(
                f"images with classes for condition.kind={cls.argument}", f"none in {root}", remedy
            )
        return {**mapping, "classes": len(classes), "names": list(classes)}

    @classmethod
    def needs(cls, settings: Any, data: Any, reader: Any) -> None:
        """See Condition. A class is its number: one known by name must have the same in the data."""
        numbers = {name: number for number, name in enumerate(settings.names)}
        for number, name in enumerate(reader.classes):
            if numbers.get(name, number) != number:
                expected = f"the class {name} as number {numbers[name]}, as condition.names has it"
                remedy = "give data with a folder for each of the model's classes, or other condition.names"
                raise UserError(expected, f"number {number} in the data", remedy)


def _is_whole(name: str) -> bool:
    return name.isascii() and name.isdecimal()


def plain(value: Any) -> Any:
    """Return classes without numpy's and torch's types, which do not fit into a file."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        return value
    return [one.item() if hasattr(one, "item") else one for one in value]


def check_names(count: int, names: Sequence[str]) -> None:
    """UserError unless there is a different name for each class, or none at all."""
    if names and len(set(names)) != count:
        got = f"{len(names)} names, {len(set(names))} of them different"
        raise UserError(f"{count} different names of classes, or none", got, "mend condition.names")
