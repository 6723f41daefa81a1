"""What is wrong with settings, in one line: of what pydantic says, and what a wrong key was meant to be."""

from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any

from smalti import hints, schema
from smalti.errors import UserError, shown

# pydantic's names: for a key too many, for a number out of bounds, for a value where keys belong
_UNKNOWN = {"extra_forbidden", "unexpected_keyword_argument"}
_BOUNDS = {
    "greater_than",
    "greater_than_equal",
    "less_than",
    "less_than_equal",
    "finite_number",
    "value_error",
}
_NO_MAPPING = {"dataclass_type", "model_attributes_type", "dict_type"}


def one_line(errors: list[Any], into: Any, mapping: Mapping[str, Any], where: str) -> UserError:
    """Make the first of pydantic's errors a UserError, an unknown key before all others.

    into: the settings class or the union of some that the mapping was for. where: put before the keys.
    """
    unknown = [error for error in errors if error["type"] in _UNKNOWN]
    error = (unknown or errors)[0]
    holder, path = _walk(error["loc"], into)
    key = ".".join(filter(None, [where, *path]))
    if unknown:
        parent = ".".join(filter(None, [where, *path[:-1]])) or "the recipe"
        remedy = _meant([*path, *_leaf(error["input"])], into, mapping, where)
        remedy = remedy or f"one of {', '.join(sorted(schema.own(holder)))}"
        return UserError(f"a key that {parent} has", key or "an empty one", remedy)
    form = next((one for one in (key, key.rpartition(".")[0]) if one in hints.FORMS), None)
    if form is not None and error["type"] not in _BOUNDS:
        return UserError(f"a valid {form}", shown(_value(mapping, form)), f"write {hints.FORMS[form]}")
    if error["type"] == "union_tag_not_found" and isinstance(error["input"], Mapping):
        hint = schema.below(schema.alternatives(holder), path[-1])[0] if path else into
        kinds = ", ".join(str(schema.tag(member)) for member in schema.classes(hint))
        kind, came = f"{key}.kind".removeprefix("."), ", ".join(map(str, error["input"]))
        return UserError(f"{kind} as one of {kinds}", f"{came} alone", "see smalti recipes for whole ones")
    if error["type"] in ("missing", "missing_argument"):
        return UserError(f"a value for {key}", "none", f"give {key}=VALUE")
    if error["type"] == "union_tag_invalid":
        kinds = error["ctx"]["expected_tags"].replace("'", "")
        kind, got = f"{key}.kind".removeprefix("."), str(error["ctx"]["tag"])
        near = hints.near(got, kinds.split(", "))
        remedy = f"did you mean {kind}={near}?" if near else "choose one of them"
        return UserError(f"{kind} as one of {kinds}", got, remedy)
    if error["type"] in {*_NO_MAPPING, "union_tag_not_found"} and path:
        return _no_mapping(key, error["input"], schema.below(schema.alternatives(holder), path[-1])[0])
    message = error["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    got = "a mapping" if isinstance(error["input"], Mapping) else shown(error["input"])
    return UserError(f"a valid {key or 'recipe'}", got, message)


def refuse_truth(mapping: Mapping[Any, Any], kinds: Sequence[Any], above: str = "") -> None:
    """Raise UserError for true or false where a number belongs, of which pydantic makes 1 or 0.

    kinds: the settings classes that the mapping may be for. above: put before its keys.
    """
    for key, value in mapping.items():
        wanted = [kind for hint in schema.below(kinds, key) for kind in schema.alternatives(hint, value)]
        if isinstance(value, Mapping):
            refuse_truth(value, schema.chosen(wanted, value), f"{above}{key}.")
        elif isinstance(value, bool) and wanted and all(kind in (int, float, NoneType) for kind in wanted):
            raise UserError(f"a number for {above}{key}", str(value).lower(), f"write {above}{key}=NUMBER")


def _meant(path: Sequence[str], into: Any, mapping: Mapping[str, Any], where: str) -> str | None:
    """Return what to do in place of a key that is not there."""
    start = f"{where}." if where else ""
    kind = _kind_with(path, into, mapping)
    if kind is not None:
        return _has(start, kind, "it")
    found = hints.find(".".join(path), schema.keys(into, mapping))
    if found:
        return hints.told([key if key.startswith("--") else start + key for key in found], path[-1])
    found = hints.find(".".join(path), schema.keys(into), by_letters=False)
    kind = _kind_with(found[0].split("."), into, mapping) if found else None
    return _has(start, kind, found[0]) if kind else None


def _has(start: str, kind: str, key: str) -> str:
    return f"{start}{kind} has {key}" if "." in kind else f"a recipe of {kind} has {key}"


def _kind_with(path: Sequence[str], into: Any, held: Any) -> str | None:
    """Return the kind that has a key which the kind in question has not, as quantizer.kind=ema."""
    classes = schema.classes(into)
    for depth, name in enumerate(path):
        own = schema.chosen(classes, held)
        having = [member for member in classes if ".".join(path[depth:]) in schema.keys(member)]
        if having and not set(having) & set(own):
            return f"{'.'.join([*path[:depth], 'kind'])}={schema.tag(having[0])}"
        classes = [member for hint in schema.below(own, name) for member in schema.classes(hint)]
        held = held.get(name) if isinstance(held, Mapping) else None
    return None


def _no_mapping(key: str, value: Any, hint: Any) -> UserError:
    """Refuse a plain value for settings with others below them."""
    kinds = [str(schema.tag(member)) for member in schema.classes(hint) if schema.tag(member)]
    keys = [name for name in schema.own(hint) if name != "kind"]
    remedy = f"write {key}.{keys[0]}=VALUE, or others of {', '.join(keys)}" if keys else "give a mapping"
    if len(kinds) > 1:
        near = hints.near(str(value), kinds)
        remedy = f"write {key}.kind={near}" if near else f"write {key}.kind=KIND, one of {', '.join(kinds)}"
    return UserError(f"settings below {key}", shown(value), remedy)


def _leaf(value: Any) -> list[str]:
    """Return the keys below one that was refused, as far as there is one each."""
    found = []
    while isinstance(value, Mapping) and len(value) == 1:
        ((key, value),) = value.items()
        found.append(str(key))
    return found


def _value(mapping: Any, key: str) -> Any:
    for part in key.split("."):
        mapping = mapping.get(part) if isinstance(mapping, Mapping) else None
    return mapping


def _walk(location: tuple[Any, ...], into: Any) -> tuple[Any, list[str]]:
    """Follow an error's location: the class that holds the last key, and the path without union tags."""
    holder, here, path = into, into, []
    for step in location:
        members = schema.classes(here)
        kinds = [kind for kind in schema.alternatives(here) if kind is not NoneType]
        if len(kinds) > 1 and isinstance(step, str):  # pydantic names the union's member as an extra step
            here = next((one for one in members if step in (schema.tag(one), one.__name__)), here)
            continue
        path.append(str(step))
        holder = here
        here = next(iter(schema.below(members[:1] or kinds, step)), None)
    return holder, path
