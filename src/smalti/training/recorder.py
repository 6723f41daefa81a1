"""What a run says while it goes: log lines, alarms, the progress bar."""

import sys
from collections.abc import Mapping

import torch
from torch import Tensor
from tqdm import tqdm

from smalti.losses import ranks
from smalti.training import health
from smalti.training.log import Kind, Log

REGARDED = 256  # train lines that alarms look at: those of 200 steps, even if each step has one


class Recorder:
    """Collects the numbers of steps and writes their means; only process 0 writes."""

    def __init__(self, log: Log | None, bar: "tqdm[None]") -> None:
        self.log, self.bar = log, bar
        self._since: list[Mapping[str, Tensor]] = []
        self._lines: list[Mapping[str, float]] = []
        self._alarmed: set[str] = set()

    def collect(self, numbers: Mapping[str, Tensor]) -> None:
        """Take in the numbers of a step; they stay on the device until a line is written."""
        self._since.append(numbers)

    def line(self, step: int, more: Mapping[str, float]) -> None:
        """Write a train line: means over the steps since the last one, and more numbers as they are.

        All processes call this together.
        """
        values = {**self._means(), **more}
        self._since = []
        self.bar.set_postfix({name: f"{values[name]:.4g}" for name in values if _is_shown(name)})
        self.write(step, "train", **values)
        self._lines = [*self._lines, {"step": step, **values}][-REGARDED:]
        self._alarm(step)

    def write(self, step: int, kind: Kind, **values: object) -> None:
        """Write a line of any kind."""
        if self.log is not None:
            self.log.write(step, kind, **values)

    def say(self, text: str) -> None:
        """Tell the person at the terminal, above the bar."""
        if self.log is not None:
            self.bar.write(text, file=sys.stderr)

    def _means(self) -> dict[str, float]:
        names = list(dict.fromkeys(name for numbers in self._since for name in numbers))
        if not names:
            return {}
        columns = [[numbers[name] for numbers in self._since if name in numbers] for name in names]
        means = torch.stack([torch.stack(column).float().mean() for column in columns])
        return dict(zip(names, ranks.average(means).tolist(), strict=True))

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
