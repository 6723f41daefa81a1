"""Checkpoints: where a run stands, written whole or not at all, with hashes, and nothing pickled.

checkpoints/step-00001000/
  tensors.safetensors   networks, averaged weights, moments, recent codes, numbers since the last log line
  state.json            step and other numbers; size and hash of each file; a hash of all this

Of a sharded run each process writes a file of its own, at the same time as the others, and the tensors of
the first are those that every process has whole:
  tensors-00000-of-00002.safetensors   in its metadata the rows: of each tensor in parts the number of its
                                       first row here, and how many there are in all
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.optim import Optimizer

from smalti import leftovers, old_names, strategy
from smalti.errors import UserError
from smalti.files import save_tensors
from smalti.strategy import Rows

FORMAT = 2  # 1: without hashes
STATE = "state.json"
LEFTOVERS = ".step-*"  # of a process that was killed while it wrote or deleted
# what comes of files that are not as they were written
_UNREADABLE = (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError)
DAMAGED = "damaged-"  # begins the names of those that are put aside


class Damaged(UserError):
    """A checkpoint that is not as it was written."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A run after `step` steps. Tensor names are paths with slashes: network/discriminator/..., ema/..."""

    step: int
    tensors: Mapping[str, Tensor]  # whole, or, as it is written, what this process holds of them
    numbers: Mapping[str, Any]  # plain JSON values
    rows: Mapping[str, Rows] = field(
        default_factory=dict
    )  # as it is written: of those of which it holds some

    def below(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors under a path, without it."""
        start = prefix + "/"
        names = [name for name in self.tensors if name.startswith(start)]
        return {name.removeprefix(start): self.tensors[name] for name in names}


def write(folder: Path, checkpoint: Checkpoint, *, keep: int, keep_every: int = 0) -> Path:
    """Write a checkpoint of one process below folder, atomically; then delete old ones, see `finish`."""
    fresh = folder / f".{_name(checkpoint.step)}.{os.getpid()}"
    begin(fresh)
    write_part(fresh, checkpoint, (0, 1))
    return finish(fresh, checkpoint, 1, keep=keep, keep_every=keep_every)


def begin(fresh: Path) -> None:
    """Make the folder in which a checkpoint is written, and clear away what a killed process left.

    fresh: its name ends in the number of the process that is to finish it.
    """
    leftovers.clear(fresh.parent, LEFTOVERS)
    fresh.mkdir(parents=True)


def write_part(fresh: Path, checkpoint: Checkpoint, share: Rows) -> None:
    """Write what one process holds: its tensors, then their size and hash. share: (rank, processes).

    What all processes have whole the first one writes.
    """
    name, rows = file_name(*share), checkpoint.rows
    metadata = {"rows": json.dumps(rows)} if rows else None
    own = {path: one for path, one in checkpoint.tensors.items() if share[0] == 0 or path in rows}
    save_tensors(own, fresh / name, metadata)
    _synchronise(fresh / name)
    mark = fresh / f".{name}.json"
    mark.with_suffix(".new").write_text(json.dumps(_mark(fresh / name)))
    mark.with_suffix(".new").rename(mark)


def marks(fresh: Path, count: int) -> list[Path]:
    """Return the files that are there once all of `count` processes have written their parts."""
    return [fresh / f".{file_name(rank, count)}.json" for rank in range(count)]


def finish(fresh: Path, checkpoint: Checkpoint, count: int, *, keep: int, keep_every: int = 0) -> Path:
    """Let a checkpoint count, of which all of `count` parts are there; gives its folder.

    Then delete all but the newest `keep`, and those after a multiple of keep_every steps, unless that is 0.
    """
    folder, path = fresh.parent, fresh.parent / _name(checkpoint.step)
    files = {}
    for rank, mark in enumerate(marks(fresh, count)):
        files[file_name(rank, count)] = json.loads(mark.read_text())
        mark.unlink()
    numbers = dict(checkpoint.numbers)
    state = {"format": FORMAT, "step": checkpoint.step, "numbers": numbers, "files": files}
    text = json.dumps({**state, "hash": _hash_of(state)}, indent=2) + "\n"
    (fresh / STATE).write_text(text, encoding="utf-8")
    _synchronise(fresh / STATE)
    if path.exists():  # the same step again, after a resume from an older one
        _delete(path)
    fresh.rename(path)
    for old in _all(folder)[:-keep]:
        if not keep_every or step_of(old) % keep_every:
            _delete(old)
    return path


def file_name(rank: int, count: int) -> str:
    """Return what the file of one of `count` processes is called."""
    return "tensors.safetensors" if count == 1 else f"tensors-{rank:05}-of-{count:05}.safetensors"


def step_of(path: Path) -> int:
    """Return the steps after which a checkpoint was written."""
    return int(path.name.removeprefix("step-"))


def done(folder: Path) -> int | None:
    """Return the steps after which the newest checkpoint was written, or None."""
    path = latest(folder)
    return None if path is None else step_of(path)


def latest(folder: Path) -> Path | None:
    """Return the newest checkpoint below folder, or None."""
    return next(reversed(_all(folder)), None)


def sound(folder: Path, *, settled: bool = False) -> Path | None:
    """Return the newest checkpoint that is as it was written; None where there are none at all.

    Damaged ones that are newer are put aside, and said. UserError where all are damaged. settled: none of
    those that were written after a step that was skipped.
    """
    mistake: Damaged | None = None
    for path in reversed(_all(folder)):
        try:
            check(path)
            if not settled or not read(path).numbers.get("in_a_row"):
                return path
        except Damaged as found:
            aside = path.with_name(f"{DAMAGED}{path.name}")
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
            strategy.current().say(f"{aside} is damaged ({found.got}); the checkpoint before it is taken")
            mistake = mistake or found
    if mistake is None:
        return None
    remedy = "begin anew, in another --out; model/ is as it was saved last"
    raise UserError(f"a whole checkpoint in {folder}", f"damaged ones alone, {mistake.got}", remedy)


def forget(folder: Path, step: int) -> None:
    """Delete the checkpoints after more steps than these."""
    for path in _all(folder):
        if step_of(path) > step:
            _delete(path)


def check(path: Path) -> None:
    """Raise Damaged for a checkpoint that is not as it was written: its files by their hashes."""
    try:
        state = json.loads((path / STATE).read_text(encoding="utf-8"))
        if state["format"] == 1:
            read(path)
            return
        if state.pop("hash") != _hash_of(state):
            raise _damage(path, f"{STATE} is not as it was written")
        if state["format"] > FORMAT:
            got = f"format {state['format']} in {path / STATE}"
            raise UserError(f"a checkpoint of format {FORMAT}", got, "use a newer smalti")
        for name, mark in state["files"].items():
            if _mark(path / name) != mark:
                raise _damage(path, f"{name} is not as it was written")
    except _UNREADABLE as problem:
        raise _damage(path, " ".join(str(problem).split())) from None


def read(path: Path) -> Checkpoint:
    """Read a checkpoint, of however many processes; tensors when they are asked for. See `check`."""
    try:
        state = json.loads((path / STATE).read_text(encoding="utf-8"))
        files = state.get("files", {file_name(0, 1): None})
        numbers = dict(state["numbers"])
        if "since" in numbers:
            numbers["since"] = [old_names.path(name) for name in numbers["since"]]
        return Checkpoint(
            step=state["step"], tensors=Stored([path / name for name in files]), numbers=numbers
        )
    except _UNREADABLE as problem:
        raise _damage(path, " ".join(str(problem).split())) from None


class Stored(Mapping[str, Tensor]):
    """The tensors of a checkpoint's files, each read and put together when it is asked for."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._parts: dict[str, list[tuple[int, Any, str]]] = {}  # first row, open file, the name in it
        for path in files:
            file: Any = safe_open(path, framework="pt")
            rows = json.loads((file.metadata() or {}).get("rows", "{}"))
            for name in file.keys():  # noqa: SIM118  # of a file, which is no mapping
                part = (rows.get(name, [0])[0], file, name)
                self._parts.setdefault(old_names.path(name), []).append(part)

    def __getitem__(self, name: str) -> Tensor:
        parts = sorted(self._parts[name], key=itemgetter(0))
        found = [file.get_tensor(own) for _, file, own in parts]
        return found[0] if len(found) == 1 else torch.cat(found)

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)


