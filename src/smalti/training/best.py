"""The best model of a run, by the number that its recipe names."""

from collections.abc import Mapping, Sequence
from typing import Any

from smalti.training.recorder import Recorder
from smalti.training.saving import Model, Saver
from smalti.training.settings import Training
from smalti.training.validation import Best, finite


class Keeper:
    """Keeps the model that was the best so far; nothing where the recipe names no number."""

    def __init__(self, training: Training, saver: Saver) -> None:
        self._by, self._saver, self._folder = Best.of(training), saver, saver.folder
        self._value: float | None = None  # of the best so far

    def take_up(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Go on from the last line on the best model, where that is there, and the best by this number."""
        if self._by is not None and self._folder.best_by() == self._by.number:
            found = [self._by.find(line) for line in lines if line["kind"] == "best"]
            self._value = next((value for _, value in filter(None, reversed(found))), None)

    def look(self, numbers: Mapping[str, Any], step: int, model: Model, recorder: Recorder) -> None:
        """Save a model, and say so, where by these numbers it is the best so far."""
        found = None if self._by is None else self._by.find(numbers)
        if self._by is None or found is None or not self._by.beats(found[1], self._value):
            return
        (name, value), before = found, self._value
        more = {"best_by": self._by.number, "metrics": finite(numbers)}
        self._saver.model(model, self._folder.best, step, more)
        recorder.write(step, "best", **{name: value})
        told = "" if before is None else f", before {before:.5g}"
        recorder.say(f"step {step}: the best {name} so far, {value:.5g}{told}: {self._folder.best}")
        self._value = value
