"""Settings' names of before the first release, until which they are read, with a note, and never written."""

import re
import warnings
from collections.abc import Mapping
from typing import Any

KEYS = {  # with dots for nested ones
    "critic_optimizer": "discriminator_optimizer",
    "quantize_from": "quantize_start",
    "losses.adversarial.critic_start": "losses.adversarial.discriminator_start",
    "losses.perceptual.pictures": "losses.perceptual.images",
    "prior.lag": "prior.skew",
}
_CRITIC = re.compile(r"(?<=/)critic(?=/|$)")
_CONTENT = ("content", "data.content")  # whose value "picture" is "image"


def key(name: str) -> str:
    """Return the key of today for one that was typed, with dots, noting where it is another."""
    for old, new in KEYS.items():
        if name == old or name.startswith(f"{old}."):
            _note(old, new)
            return new + name.removeprefix(old)
    return name


def mapping(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's or a model's settings with the keys and values of today, noting what was older."""
    found = dict(given)
    for old, new in KEYS.items():
        *parents, last = old.split(".")
        holder = _holder(found, parents)
        if holder is not None and last in holder:
            _note(old, new)
            holder[new.rpartition(".")[2]] = holder.pop(last)
    for name in _CONTENT:
        *parents, last = name.split(".")
        holder = _holder(found, parents)
        if holder is not None and holder.get(last) == "picture":
            holder[last] = "image"
    return found


def value(name: str, given: Any) -> Any:
    """Return the value of today for a key's that was typed."""
    return "image" if name in _CONTENT and given == "picture" else given


def path(name: str) -> str:
    """Return the name of a number or a tensor of a run, parts with slashes, with its network's of today."""
    return _CRITIC.sub("discriminator", name)


def made(how: Mapping[str, Any]) -> dict[str, Any]:
    """Return how an index says that token shards were made, with the words of today."""
    return {"images" if name == "pictures" else name: value for name, value in how.items()}


def as_first_written(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model's settings with the words that its first fingerprints were counted from."""
    found = dict(settings)
    if found.get("content") == "image":
        found["content"] = "picture"
    prior = found.get("prior")
    if isinstance(prior, Mapping) and "skew" in prior:
        found["prior"] = {"lag" if name == "skew" else name: value for name, value in prior.items()}
    return found


def _holder(mapping: dict[Any, Any], parents: list[str]) -> dict[Any, Any] | None:
    """Return the mapping below these keys, copied in place, so that what was given stays as it is."""
    for parent in parents:
        below = mapping.get(parent)
        if not isinstance(below, Mapping):
            return None
        mapping[parent] = dict(below)
        mapping = mapping[parent]
    return mapping


def _note(old: str, new: str) -> None:
    warnings.warn(f"the setting {old} is called {new}", FutureWarning, stacklevel=4)
