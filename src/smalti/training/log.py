"""The record of a run: one JSON object a line in log.jsonl, and TensorBoard where it is installed."""

import json
import math
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

from jaxtyping import UInt8
from torch import Tensor

from smalti import old_names
from smalti.errors import UserError, optional

Kind = Literal["train", "validation", "best", "skipped", "alarm", "note"]


class Log:
    """Appends lines {"step": steps done, "kind": ..., name: value, ...}.

    On resume the lines after the resumed step are dropped: they will be written again. A number that is
    not finite is written as text ("nan", "inf"), since JSON has none.
    """

    def __init__(self, path: Path, *, resumed: int = 0) -> None:
        self.path = path
        self.go_on(resumed)
        self.board = _board(path.parent / "tensorboard", resumed)
        self._hook = threading.excepthook
        if self.board is not None:
            threading.excepthook = partial(_heard, self._hook)
        if self.board is None and not resumed:
            self.write(0, "note", text="no TensorBoard files: pip install 'smalti[train]'")

    def go_on(self, step: int) -> list[dict[str, Any]]:
        """Drop the lines after a step; gives those up to there."""
        kept = [line for line in read(self.path) if line["step"] <= step] if step else []
        fresh = self.path.with_name(
            f".{self.path.name}.{os.getpid()}"
        )  # a kill in here must not cost the log
        fresh.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        fresh.replace(self.path)
        return kept

    def write(self, step: int, kind: Kind, **values: Any) -> None:
        """Append one line; it is on disk when this returns."""
        plain = {name: _plain(value) for name, value in values.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "kind": kind, **plain}, allow_nan=False) + "\n")
        for name, value in values.items():
            if isinstance(value, int | float):
                self._show(step, "add_scalar", f"{kind}/{name}", value, step)

    def image(self, step: int, name: str, image: UInt8[Tensor, "c H W"]) -> None:
        """Show an image in TensorBoard, where it is installed."""
        self._show(step, "add_image", name, image.cpu().numpy(), step)

    def close(self) -> None:
        """Write out what TensorBoard still holds."""
        self._show(0, "close")
        threading.excepthook = self._hook

    def _show(self, step: int, what: str, *given: Any) -> None:
        """Let TensorBoard do something, where it is installed; where it fails the run goes on without."""
        if self.board is None:
            return
        try:
            getattr(self.board, what)(*given)
        except (OSError, RuntimeError, ValueError) as problem:  # of its own thread too
            self.board = None
            if what != "close":
                self.write(step, "note", text=f"TensorBoard files end here: {problem}")


def read(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a log; a last line that a killed process left half written is left out.

    UserError for a line that is none.
    """
    if not path.is_file():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]  # what no line end follows is half a line
    return [_parsed(line, f"line {number} of {path}") for number, line in enumerate(lines, 1)]


def _parsed(line: bytes, where: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not {"step": int, "kind": str}.items() <= _types(found).items():
        expected = "a log with a JSON object of step and kind in each line"
        raise UserError(expected, where, "mend that line, or take it out")
    return {old_names.path(name): value for name, value in found.items()}


def _types(line: dict[str, Any]) -> dict[str, type]:
    return {name: type(value) for name, value in line.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _heard(before: Callable[[threading.ExceptHookArgs], Any], problem: threading.ExceptHookArgs) -> None:
    """Hear what ends a thread: of TensorBoard's writer the log says it, at the next line."""
    if not (isinstance(problem.exc_value, OSError) and "tensorboard" in type(problem.thread).__module__):
        before(problem)


def _board(folder: Path, resumed: int) -> Any:
    """Return a TensorBoard writer, or None where the package is not installed."""
    try:
        optional("tensorboard", extra="train")
    except UserError:
        return None
    from torch.utils.tensorboard import SummaryWriter  # seconds: only when training

    return SummaryWriter(str(folder), purge_step=resumed + 1 if resumed else None)
