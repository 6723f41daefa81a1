"""What a run says while it goes: log lines, alarms, the progress bar."""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from tqdm import tqdm

from smalti import strategy
from smalti.training import health
from smalti.training.log import Kind, Log
from smalti.training.watch import Slow

SELDOM = 600.0  # seconds between two words at the terminal on slow steps; the log has all
REGARDED = 256  # train lines that alarms look at: those of 200 steps, even if each step has one


class Recorder:
    """Collects the numbers of steps and writes their means; only process 0 writes."""

    def __init__(self, log: Log | None, bar: "tqdm[None]") -> None:
        self.log, self.bar = log, bar
        self._since: dict[str, list[Tensor]] = {}  # numbers of the steps since the last line, by name
        self._lines: list[Mapping[str, float]] = []
        self._alarmed: set[str] = set()
        self._said_slow = -SELDOM

    def collect(self, numbers: Mapping[str, Tensor]) -> None:
        """Take in the numbers of a step; they stay on the device until a line is written."""
        for name, number in numbers.items():
            self._since.setdefault(name, []).append(number)

    def line(self, step: int, more: Mapping[str, float]) -> None:
        """Write a train line: means over the steps since the last one, and more numbers as they are.

        All processes call this together.
        """
        values = {**self._means(), **more}
        self._since = {}
        self.bar.set_postfix({name: f"{values[name]:.4g}" for name in values if _is_shown(name)})
        self.write(step, "train", **values)
        self._lines = [*self._lines, {"step": step, **values}][-REGARDED:]
        self._alarm(step)

    def write(self, step: int, kind: Kind, **values: object) -> None:
        """Write a line of any kind."""
        if self.log is not None:
            self.log.write(step, kind, **values)

    def notes(self, step: int, texts: list[str]) -> None:
        """Write a note of each text, and take them away."""
        while texts:
            self.write(step, "note", text=texts.pop(0))

    def slow(self, step: int, found: Slow | None) -> None:
        """Write an alarm of a step that was slow, if it was; say so at most every ten minutes."""
        if found is None:
            return
        self.write(step, "alarm", name="slow_step", finding=found.finding, remedy=found.remedy)
        if time.monotonic() - self._said_slow > SELDOM:
            self._said_slow = time.monotonic()
            self.say(f"step {step} {found.finding}. Try: {found.remedy}")

    def image(self, step: int, name: str, image: UInt8[Tensor, "c H W"]) -> None:
        """Show an image: see Log."""
        if self.log is not None:
            self.log.image(step, name, image)

    def say(self, text: str) -> None:
        """Tell the person at the terminal, above the bar."""
        if self.log is not None:
            self.bar.write(text, file=sys.stderr)

    def since(self) -> dict[str, Float[Tensor, "ranks n"]]:
        """Return the numbers of the steps since the last line, of every process, for a checkpoint.

        All processes call this together.
        """
        if not self._since:
            return {}
        columns = [torch.stack(column).float() for column in self._since.values()]
        rows = strategy.current().gather(torch.cat(columns)[None])
        parts = torch.split(rows, [len(column) for column in columns], 1)
        return {name: part.clone() for name, part in zip(self._since, parts, strict=True)}

    def go_on(self, step: int) -> Sequence[Mapping[str, Any]]:
        """Let log and bar go on after a step; gives the lines up to there, where this process has a log."""
        self.bar.n = step
        self.bar.refresh()
        return [] if self.log is None else self.log.go_on(step)

    def restore(
        self, since: Mapping[str, Float[Tensor, "ranks n"]], lines: Sequence[Mapping[str, Any]]
    ) -> None:
        """Go on from what `since` gave and from the lines of the log: no alarm that stands is said again."""
        processes = strategy.current()
        self._since = {}
        for name, rows in since.items():  # as many processes as before, or each goes on from their mean
            self._since[name] = list(rows[processes.rank] if len(rows) == processes.count else rows.mean(0))
        train = [line for line in lines if line["kind"] == "train"][-REGARDED:]
        self._lines = [{name: float(line[name]) for name in line if name != "kind"} for line in train]
        self._alarmed = {alarm.name for alarm in health.examine(self._lines)} if train else set()

    def _means(self) -> dict[str, float]:
        if not self._since:
            return {}
        means = torch.stack([torch.stack(column).float().mean() for column in self._since.values()])
        return dict(zip(self._since, strategy.current().average(means).tolist(), strict=True))

    def _alarm(self, step: int) -> None:
        """Say each alarm once, and again only after it has been gone."""
        alarms = health.examine(self._lines)
        for alarm in alarms:
            if alarm.name not in self._alarmed:
                self.write(step, "alarm", name=alarm.name, finding=alarm.finding, remedy=alarm.remedy)
                self.say(f"step {step}: {alarm.finding}. Try: {alarm.remedy}")
        self._alarmed = {alarm.name for alarm in alarms}


def _is_shown(name: str) -> bool:
    return name.startswith("loss/") or name in {"images_per_second", "memory_gib"}
