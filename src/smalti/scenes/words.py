"""Captions: what is to be seen, in words that are true of it."""

from collections.abc import Sequence
from typing import NamedTuple

_APART = 0.12  # of the image's width, between middles: above it one thing is left of another
_NEARER = 0.8  # metres


class Name(NamedTuple):
    """The words for a thing; empty where there are none."""

    kind: str
    size: str
    pattern: str
    colour: str
    shirt: str = ""
    trousers: str = ""
    action: str = ""

    def text(self) -> str:
        """Return all that is said of it: a small striped red sphere."""
        if self.action:
            return f"a person in {_article(self.shirt)} shirt and {self.trousers} trousers {self.action}"
        pattern = "" if self.pattern == "plain" else self.pattern
        return _article(" ".join(filter(None, (self.size, pattern, self.colour, self.kind))))

    def short(self) -> str:
        """Return what it is, with what tells it from others: a red sphere, a person kicking."""
        return f"a person {self.action}" if self.action else _article(f"{self.colour} {self.kind}")


class Said(NamedTuple):
    """A thing as captions tell of it: where its middle is, in shares of the image, and how far away."""

    name: Name
    x: float
    depth: float


def captions(things: Sequence[Said], ground: str) -> tuple[str, ...]:
    """Return three captions of things, of which the first is the main one: long, by places, short."""
    if not things:
        return (f"nothing on {_article(ground)}",)
    listed = _listed([thing.name.text() for thing in things])
    found = [f"{listed} on {_article(ground)}"]
    if len(things) > 1:
        others: dict[str, list[str]] = {}
        for other in things[1:]:
            others.setdefault(relation(things[0], other), []).append(other.name.short())
        found.append(
            f"{things[0].name.text()} {_listed([f'{way} {_listed(names)}' for way, names in others.items()])}"
        )
    found.append(_listed([thing.name.short() for thing in things]))
    return tuple(dict.fromkeys(found))


def relation(one: Said, other: Said) -> str:
    """Return where one thing is, seen from another: left of, right of, in front of, behind or beside."""
    if abs(one.x - other.x) > _APART:
        return "left of" if one.x < other.x else "right of"
    if abs(one.depth - other.depth) > _NEARER:
        return "in front of" if one.depth < other.depth else "behind"
    return "beside"


def _article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
