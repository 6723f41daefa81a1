"""What a user points at: a file of weights, or a folder that holds one, with the settings beside it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from smalti import config
from smalti.errors import UserError
from smalti.formats.flax import read as read_flax
from smalti.formats.folders import locate, read_json
from smalti.formats.kinds import check
from smalti.formats.states import State, find
from smalti.formats.unpickle import read as read_pickle

_DEEPEST = 9  # keys to a part's tensors: a mapping may hold itself
_HEADER = 10**8  # bytes that a safetensors file may spend on names, by its makers


@dataclass(frozen=True)
class Source:
    """Weights, in a file or in parts, and what is written beside them. Read when first asked for."""

    path: Path  # as the user named it
    weights: Path  # the file, or the index of its parts
    parts: tuple[Path, ...]  # the files that hold the tensors
    settings: Path | None  # the yaml or json that describes the weights

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """Return the settings as they stand in the file; empty where there is none."""
        if self.settings is None:
            return {}
        return (
            read_json(self.settings) if self.settings.suffix == ".json" else config.load_yaml(self.settings)
        )

    @cached_property
    def contents(self) -> Mapping[str, Any]:
        """Return everything in the weights, wrappers and all."""
        found: Mapping[str, Any] = {}
        for part in self.parts:
            found = _together(found, _contents(part), str(self.weights))
        return found

    @cached_property
    def state(self) -> State:
        """Return the model's tensors, and how they were found. UserError as `find`."""
        return find(self.contents, str(self.weights))

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Return the model's tensors by name."""
        return self.state.tensors


def open_source(path: Path, settings: Path | None = None) -> Source:
    """Return the weights that a path means, and the settings that belong to them.

    Those given, else those beside.

    UserError where there is no such file, where a folder holds none or several, and for what is known to be
    of a kind that cannot be read.
    """
    if settings is not None and not settings.is_file():
        raise UserError("a settings file", f"{settings}, which does not exist", "check --config")
    if not path.exists():
        raise UserError("a file or a folder to import", f"{path}, which does not exist", "check the path")
    weights, parts = locate(path)
    for part in parts:
        check(part)
    return Source(path, weights, parts, settings or _beside(weights))


def _together(
    first: Mapping[str, Any], second: Mapping[str, Any], where: str, deepest: int = _DEEPEST
) -> Mapping[str, Any]:
    """Return what two parts hold, under the same keys too. UserError for a tensor that is another in each."""
    both = dict(first)
    for name, value in second.items():
        there = first.get(name)
        if deepest and isinstance(there, Mapping) and isinstance(value, Mapping):
            value = _together(there, value, where, deepest - 1)
        elif isinstance(there, Tensor) and isinstance(value, Tensor) and not there.equal(value):
            got = f"two of {name}, which differ"
            raise UserError(f"each tensor in one of the files of {where}", got, "get the files anew")
        both[name] = value
    return both


def _contents(path: Path) -> Mapping[str, Any]:
    """Read by what the file is, not by its name, where the two differ."""
    with path.open("rb") as file:
        head = file.read(9)
    pickled = head.startswith((b"PK", b"\x80"))
    if path.suffix == ".msgpack" and not pickled:
        return read_flax(path)
    is_safe = head[8:] == b"{" and int.from_bytes(head[:8], "little") <= _HEADER
    if is_safe or (path.suffix == ".safetensors" and not pickled):
        return read_safetensors(path)
    return read_pickle(path)


def _beside(weights: Path) -> Path | None:
    """Find the settings of a run folder (the newest), of this name, or the only ones in the folder."""
    run = weights.parent.parent if weights.parent.name == "checkpoints" else weights.parent
    projects = sorted((run / "configs").glob("*-project.yaml"))
    if projects:
        return projects[-1]
    named = [weights.with_suffix(suffix) for suffix in (".yaml", ".yml", ".json")]
    general = [weights.with_name(name) for name in ("config.yaml", "project.yaml", "config.json")]
    there = (path for path in [*named, *general] if path.is_file() and path != weights)
    return next(there, None)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name. UserError for one that is not whole."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as problem:
        got = " ".join(str(problem).split())[:160]
        raise UserError(f"a whole safetensors file in {path}", got, "get the file anew") from None
