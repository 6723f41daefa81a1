"""The keys that settings classes have, and the types of what stands under them."""

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields, is_dataclass
from functools import cache
from importlib import import_module
from types import UnionType
from typing import (
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)


class Option(NamedTuple):
    """What commands offer for a member, as --KIND."""

    help: str
    is_file: bool = False  # a path is given, else a word
    is_many: bool = False  # what is given can be several values, of each of which images are drawn


class Line(NamedTuple):
    """A member's line on its shelf: where it is, which says it without importing it."""

    file: str  # in the shelf's room
    settings: str
    member: str
    offers: Any = None  # to commands: an Option, or settings whose keys are options; None: nothing


class Members(MutableMapping[str, tuple[type[Any], type[Any]]]):
    """Settings and class of a shelf's members by kind, each imported when it is first asked for.

    So a command can list its options before torch is there, which takes a second to import.
    """

    def __init__(self, room: str, lines: Mapping[str, Line]) -> None:
        """room: the package that holds the files."""
        self._room = room
        self.held: dict[str, Line | tuple[type[Any], type[Any]]] = dict(lines)
        # by kind, without importing a member; members from outside may be put in too
        self.offers = {kind: line.offers for kind, line in lines.items() if line.offers is not None}

    def __getitem__(self, kind: str) -> tuple[type[Any], type[Any]]:
        held = self.held[kind]
        if not isinstance(held, Line):
            return held
        module = import_module(f"{self._room}.{held.file}")
        return getattr(module, held.settings), getattr(module, held.member)

    def __setitem__(self, kind: str, member: tuple[type[Any], type[Any]]) -> None:
        self.held[kind] = member

    def __delitem__(self, kind: str) -> None:
        del self.held[kind]

    def __iter__(self) -> Iterator[str]:
        return iter(self.held)

    def __len__(self) -> int:
        return len(self.held)


class Named:
    """Marks text, in `Annotated`, as one of the names in a dict, also of those put into it from outside."""

    known: ClassVar[list["Named"]] = []

    def __init__(self, members: Mapping[str, Any]) -> None:
        self.members = members
        self.known.append(self)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Tell pydantic which they are when settings are read."""
        return handler.generate_schema(Literal[tuple(self.members)])


class Shelf(Named):
    """Marks settings, in `Annotated`, as those of one of a shelf's members, by their `kind`.

    The shelf is looked at whenever settings are read, so that a member put into its dict from outside counts.
    """

    def __init__(
        self,
        members: Mapping[str, tuple[type[Any], type[Any]]],
        default: str | None = None,
        several: str | None = None,
    ) -> None:
        """members: settings and class by kind. default: the kind of settings that do not say it.

        several: the kind of a list of settings, which has them as `of`, by name; None: no list is taken.
        """
        super().__init__(members)
        self.default, self.several = default, several

    def kind(self, given: Any) -> Any:
        """Return the kind of settings, or of a mapping for some."""
        if isinstance(given, Mapping):
            return given.get("kind", self.default)
        return getattr(given, "kind", self.default)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Tell pydantic that it is a union, told apart by kind."""
        from pydantic_core import core_schema

        kinds = [kind for kind in self.members if kind in _AMONG.get()] or list(self.members)
        choices = {kind: handler.generate_schema(self.members[kind][0]) for kind in kinds}
        return core_schema.tagged_union_schema(choices, self.kind)


_AMONG: ContextVar[frozenset[str]] = ContextVar("among", default=frozenset())


@contextmanager
def among(kinds: frozenset[str]) -> Iterator[None]:
    """Within, pydantic is told of a shelf's members of these kinds alone; of all where it has none of them.

    So settings are read without importing members that they do not name.
    """
    before = _AMONG.set(kinds)
    try:
        yield
    finally:
        _AMONG.reset(before)


