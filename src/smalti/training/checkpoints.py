"""Checkpoints: where a run stands, written whole or not at all, and nothing pickled.

checkpoints/step-00001000/
  tensors.safetensors   networks, averaged weights, moments, recent codes, numbers since the last log line
  state.json            step and other numbers
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.optim import Optimizer

from smalti import leftovers, old_names
from smalti.errors import UserError
from smalti.files import save_tensors

FORMAT = 1
TENSORS, STATE = "tensors.safetensors", "state.json"
LEFTOVERS = ".step-*"  # of a process that was killed while it wrote or deleted


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A run after `step` steps. Tensor names are paths with slashes: network/discriminator/..., ema/..."""

    step: int
    tensors: Mapping[str, Tensor]
    numbers: Mapping[str, Any]  # plain JSON values

    def below(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors under a path, without it."""
        start = prefix + "/"
        return {name.removeprefix(start): t for name, t in self.tensors.items() if name.startswith(start)}


def write(folder: Path, checkpoint: Checkpoint, *, keep: int) -> Path:
    """Write a checkpoint below folder, atomically; then delete all but the newest `keep`."""
    path = folder / f"step-{checkpoint.step:08d}"
    fresh = folder / f".{path.name}.{os.getpid()}"
    leftovers.clear(folder, LEFTOVERS)
    fresh.mkdir(parents=True)
    save_tensors(checkpoint.tensors, fresh / TENSORS)
    state = {"format": FORMAT, "step": checkpoint.step, "numbers": dict(checkpoint.numbers)}
    (fresh / STATE).write_text(json.dumps(state, indent=2) + "\n")
    shutil.rmtree(path, ignore_errors=True)  # the same step again, after a resume from an older one
    fresh.rename(path)
    for old in _all(folder)[:-keep]:
        half = folder / f".{old.name}.{os.getpid()}"  # what is half deleted must not look like a checkpoint
        old.rename(half)
        shutil.rmtree(half)
    return path


def done(folder: Path) -> int | None:
    """Return the steps after which the newest checkpoint was written, or None."""
    path = latest(folder)
    return None if path is None else int(path.name.removeprefix("step-"))


def latest(folder: Path) -> Path | None:
    """Return the newest checkpoint below folder, or None."""
    return next(reversed(_all(folder)), None)


def read(path: Path) -> Checkpoint:
    """Read a checkpoint; UserError where it is damaged."""
    try:
        state = json.loads((path / STATE).read_text())
        tensors = {old_names.path(name): t for name, t in load_file(path / TENSORS).items()}
        numbers = dict(state["numbers"])
        if "since" in numbers:
            numbers["since"] = [old_names.path(name) for name in numbers["since"]]
        return Checkpoint(step=state["step"], tensors=tensors, numbers=numbers)
    except (OSError, SafetensorError, json.JSONDecodeError, KeyError, TypeError) as problem:
        remedy = f"delete {path}: the checkpoint before it is used then"
        raise UserError(f"a whole checkpoint in {path}", str(problem), remedy) from None


def flatten(optimizer: Optimizer) -> dict[str, Tensor]:
    """Return an optimizer's moments by name: number of the parameter / name of the moment."""
    state = optimizer.state_dict()["state"]
    return {f"{number}/{name}": value for number, kept in state.items() for name, value in kept.items()}


def restore(optimizer: Optimizer, flat: Mapping[str, Tensor]) -> None:
    """Give an optimizer its moments back, in the memory layout of its parameters."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for path, value in flat.items():
        number, name = path.split("/")
        parameter = parameters[int(number)]
        if value.shape == parameter.shape and name != "step":  # fused kernels want equal strides
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _all(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))