def flatten(optimizer: Optimizer) -> dict[str, Tensor]:
    """Return an optimizer's moments by name: number of the parameter / name of the moment."""
    state = optimizer.state_dict()["state"]
    return {f"{number}/{name}": value for number, kept in state.items() for name, value in kept.items()}


def restore(
    optimizer: Optimizer, flat: Mapping[str, Tensor], whole: Mapping[Tensor, Tensor] | None = None
) -> None:
    """Give an optimizer its moments back, whole ones, in the memory layout of its parameters.

    whole: by what of a weight it has the weight itself, where processes share these; None: all of each.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for path, value in flat.items():
        number, name = path.split("/")
        parameter = parameters[int(number)]
        weight = parameter if whole is None else whole[parameter]
        if value.shape == weight.shape and name != "step":  # fused kernels want equal strides
            part = strategy.current().part(weight, value)
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(part)
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _all(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _synchronise(path: Path) -> None:
    """Return once a file is on the disk: a power cut must not leave one that counts, and is none."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _delete(path: Path) -> None:
    # half deleted it must not look like a checkpoint
    half = path.with_name(f".{path.name}.old.{os.getpid()}")
    path.rename(half)
    shutil.rmtree(half)


def _mark(path: Path) -> dict[str, Any]:
    """Return size and hash of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"bytes": file.tell(), "sha256": digest}


def _hash_of(state: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _damage(path: Path, got: str) -> Damaged:
    remedy = f"delete {path}: the checkpoint before it is used then"
    return Damaged(f"a whole checkpoint in {path}", got, remedy)
