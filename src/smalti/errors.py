"""Mistakes of the user, and packages that belong to an extra."""

import importlib
from types import ModuleType
from typing import Any

_LONGEST = 1000  # characters of a part of an error


class UserError(Exception):
    """A mistake of the user. Commands print it on stderr, without a traceback, and exit with 2."""

    def __init__(self, expected: str, got: str, remedy: str) -> None:
        super().__init__(*map(_line, (expected, got, remedy)))  # all three in args, so that it pickles

    @property
    def expected(self) -> str:
        """Return what would have been right."""
        return self.args[0]

    @property
    def got(self) -> str:
        """Return what came."""
        return self.args[1]

    @property
    def remedy(self) -> str:
        """Return what to do, in words that can be typed."""
        return self.args[2]

    def __str__(self) -> str:
        return "expected {}, got {}; {}".format(*self.args)


def shown(value: Any) -> str:
    """Return a value that came, for `got`.

    In one line, its type beside what does not tell it, and not at length.
    """
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{type(value).__name__} {value.dtype} {tuple(value.shape)}"
    text = " ".join(repr(value).split())
    text = text if len(text) <= 60 else f"{text[:57]}..."
    return text if isinstance(value, str | int | float | None) else f"{type(value).__name__} {text}"


def _line(part: str) -> str:
    """Return a part of an error in one line, not at length, as a terminal and JSON can show it.

    Names and values of files are in it, which may hold anything.
    """
    text = part
    if not part.isprintable():
        words = " ".join(filter(None, map(str.strip, part[:_LONGEST].splitlines())))
        text = "".join(one if one.isprintable() else " " if one.isspace() else _escaped(one) for one in words)
    text = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
    return text or ascii(part)  # of nothing but spaces and line ends


def _escaped(sign: str) -> str:
    return sign.encode("unicode_escape").decode()


def optional(module: str, *, extra: str) -> ModuleType:
    """Import a package that belongs to an extra, at the place where it is used."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as problem:
        if problem.name != module.partition(".")[0]:  # there but broken: its own traceback
            raise
        raise UserError(f"the package {module}", "none", f"pip install 'smalti[{extra}]'") from None
