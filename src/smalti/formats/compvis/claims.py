"""What a yaml says of a model, held against what the tensors' shapes say."""

from collections.abc import Mapping
from typing import Any

from smalti.errors import UserError

OTHER_MODEL = "the yaml is of another model: give the right one with --config"


def model_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The mapping {target, params} of the model, from a project's yaml or from that mapping itself."""
    return section(config, "model") or config


def section(mapping: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A mapping within a mapping, empty where there is none."""
    found = mapping.get(key)
    return found if isinstance(found, Mapping) else {}


def params(mapping: Mapping[str, Any]) -> Mapping[str, Any]:
    """The constructor's arguments of a {target, params} mapping."""
    return section(mapping, "params")


def inner(said: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The arguments of a {target, params} mapping that stands under a key."""
    return section(section(said, key), "params")


def target(mapping: Mapping[str, Any]) -> str:
    """The class that a {target, params} mapping names, without its module; empty where it names none."""
    return str(mapping.get("target", "")).rsplit(".", 1)[-1]


def check(claims: Mapping[str, Any], found: Mapping[str, Any], where: str) -> None:
    """UserError for the first value that the yaml gives otherwise than the weights do."""
    for name, value in found.items():
        said = claims.get(name, value)
        if said != value:
            expected = f"weights with {name} {_brief(said)}, as the yaml says"
            raise UserError(expected, f"{_brief(value)} in {where}", OTHER_MODEL)


def _brief(value: Any) -> str:
    return str(value)[:60]
