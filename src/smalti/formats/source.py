"""What a user points at: a file of weights, or a folder that holds one, with the settings beside it."""

import json
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
from smalti.formats.storages import Placeholder
from smalti.formats.unpickle import read as read_pickle

_WEIGHTS = (  # where a folder's weights may lie, the first that is there
    "checkpoints/last.ckpt",
    "last.ckpt",
    "model.ckpt",
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.bin",
    "model.safetensors",
    "pytorch_model.bin",
    "flax_model.msgpack",
)
_SUFFIXES = {".ckpt", ".pt", ".pth", ".bin", ".safetensors", ".msgpack"}
_WRAPPERS = ("state_dict", "model", "module")  # keys under which a checkpoint may keep its tensors


@dataclass(frozen=True)
class Source:
    """One file of weights and what is written beside it. Read when first asked for."""

    path: Path  # as the user named it
    weights: Path
    settings: Path | None  # the yaml or json that describes the weights

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The settings as they stand in the file; empty where there is none."""
        if self.settings is None:
            return {}
        return _json(self.settings) if self.settings.suffix == ".json" else config.load_yaml(self.settings)

    @cached_property
    def contents(self) -> Mapping[str, Any]:
        """Everything in the file of weights, wrappers and all; empty for kinds that a format reads itself."""
        if self.weights.suffix == ".msgpack":
            return {}
        if self.weights.suffix == ".safetensors":
            return read_safetensors(self.weights)
        return read_pickle(self.weights)

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors by name. UserError for a value among them that is none."""
        inner = [self.contents[key] for key in _WRAPPERS if isinstance(self.contents.get(key), dict)]
        state = inner[0] if inner else self.contents
        tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
        others = [name for name in state if name not in tensors]
        if tensors and others and inner:
            got = f"{others[0]}, {_name(state[others[0]])}"
            raise UserError(
                f"tensors alone in {self.weights}", got, "it is not a state dict; nothing was run"
            )
        return tensors


def open_source(path: Path, settings: Path | None = None) -> Source:
    """The weights that a path means, and the settings that belong to them: those given, else those beside.

    UserError where there is no such file, or a folder holds none or several.
    """
    if settings is not None and not settings.is_file():
        raise UserError("a settings file", f"{settings}, which does not exist", "check --config")
    if not path.exists():
        raise UserError("a file or a folder to import", f"{path}, which does not exist", "check the path")
    weights = _weights(path) if path.is_dir() else path
    return Source(path, weights, settings or _beside(weights))


def _weights(folder: Path) -> Path:
    for name in _WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    places = [folder, folder / "checkpoints"]
    found = [path for place in places for path in sorted(place.glob("*")) if path.suffix in _SUFFIXES]
    if len(found) == 1:
        return found[0]
    got = f"{len(found)} of them, {found[0].name} and {found[1].name} first" if found else "none"
    remedy = "name the file itself" if found else "give the .ckpt, .pt, .pth, .bin or .safetensors file"
    raise UserError(f"one file of weights in {folder}", got, remedy)


def _beside(weights: Path) -> Path | None:
    """The settings of a run folder (the newest), of this file's name, or the only ones in the folder."""
    run = weights.parent.parent if weights.parent.name == "checkpoints" else weights.parent
    projects = sorted((run / "configs").glob("*-project.yaml"))
    if projects:
        return projects[-1]
    named = [weights.with_suffix(suffix) for suffix in (".yaml", ".yml", ".json")]
    general = [weights.with_name(name) for name in ("config.yaml", "project.yaml", "config.json")]
    return next((path for path in [*named, *general] if path.is_file()), None)


def _json(path: Path) -> dict[str, Any]:
    try:
        mapping = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as problem:
        raise UserError(f"JSON in {path}", " ".join(str(problem).split()), "mend the file") from None
    if not isinstance(mapping, dict):
        raise UserError(f"a JSON object in {path}", type(mapping).__name__, "mend the file")
    return mapping


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name. UserError for one that is not whole."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as problem:
        got = " ".join(str(problem).split())[:160]
        raise UserError(f"a whole safetensors file in {path}", got, "get the file anew") from None


def _name(value: Any) -> str:
    return f"made by {value.name}" if isinstance(value, Placeholder) else f"a {type(value).__name__}"
