"""Numbers with their protocol: what is kept of an evaluation, and which records may stand in one table."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from smalti.errors import UserError
from smalti.imaging import write_whole

FORMAT = "smalti metrics 1"
FILE = "metrics.json"


@dataclass(frozen=True, kw_only=True)
class Number:
    """One number, what to hold it against, and how it was measured."""

    value: float
    title: str  # for a person: what it is, and its unit
    better: str = ""  # higher, lower; "": neither
    error: float | None = None  # its standard error
    beside: Mapping[str, float] = field(default_factory=dict)  # the same of other things, in words
    # all that must be equal for two such numbers to be compared: plain values, in mappings
    protocol: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Record:
    """An evaluation: what was evaluated and how it was drawn, and its numbers by name."""

    subject: Mapping[str, Any]  # plain values: what may differ between records that are compared
    numbers: Mapping[str, Number]
    notes: Sequence[str] = ()  # what a person should know: left out, too few

    def save(self, folder: Path) -> Path:
        """Write metrics.json into a folder; returns its path."""
        path = folder / FILE
        text = json.dumps({"format": FORMAT, **asdict(self)}, indent=2, allow_nan=False)
        write_whole(path, f"{text}\n".encode())
        return path


def read(path: Path) -> Record:
    """Return the record in a metrics.json, or in a folder that holds one; UserError for anything else."""
    file = path / FILE if path.is_dir() else path
    remedy = f"give the {FILE} that smalti evaluate wrote"
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as problem:
        why = f"({problem.strerror})" if isinstance(problem, OSError) else "which is no JSON"
        raise UserError("a record of an evaluation", f"{file} {why}", remedy) from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        said = found.get("format") if isinstance(found, dict) else type(found).__name__
        raise UserError(f"a record of format {FORMAT!r}", f"{said!r} in {file}", remedy)
    try:
        numbers = {name: Number(**number) for name, number in found["numbers"].items()}
        return Record(subject=dict(found["subject"]), numbers=numbers, notes=tuple(found["notes"]))
    except (KeyError, TypeError, AttributeError, ValueError) as problem:
        got = f"{file}, which is not whole ({type(problem).__name__}: {problem})"
        raise UserError("a record of an evaluation", got, remedy) from None


def unlike_numbers(records: Mapping[str, Record]) -> dict[str, str]:
    """Return the numbers that were not measured in the same way, each with the first field that differs.

    records: by a name for each. UserError where no number that two have can be compared.
    """
    first: dict[str, tuple[str, Number]] = {}
    apart: dict[str, str] = {}
    for name, record in records.items():
        for number, found in record.numbers.items():
            other, before = first.setdefault(number, (name, found))
            field = unlike(before.protocol, found.protocol)
            if field is not None:
                left, right = (_at(one.protocol, field) for one in (before, found))
                apart.setdefault(number, f"{field} of {number} is {left} in {other} and {right} in {name}")
    common = [one for one in first if all(one in record.numbers for record in records.values())]
    if len(records) > 1 and not common:
        got = " and ".join(f"{name} with {', '.join(list(one.numbers)[:3])}" for name, one in records.items())
        raise UserError("records with a number in common", got, "evaluate them with the same --metrics")
    if len(records) > 1 and not set(common) - apart.keys():
        got = next(apart[one] for one in common)
        raise UserError("records of one protocol", got, "evaluate both anew in the same way")
    return apart


def unlike(a: Any, b: Any, above: str = "") -> str | None:
    """Return the first field, keys with dots, in which two protocols differ; None: none."""
    if not (isinstance(a, Mapping) and isinstance(b, Mapping)):
        return None if _equal(a, b) else above
    for key in dict.fromkeys((*a, *b)):
        path = f"{above}.{key}" if above else str(key)
        found = unlike(a[key], b[key], path) if key in a and key in b else path
        if found is not None:
            return found
    return None


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-12)
    return bool(a == b)


def _at(protocol: Any, field: str) -> Any:
    for key in field.split("."):
        protocol = protocol.get(key, "not there") if isinstance(protocol, Mapping) else "not there"
    return protocol
