"""Typed settings: YAML and key=value in, checked frozen dataclasses out, one-line errors."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from importlib import resources
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, dataclass_transform, get_args, get_origin, get_type_hints

import yaml
from annotated_types import Ge, Gt, Le

from smalti.errors import UserError

T = TypeVar("T")
_UNKNOWN = {"extra_forbidden", "unexpected_keyword_argument"}  # pydantic's names for a key too many

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


def read(recipe: str | Path, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A recipe's mapping with changes laid over it, not yet checked: give it to `parse`.

    recipe: the path of a YAML file, or the name of one that ships with the package.
    changes: key -> value, keys with dots for nested ones.
    """
    mapping = load_yaml(find_recipe(recipe))
    lay(changes or {}, mapping)
    return mapping


def lay(changes: Mapping[str, Any], mapping: dict[str, Any]) -> None:
    """Put changes into a mapping. changes: key -> value, keys with dots for nested ones."""
    for key, value in changes.items():
        _put(mapping, key, value)


def overrides(words: Iterable[str]) -> dict[str, Any]:
    """Changes from the command line: `key=value` words, values read as YAML."""
    return dict(_split(word) for word in words)


def find_recipe(recipe: str | Path) -> Path:
    """The file of a recipe, given by path or by name."""
    if Path(recipe).suffix in {".yaml", ".yml"} or Path(recipe).is_file():
        if Path(recipe).is_file():
            return Path(recipe)
        raise UserError("a recipe file", f"{recipe}, which does not exist", "see `smalti recipes`")
    known = recipes()
    if str(recipe) not in known:
        remedy = _did_you_mean(str(recipe), known) or "see `smalti recipes`"
        raise UserError("the name or the file of a recipe", str(recipe), remedy)
    return known[str(recipe)]


def recipes() -> dict[str, Path]:
    """Name -> file of every recipe that ships with the package."""
    folder = Path(str(resources.files("smalti") / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping. Names no class, runs nothing, refuses a key given twice."""
    try:
        mapping = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise UserError(f"YAML in {path}", " ".join(str(problem).split()), "mend the file") from None
    if not isinstance(mapping, dict):
        raise UserError(f"key: value lines in {path}", type(mapping).__name__, "mend the file")
    return mapping


def parse(mapping: Mapping[str, Any], into: Any, where: str = "") -> Any:
    """Check a mapping against a settings class (or a union of them) and build it.

    where: a name for the whole, put before the keys in errors. Raises UserError for the first unknown
    key, missing key or wrong value, with the nearest name that exists.
    """
    from pydantic import ValidationError  # 0.1 s: only while settings are read

    try:
        return _adapter(into).validate_python(dict(mapping))
    except ValidationError as problem:
        raise _one_line(problem.errors(), into, where) from None


def dump(values: Any) -> dict[str, Any]:
    """Settings as a mapping of plain values, which `parse` reads back to equal settings."""
    plain: dict[str, Any] = _adapter(type(values)).dump_python(values, mode="json")
    return plain


def _adapter(into: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(into)


class _StrictLoader(yaml.SafeLoader):
    """A SafeLoader for which a key given twice is an error: plain YAML lets the last one win silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"the key {key} is given twice")
        return super().construct_mapping(node, deep=deep)


def _split(word: str) -> tuple[str, Any]:
    key, equals, value = word.partition("=")
    if not equals or not key:
        raise UserError("key=value", word, "write for example steps=2000")
    try:
        return key, yaml.load(value, Loader=_StrictLoader)
    except yaml.YAMLError:
        raise UserError(f"a value that YAML can read for {key}", value, "put it in quotes") from None


def _put(mapping: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        mapping = mapping.setdefault(parent, {})
        if not isinstance(mapping, dict):
            raise UserError(f"a key with keys below it before .{last}", f"{key}, but {parent} is a value", "")
    mapping[last] = value


def _one_line(errors: list[Any], into: Any, where: str) -> UserError:
    unknown = [error for error in errors if error["type"] in _UNKNOWN]
    error = (unknown or errors)[0]
    holder, path = _walk(error["loc"], into)
    key = ".".join(filter(None, [where, *path]))
    if unknown:
        name = path[-1]
        remedy = _did_you_mean(name, _keys(holder), key) or f"one of {', '.join(sorted(_keys(holder)))}"
        parent = ".".join(filter(None, [where, *path[:-1]])) or "the recipe"
        return UserError(f"a key that {parent} has", key, remedy)
    if error["type"] in ("missing", "missing_argument"):
        return UserError(f"a value for {key}", "none", f"give {key}=VALUE")
    if error["type"] == "union_tag_invalid":
        kinds = error["ctx"]["expected_tags"].replace("'", "")
        tag = str(error["ctx"]["tag"])
        remedy = _did_you_mean(tag, kinds.split(", "), f"{key}.kind={tag}") or "choose one of them"
        return UserError(f"{key}.kind as one of {kinds}", tag, remedy)
    message = error["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    got = "a mapping" if isinstance(error["input"], Mapping) else repr(error["input"])
    return UserError(f"a valid {key or 'recipe'}", got, message)


def _walk(location: tuple[Any, ...], into: Any) -> tuple[Any, list[str]]:
    """Follow an error's location: the class that holds the last key, and the path without union tags."""
    holder, here, path = into, into, []
    for step in location:
        members = {_tag(member): member for member in _members(here)}
        if step in members:  # pydantic names the union's member as an extra step
            here = members[step]
            continue
        if isinstance(step, str) and get_origin(here) in (Union, UnionType):  # a member without a tag: no key
            here = {member.__name__: member for member in members.values()}.get(step, here)
            continue
        path.append(str(step))
        holder = here
        here = get_type_hints(here, include_extras=False).get(step) if is_dataclass(here) else None
    return holder, path


def _bare(hint: Any) -> Any:
    return hint.__origin__ if hasattr(hint, "__metadata__") else hint


def _members(hint: Any) -> list[Any]:
    """The settings classes of a union, each of which may carry a tag."""
    return [member for member in map(_bare, get_args(_bare(hint))) if is_dataclass(member)]


def _tag(member: Any) -> Any:
    kinds = [field.default for field in fields(member) if field.name == "kind"]
    return kinds[0] if kinds else None


def _keys(holder: Any) -> list[str]:
    members = [holder] if is_dataclass(holder) else _members(holder)
    return [field.name for member in members for field in fields(member)]


def _did_you_mean(name: str, known: Iterable[str], full: str | None = None) -> str | None:
    near = difflib.get_close_matches(name, list(known), n=1)
    if not near:
        return None
    return f"did you mean {(full or name).removesuffix(name)}{near[0]}?"