def named(mapping: Any) -> frozenset[str]:
    """Return every kind that a mapping names, at any depth."""
    if not isinstance(mapping, Mapping):
        return frozenset()
    own = {mapping["kind"]} if isinstance(mapping.get("kind"), str) else set()
    return frozenset(own).union(*map(named, mapping.values()))


def on_shelves() -> tuple[Any, ...]:
    """Return all members of all shelves, or their lines: another value whenever one is added."""
    held = (getattr(shelf.members, "held", shelf.members) for shelf in Named.known)
    return tuple(tuple(members.items()) for members in held)


def keys(into: Any, held: Any = None) -> list[str]:
    """Give every key of settings, those below others with dots.

    held: a mapping for them, which may say of which kinds; None: of all kinds.
    """
    found: list[str] = []
    if get_origin(into) is dict and isinstance(held, Mapping):
        for key, inside in held.items():
            found += [str(key), *(f"{key}.{deeper}" for deeper in keys(get_args(into)[1], inside))]
        return found
    for member in chosen(alternatives(into), held):
        for key, hint in types(member).items():
            inside = held.get(key) if isinstance(held, Mapping) else None
            found += [key, *(f"{key}.{deeper}" for deeper in keys(hint, inside))]
    return list(dict.fromkeys(found))


@cache
def types(member: Any) -> dict[str, Any]:
    """Give the types of a settings class by key; they take long to find, so only once."""
    return get_type_hints(member, include_extras=True)


def own(hint: Any) -> list[str]:
    """Give the keys of settings, without those below."""
    return list(dict.fromkeys(field.name for member in classes(hint) for field in fields(member)))


def below(kinds: Sequence[Any], key: Any) -> list[Any]:
    """Give the types that what stands under a key may have."""
    members = [member for kind in kinds for member in classes(kind)]
    found = [types(member)[key] for member in members if key in types(member)]
    return found + [get_args(kind)[1] for kind in kinds if get_origin(kind) is dict]


def several(hint: Any) -> str | None:
    """Give the kind of a list of settings of this type; None for types that take no list of them."""
    marks = (getattr(mark, "several", None) for mark in getattr(hint, "__metadata__", ()))
    return next((kind for kind in marks if kind is not None), None)


def element(kind: Any, index: int) -> list[Any]:
    """Give the type of an element of a tuple or a list; none for other types."""
    if get_origin(kind) not in (tuple, list):
        return []
    members = get_args(kind)
    return list(members[:1] if members[1:] in ((), (...,)) else members[index : index + 1])


def alternatives(hint: Any, held: Any = None) -> list[Any]:
    """Give the members of a union, or of a shelf; a type alone is one.

    held: what is to become one; of a shelf then the member alone that it names.
    """
    for mark in getattr(hint, "__metadata__", ()):
        if isinstance(mark, Shelf):
            kind = held.get("kind") if isinstance(held, Mapping) else None
            if isinstance(kind, str) and kind in mark.members:
                return [mark.members[kind][0]]
            return [member for member, _ in mark.members.values()]
    hint = hint.__origin__ if hasattr(hint, "__metadata__") else hint
    if get_origin(hint) not in (Union, UnionType):
        return [hint]
    return [kind for member in get_args(hint) for kind in alternatives(member)]


def classes(hint: Any) -> list[Any]:
    """Give the settings class that a type is, or those of a union."""
    return [kind for kind in alternatives(hint) if is_dataclass(kind)]


def chosen(kinds: Sequence[Any], held: Any) -> list[Any]:
    """Give the settings class that a mapping names by its kind; all of them where it names none."""
    found = [kind for kind in kinds if is_dataclass(kind)]
    told = held.get("kind") if isinstance(held, Mapping) else None
    return [kind for kind in found if told and tag(kind) == told] or found


def tag(member: Any) -> Any:
    """Give the kind that a settings class has in its union; None for one without."""
    kinds = [field.default for field in fields(member) if field.name == "kind"]
    return kinds[0] if kinds else None
