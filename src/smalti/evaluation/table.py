"""Records as text: the table of one evaluation, and one table of several."""

from collections.abc import Mapping, Sequence
from typing import Any

from smalti.evaluation.record import Number, Record, unlike_numbers

ARROWS = {"higher": "up", "lower": "down", "": ""}


def of_one(record: Record) -> str:
    """Return a table of the numbers of a record, what to hold each against, and its notes."""
    return "\n".join([*_aligned(rows(record)), *record.notes])


def rows(record: Record) -> list[tuple[str, ...]]:
    """Return the header and the rows of a record's table; without the last column where it is empty."""
    found = [("number", "value", "better", "images", "beside")]
    for name, one in record.numbers.items():
        found.append((name, shown(one), ARROWS[one.better], counts(one), beside(one)))
    columns = 5 if any(row[-1] for row in found[1:]) else 4  # beside reconstructions stands nothing
    return [row[:columns] for row in found]


def of_several(records: Mapping[str, Record]) -> str:
    """Return one table with a column a record, of the numbers that were measured in the same way.

    records: by name. Below the numbers stands what differs between the subjects: model, seed, guidance; below
    the table, which numbers are left out, and why. UserError where none is left.
    """
    apart = unlike_numbers(records)
    named = dict.fromkeys(name for record in records.values() for name in record.numbers)
    numbers = [name for name in named if name not in apart]
    lines = [("", *records)]
    for name in numbers:
        found = [record.numbers.get(name) for record in records.values()]
        lines.append((name, *("-" if number is None else shown(number) for number in found)))
    subjects = [flat(record.subject) for record in records.values()]
    for key in dict.fromkeys(key for subject in subjects for key in subject):
        values = [str(subject.get(key, "-")) for subject in subjects]
        if len(set(values)) > 1 or key == "model":
            lines.append((key, *values))
    return "\n".join([*_aligned(lines), *(f"without {name}: {why}" for name, why in apart.items())])


def shown(number: Number) -> str:
    """Return a value with four digits, and its standard error."""
    error = "" if number.error is None else f" +- {number.error:.2g}"
    return f"{number.value:.4g}{error}"


def beside(number: Number) -> str:
    """Return what a number may be held against, in words."""
    return ", ".join(f"{value:.4g} {what}" for what, value in number.beside.items())


def counts(number: Number) -> str:
    """Return how many images a number is of: judged, and real where these are not as many."""
    count, real = number.protocol["count"], number.protocol["reference"]["count"]
    return str(count) if count == real else f"{count} / {real}"


def flat(mapping: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return a mapping of mappings as one, keys with dots."""
    found: dict[str, Any] = {}
    for key, value in mapping.items():
        path = f"{above}.{key}" if above else key
        found |= flat(value, path) if isinstance(value, Mapping) else {path: value}
    return found


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
