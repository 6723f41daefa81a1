"""Typed settings: YAML and key=value in, checked frozen dataclasses out, one-line errors."""

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, is_dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from types import NoneType
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    dataclass_transform,
    get_args,
    get_origin,
)

import yaml
from annotated_types import Ge, Gt, Le

from smalti import hints, mistakes, old_names, schema
from smalti.errors import UserError, shown

T = TypeVar("T")

MOST = 2**31 - 1  # of anything that is counted: beyond, torch gives errors of its own
Positive = Annotated[int, Gt(0), Le(MOST)]
Count = Annotated[int, Ge(0), Le(MOST)]
Few = Annotated[int, Gt(0), Le(1000)]  # things that are built one by one: layers
Workers = Annotated[int, Ge(0), Le(256)]  # processes
Share = Annotated[float, Ge(0.0), Le(1.0)]  # a probability or a part of a whole
Weight = Annotated[float, Ge(0.0)]


@dataclass_transform(frozen_default=True, kw_only_default=True)
def settings(cls: type[T]) -> type[T]:
    """Make a class a settings class: a frozen keyword-only dataclass.

    `parse` refuses keys that it does not have, and numbers that are not finite.
    """
    cls.__pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}  # type: ignore[attr-defined]
    return dataclass(frozen=True, kw_only=True)(cls)


def read(recipe: str | Path, changes: Mapping[str, Any] | None = None, into: Any = None) -> dict[str, Any]:
    """Return a recipe's mapping with changes laid over it, not yet checked: give it to `parse`.

    recipe: the path of a YAML file, or the name of one that ships with the package.
    changes: key -> value, keys with dots for nested ones. into: what `parse` will build of it, as `load_yaml`
    takes it.
    """
    mapping = gathered(load_yaml(find_recipe(recipe), into), into)
    lay(changes or {}, mapping, into)
    return mapping


def lay(changes: Mapping[str, Any], mapping: dict[str, Any], into: Any = None) -> None:
    """Put changes into a mapping. changes: key -> value, keys with dots for nested ones. into: see `read`."""
    for name, value in changes.items():
        key = old_names.key(name)
        _put(mapping, key, old_names.value(key, value))
        mapping.update(gathered(mapping, into))


def overrides(words: Sequence[str], into: Any = None) -> dict[str, Any]:
    """Return changes from the command line: `key=value` words.

    into: the settings that they change. Where these want text, a value is text as it was typed, as 2021, on
    or a: b; else it is read as YAML. UserError for words of another form, and for a key that is given twice.
    """
    for index, word in enumerate(words):
        _refuse_spaces(word, words[index - 1 : index], words[index + 1 : index + 2])
    changes: dict[str, Any] = {}
    for word in words:
        key, value = _split(word, into)
        _refuse_again(key, changes)
        changes[key] = value
    return changes


def read_size(text: str) -> tuple[int, int]:
    """Return height and width in pixels from HxW, or from one number, a square; UserError for other text."""
    found = text.lower().split("x")
    if len(found) > 2 or not all(side.isdecimal() and int(side) > 0 for side in found):
        raise UserError("a size as HxW in pixels", text, "write for example 256x1024")
    return int(found[0]), int(found[-1])


def find_recipe(recipe: str | Path) -> Path:
    """Return the file of a recipe, given by path or by name."""
    if Path(recipe).suffix in {".yaml", ".yml"} or Path(recipe).is_file():
        if Path(recipe).is_file():
            return Path(recipe)
        raise UserError("a recipe file", f"{recipe}, which does not exist", "see `smalti recipes`")
    known = recipes()
    if str(recipe) not in known:
        near = hints.near(str(recipe), known)
        remedy = f"did you mean {near}?" if near else "see `smalti recipes`"
        raise UserError("the name or the file of a recipe", str(recipe), remedy)
    return known[str(recipe)]


