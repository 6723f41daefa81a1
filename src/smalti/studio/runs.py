"""Runs of trainings, read from their folders while they go on: the log, sample sheets, alarms."""

import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio

from smalti import config
from smalti.errors import UserError
from smalti.studio.events import Event

LINES = 600  # of a kind that a page is given: of more, evenly chosen ones
QUIET = 300.0  # seconds without a line after which a run that is not at its end has stopped
EVERY = 1.0  # seconds between two looks at a run that is followed
_ALARM = b'"kind": "alarm"'


class Runs:
    """The runs in one folder, or the one that the folder is. Nothing outside of it is read."""

    def __init__(self, folder: Path | None) -> None:
        """folder: None for none. UserError where it is not there."""
        if folder is not None and not folder.is_dir():
            raise UserError(
                "a folder of runs", f"{folder}, which is none", "give --runs the folder that --out was in"
            )
        self.folder = None if folder is None else folder.resolve()

    def list(self) -> "list[dict[str, Any]]":
        """Return name, kind, steps and state of each run, the newest first."""
        found = [self._summary(root) for root in self._roots()]
        return sorted(found, key=lambda one: -one["updated"])

    def tell(self, name: str) -> dict[str, Any]:
        """Return a run's lines, thinned out, its sheets and alarms, and how far its log was read in bytes.

        UserError for a name that no run has.
        """
        from smalti.training import log  # with torch

        root = self._root(name)
        at = (root / "log.jsonl").stat().st_size  # lines that come meanwhile come twice, not never
        lines = log.read(root / "log.jsonl")
        sheets = [_sheet(name, path) for path in _sheets(root)]
        alarms = [line for line in lines if line["kind"] == "alarm"]
        return {**self._summary(root), "lines": _thinned(lines), "sheets": sheets, "alarms": alarms, "at": at}

    def check(self, name: str) -> None:
        """Raise UserError for a name that no run has."""
        self._root(name)

    def sheet(self, name: str, step: int) -> Path | None:
        """Return the sample sheet of a step; None where there is none."""
        path = self._root(name) / "samples" / f"step-{step:08}.png"
        return path if path.is_file() else None

    async def follow(self, name: str, at: int) -> AsyncIterator[Event]:
        """Give lines and sheets as they come, without end. at: how far the log was read, in bytes.

        A log that became shorter, as that of a resumed run, is told as `again`, and from its beginning.
        """
        root, seen = self._root(name), set(_sheets(self._root(name)))
        while True:
            if (root / "log.jsonl").stat().st_size < at:
                at = 0
                yield Event(at, "again", {})
            for line, end in _after(root / "log.jsonl", at):
                at = end
                yield Event(at, "line", line)
            for path in _sheets(root):
                if path not in seen:
                    seen.add(path)
                    yield Event(at, "sheet", _sheet(name, path))
            await anyio.sleep(EVERY)

    def _roots(self) -> Iterator[Path]:
        if self.folder is None:
            return
        for root in [self.folder, *sorted(self.folder.iterdir())]:
            inside = root.resolve().is_relative_to(self.folder)
            if inside and (root / "log.jsonl").is_file() and (root / "settings.yaml").is_file():
                yield root

    def _root(self, name: str) -> Path:
        found = next((root for root in self._roots() if root.name == name), None)
        if found is None:
            known = ", ".join(root.name for root in self._roots()) or "none"
            raise UserError(f"one of the runs, {known}", name[:80], "see /api/runs")
        return found

    def _summary(self, root: Path) -> dict[str, Any]:
        settings, path = config.load_yaml(root / "settings.yaml"), root / "log.jsonl"
        step, updated, steps = _last_step(path), path.stat().st_mtime, settings.get("steps", 0)
        state = "running" if time.time() - updated < QUIET else "stopped"
        return {
            "name": root.name,
            "kind": settings.get("kind", ""),
            "step": step,
            "steps": steps,
            "state": "done" if step >= steps else state,
            "updated": updated,
            "alarms": path.read_bytes().count(_ALARM),
        }


def _last_step(path: Path) -> int:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2**16))
        lines = file.read().split(b"\n")[:-1]
    return int(json.loads(lines[-1])["step"]) if lines else 0


def _after(path: Path, at: int) -> Iterator[tuple[dict[str, Any], int]]:
    """Give the whole lines after byte `at`, each with where it ends."""
    with path.open("rb") as file:
        file.seek(at)
        for line in file:
            if not line.endswith(b"\n"):
                return
            at += len(line)
            yield json.loads(line), at


def _thinned(lines: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return lines of which each kind has LINES at most, the last one among them; alarms and notes all."""
    kept: list[Mapping[str, Any]] = []
    for kind in dict.fromkeys(line["kind"] for line in lines):
        found = [line for line in lines if line["kind"] == kind]
        stride = -(-len(found) // LINES) if kind in ("train", "validation") else 1
        kept += found[::-1][::stride]
    return sorted(kept, key=lambda line: line["step"])


def _sheets(root: Path) -> list[Path]:
    return sorted((root / "samples").glob("step-[0-9]*.png"))


def _sheet(name: str, path: Path) -> dict[str, Any]:
    step = int(path.stem.removeprefix("step-"))
    return {"step": step, "url": f"/api/runs/{name}/samples/{step}.png"}
