"""A run folder: where each file lies."""

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from smalti import leftovers, library, locks, strategy
from smalti.errors import UserError
from smalti.training import checkpoints


@dataclass(frozen=True)
class RunFolder:
    """settings.yaml  classes.json  origin.json  log.jsonl  curves.svg  samples/  checkpoints/  model/  best/

    condition/ is there where the condition learned something of the data as the run began;
    curves.svg is drawn anew with every checkpoint; best/ is there where the recipe says by what.
    """

    root: Path

    @property
    def settings(self) -> Path:
        """Return the recipe as it was resolved: what a resumed run reads."""
        return self.root / "settings.yaml"

    @property
    def classes(self) -> Path:
        """Return the names of the data's classes by number, as the run began.

        What a resumed run must find again.
        """
        return self.root / "classes.json"

    @property
    def condition(self) -> Path:
        """Return where the text files lie that keep what a condition learned of the data as the run began."""
        return self.root / "condition"

    @property
    def origin(self) -> Path:
        """Return the file by which a resumed run knows its recipe, data and tokenizers, see Origin."""
        return self.root / "origin.json"

    @property
    def log(self) -> Path:
        """Return one JSON object a line."""
        return self.root / "log.jsonl"

    @property
    def samples(self) -> Path:
        """Return images, one file for each step at which some were drawn."""
        return self.root / "samples"

    @property
    def checkpoints(self) -> Path:
        """Return where the run stands."""
        return self.root / "checkpoints"

    @property
    def model(self) -> Path:
        """Return the newest model, a model folder."""
        return self.root / "model"

    def sheet(self, step: int) -> Path:
        """Return the sample sheet of a step."""
        return self.samples / f"step-{step:08d}.png"

    @property
    def best(self) -> Path:
        """Return the best model by the number that the recipe names, a model folder."""
        return self.root / "best"

    @property
    def curves(self) -> Path:
        """Return the picture of the log."""
        return self.root / "curves.svg"

    def model_step(self) -> int | None:
        """Return the steps after which the newest model was saved; None where there is no whole one."""
        steps = _provenance(self.model).get("steps")
        return None if steps is None else int(steps)

    def best_by(self) -> str | None:
        """Return the number by which the best model is the best; None where there is no whole one."""
        found = _provenance(self.best).get("best_by")
        return None if found is None else str(found)

    def check_new(self) -> None:
        """UserError where the folder holds something already; what a kill inside `begin` left is nothing."""
        if self.root.exists() and not (self.root.is_dir() and self._is_as_new()):
            remedy = "choose another out, or resume it: --resume (resume=True)"
            raise UserError("a new or empty run folder", f"{self.root}, which holds something", remedy)

    def create(self) -> None:
        """Make the folder; UserError where it holds something already."""
        self.check_new()
        self.root.mkdir(parents=True, exist_ok=True)

    def begin(
        self, settings: Mapping[str, Any], classes: Sequence[str], learned: Mapping[str, str], origin: str
    ) -> None:
        """Make the folder, with what a resumed run goes by. learned: what its condition did, see there."""
        self.create()
        write(self.origin, origin)  # first: by it `_is_as_new` knows what is ours
        if learned:
            self.condition.mkdir(exist_ok=True)
        for name, text in learned.items():
            write(self.condition / name, text)
        write(self.classes, json.dumps(list(classes), indent=2) + "\n")
        self._write_settings(settings)

    def change(self, settings: Mapping[str, Any], origin: str) -> None:
        """Write what the run goes by in place of what is there, each file whole or not at all."""
        write(self.origin, origin)
        self._write_settings(settings)

    def clear(self) -> None:
        """Put right what a process that was killed while it wrote left here."""
        library.recover(self.model)
        library.recover(self.best)
        leftovers.clear(self.checkpoints, checkpoints.LEFTOVERS)
        leftovers.clear(self.samples, ".step-*")
        self._clear_files()

    def _clear_files(self) -> None:
        for path in (self.settings, self.classes, self.origin, self.log, self.curves):
            leftovers.clear(self.root, f".{path.name}.*")

    def _write_settings(self, settings: Mapping[str, Any]) -> None:
        """Write them last of all that a run begins with: what has them can be resumed."""
        write(self.settings, yaml.safe_dump(dict(settings), sort_keys=False))

    def _is_as_new(self) -> bool:
        """Return whether the folder holds nothing, or what `begin` writes before the settings."""
        self._clear_files()
        there = {path.name for path in self.root.iterdir()} - {locks.NAME}
        before = {path.name for path in (self.origin, self.condition, self.classes)}
        return not there or (there <= before and _is_origin(self.origin))

    @property
    def again(self) -> str:
        """Return the command that goes on with this run, as a shell takes it."""
        return shlex.join([*strategy.current().launch, "train", "--resume", "--out", str(self.root)])


def _provenance(model: Path) -> dict[str, Any]:
    """Return what a model folder says of its making; nothing where there is no whole one."""
    try:
        return dict(library.read_config(model).get("provenance", {}))
    except (OSError, UserError):
        return {}


def _is_origin(path: Path) -> bool:
    """Return whether a file is the origin of a run, and not somebody's who calls a file so too."""
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(noted, dict) and {"recipe", "mapping", "tokenizers"} <= noted.keys()


def write(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)