def recipes() -> dict[str, Path]:
    """Name -> file of every recipe that ships with the package."""
    folder = Path(str(resources.files("smalti") / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_yaml(path: Path, into: Any = None) -> dict[str, Any]:
    """Read a YAML file that holds a mapping. Names no class, runs nothing, refuses a key given twice.

    into: the settings that are to be built of it. Where they want text, what stands there is text: a name
    2021 or on is no number and no truth value.
    """
    try:
        mapping = _load(path.read_text(encoding="utf-8"), [into])
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise UserError(f"YAML in {path}", " ".join(str(problem).split()), "mend the file") from None
    if not isinstance(mapping, dict):
        raise UserError(f"key: value lines in {path}", type(mapping).__name__, "mend the file")
    strange = next((key for key in mapping if not isinstance(key, str)), None)
    if strange is not None:
        raise UserError(f"keys that are words in {path}", shown(strange), "mend the file")
    return old_names.mapping(mapping)


def parse(mapping: Mapping[str, Any], into: Any, where: str = "") -> Any:
    """Check a mapping against a settings class (or a union of them) and build it.

    where: a name for the whole, put before the keys in errors. Raises UserError for the first unknown
    key, missing key or wrong value, with the nearest name that exists.
    """
    from pydantic import ValidationError

    mapping = gathered(mapping, into)
    classes = schema.chosen(schema.alternatives(into, mapping), mapping)
    mistakes.refuse_truth(mapping, classes, f"{where}." if where else "")
    with suppress(ValidationError):  # what is wrong is told by all members that there are
        return _built(into, schema.on_shelves(), schema.named(mapping)).validate_python(dict(mapping))
    try:
        return _adapter(into).validate_python(dict(mapping))
    except ValidationError as problem:
        raise mistakes.one_line(problem.errors(), into, mapping, where) from None


def dump(values: Any) -> dict[str, Any]:
    """Return settings as a mapping of plain values, which `parse` reads back to equal settings."""
    into: Any = type(values)
    plain: dict[str, Any] = _adapter(into).dump_python(values, mode="json")
    return plain


def json_schema(into: Any, template: str = "#/$defs/{model}") -> dict[str, Any]:
    """Return a settings class as a JSON Schema. template: how references to others are written."""
    schema: dict[str, Any] = _adapter(into).json_schema(ref_template=template)
    return schema


def gathered(mapping: Mapping[str, Any], into: Any) -> dict[str, Any]:
    """Return a mapping in which a list of settings of a shelf is one of them, which has these by name.

    An element is a kind, or a mapping that may have a name beside its settings; else it is named by its kind.
    """
    found = dict(mapping)
    for key, value in mapping.items():
        hints = schema.below(schema.alternatives(into), key) if isinstance(value, list | tuple) else ()
        kind = next((schema.several(hint) for hint in hints if schema.several(hint)), None)
        if kind is not None:
            found[key] = {"kind": kind, "of": _by_name(key, value)}
    return found


def _by_name(key: str, given: Sequence[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in given:
        held = {"kind": one} if isinstance(one, str) else one
        if not isinstance(held, Mapping) or not isinstance(held.get("kind"), str):
            expected = f"{key} as a list of kinds, or of settings with a kind"
            raise UserError(expected, shown(one), f"write for example {key}: [label, {{kind: map}}]")
        name = str(held.get("name", held["kind"]))
        if name in found:
            remedy = f"write for example {{kind: {held['kind']}, name: other}}"
            raise UserError(f"{key} as a list of different names", f"{name} twice", remedy)
        found[name] = {inner: value for inner, value in held.items() if inner != "name"}
    return found


def _adapter(into: Any) -> Any:
    return _built(into, schema.on_shelves(), frozenset())


@cache
def _built(into: Any, shelves: tuple[Any, ...], kinds: frozenset[str]) -> Any:
    from pydantic import TypeAdapter  # 0.1 s: only while settings are read

    with schema.among(kinds):
        return TypeAdapter(into)


class _StrictLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # ten times as fast
    """A SafeLoader for which a key given twice is an error: plain YAML lets the last one win silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value if key.tag != _MERGE]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"the key {key} is given twice")
        return super().construct_mapping(node, deep=deep)


# YAML 1.1 takes 1e-4 for a word: its numbers have a point
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)
_DEEPEST, _MOST_VALUES = 50, 10**6  # lists and mappings in each other, and values, of one file
_TEXT, _NULL, _MERGE = (f"tag:yaml.org,2002:{name}" for name in ("str", "null", "merge"))


def _load(text: str, hints: list[Any]) -> Any:
    """Return what a YAML text holds; hints: the types that it may become."""
    loader = _StrictLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {}, _DEEPEST)
        _as_text(node, hints)
        return loader.construct_document(node)
    except (ValueError, LookupError, AttributeError, TypeError, ArithmeticError, RecursionError) as problem:
        # what a value makes Python say that is not as its kind should be: 2020-13-45, or !!int a
        raise yaml.YAMLError(f"{type(problem).__name__}: {problem}") from None
    finally:
        loader.dispose()


def _count(node: yaml.Node, counts: dict[int, int], deepest: int) -> int:
    """Return how many values a node stands for; YAMLError for endless ones.

    A few lines of names for lists of names (*a) could be billions of values, or a list that holds itself.
    counts: of the nodes that were seen, by id; 0 while one is looked at.
    """
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in counts:
        if deepest == 0:
            raise yaml.YAMLError(f"more than {_DEEPEST} lists or mappings in each other")
        counts[id(node)] = 0
        below = [one for item in node.value for one in (item if isinstance(item, tuple) else (item,))]
        counts[id(node)] = 1 + sum(_count(one, counts, deepest - 1) for one in below)
    found = counts[id(node)]
    if not 0 < found <= _MOST_VALUES:
        raise yaml.YAMLError("a list or mapping that holds itself" if not found else f"{found} values")
    return found


def _as_text(node: yaml.Node, hints: list[Any]) -> None:
    """Mark as text what is to become text, before YAML takes it for a number, a truth value or nothing."""
    kinds = [kind for hint in hints for kind in schema.alternatives(hint)]
    if not kinds:  # ends also where a node holds itself
        return
    if isinstance(node, yaml.ScalarNode) and _is_text(kinds):
        if node.tag != _NULL or NoneType not in kinds:
            node.tag = _TEXT
    elif isinstance(node, yaml.SequenceNode):
        alike = [hint for hint in hints if schema.several(hint)]
        for index, child in enumerate(node.value):
            _as_text(child, alike + [hint for kind in kinds for hint in schema.element(kind, index)])
    elif isinstance(node, yaml.MappingNode):
        told = next((value.value for key, value in node.value if key.value == "kind"), None)
        named = [kind for kind in kinds if is_dataclass(kind) and schema.tag(kind) == told]
        for key, value in node.value:
            _as_text(key, [get_args(kind)[0] for kind in kinds if get_origin(kind) is dict])
            if isinstance(key, yaml.ScalarNode):  # no other one has settings below it
                below = kinds if key.tag == _MERGE else schema.below(named or kinds, key.value)
                _as_text(value, below)


def _is_text(kinds: Iterable[Any]) -> bool:
    """Return whether all of some types, None aside, are text: str, a path, or one of some words."""
    wanted = [kind for kind in kinds if kind is not NoneType]
    words = [
        get_origin(kind) is Literal and all(isinstance(one, str) for one in get_args(kind)) for kind in wanted
    ]
    return bool(wanted) and all(kind in (str, Path) or word for kind, word in zip(wanted, words, strict=True))


def _refuse_spaces(word: str, before: Sequence[str], after: Sequence[str]) -> None:
    """UserError for `batch = 4`, however the spaces cut it."""
    if word.startswith("="):
        parts = [*before, word, *(after if word == "=" else ())]
    elif word.endswith("=") and after and "=" not in after[0]:
        parts = [word, *after]
    else:
        return
    raise UserError("key=value with no spaces around =", " ".join(parts), f"write {''.join(parts)}")


def _refuse_again(key: str, before: Mapping[str, Any]) -> None:
    """UserError for a key that was given, or one above those that were, which would undo them."""
    if key in before:
        raise UserError("each key once", f"the key {key} is given twice", f"leave one {key}= out")
    undone = next((one for one in before if one.startswith(f"{key}.")), None)
    if undone is not None:
        got = f"{key}= after {undone}=, which it undoes"
        raise UserError("the keys above others first", got, f"give {key}= before {undone}=")


def _split(word: str, into: Any) -> tuple[str, Any]:
    key, equals, value = word.partition("=")
    if not equals or not key:
        raise UserError("key=value", word or "nothing", "write for example steps=2000")
    if key.count(".") > _DEEPEST:
        raise UserError(f"at most {_DEEPEST} keys below each other", key[:60], "see smalti recipes")
    hints = [into]
    for part in key.split("."):
        hints = schema.below([kind for hint in hints for kind in schema.alternatives(hint)], part)
    kinds = [kind for hint in hints for kind in schema.alternatives(hint)]
    if _is_text(kinds):
        return key, _typed(key, value, NoneType in kinds)
    try:
        return key, _load(value, hints)
    except (yaml.YAMLError, UnicodeError) as problem:  # the latter of bytes in a word that are no text
        got = f"{value} ({getattr(problem, 'problem', None) or problem})"
        raise UserError(
            f"a value that YAML can read for {key}", got, "mend it, or put it in quotes"
        ) from None


def _typed(key: str, value: str, optional: bool) -> str | None:
    """Return text as it was typed, but for quotes around it; what YAML calls null where nothing may stand."""
    if optional and value in ("", "~", "null", "Null", "NULL"):
        return None
    if not value:
        raise UserError(f"a value for {key}", "none", f"give {key}=VALUE")
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if quoted else value


def _put(mapping: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        mapping = mapping.setdefault(parent, {})
        if not isinstance(mapping, dict):
            expected, got = f"a key with keys below it before .{last}", f"{key}, but {parent} is a value"
            raise UserError(expected, got, f"give a mapping for {parent}, or leave {key} out")
    mapping[last] = value
