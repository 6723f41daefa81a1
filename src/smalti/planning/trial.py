"""Steps of a run, really taken, of which nothing is written: what they take in time and memory."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import torch
from jaxtyping import UInt8
from torch import Tensor
from tqdm import tqdm

from smalti.data.protocol import Batch
from smalti.planning.measuring import Taken, most_allocated, timed
from smalti.training.feed import Feed
from smalti.training.fit import Loop
from smalti.training.folder import RunFolder
from smalti.training.recorder import Recorder
from smalti.training.settings import Training
from smalti.training.task import Task
from smalti.training.tokenizer_task import TokenizerTask


@dataclass(frozen=True)
class Phase:
    """Steps in which the same losses count."""

    first: int
    count: int

    @property
    def last(self) -> int:
        """Return the number of its last step."""
        return self.first + self.count - 1


class Trial(Loop):
    """A run's own loop, whose steps are taken one by one. All lies in memory."""

    def __init__(self, task: Task, training: Training, device: torch.device) -> None:
        # rates decide neither on time nor on memory; the folder is named and never made
        rates = dict.fromkeys(task.networks, training.optimizer)
        super().__init__(task, training, rates, RunFolder(Path("plan")), device)
        self._silent = Recorder(None, tqdm(disable=True))

    def start(self, batches: Callable[[int], Iterator[Batch]]) -> Iterator[Batch]:
        """Let the task start on the first batch, as a run does; gives the batches."""
        return self._begin(Feed(train=batches, validation=None, shown=list))

    def take(self, batch: Batch, step: int) -> None:
        """Take the step of a number."""
        self.step = step
        self._advance(self._moved(batch), self._silent)

    def memory(self, batch: Batch, step: int) -> int:
        """Return the most bytes of tensors that a step makes and holds at one time; takes two.

        Without moments, which the first step makes and which stay.
        """
        self.take(batch, step)
        return most_allocated(lambda: self.take(batch, step), self.device)

    def time(self, batch: Batch, step: int, within: float = 0.0, least: int = 1) -> Taken:
        """Return the median of what some steps take, after one that does not count.

        within: seconds after which no more are begun; least: steps that are taken anyway.
        """
        found = [timed(lambda: self.take(batch, step), self.device)]
        while len(found) <= least or sum(one.wall for one in found) < within:
            found.append(timed(lambda: self.take(batch, step), self.device))
        return Taken(*map(median, zip(*found[1:], strict=True)))

    @contextmanager
    def in_parts(self, parts: int) -> Iterator[None]:
        """Within, each batch is cut into so many parts in place of the recipe's."""
        before, self.training = self.training, replace(self.training, accumulate=parts)
        try:
            yield
        finally:
            self.training = before

    def show(self, batch: Batch) -> UInt8[Tensor, "c H W"]:
        """Draw a sample sheet."""
        with self._means():
            return self.task.samples(self._moved(batch))

    def validate(self, batch: Batch) -> None:
        """Validate by a batch."""
        with self._means():
            self.task.validate([self._moved(batch)])

    def _means(self) -> AbstractContextManager[None]:
        return self.ema.applied() if self.ema is not None else nullcontext()


def phases(task: Task, training: Training) -> list[Phase]:
    """Return the phases of a run, one after the other: losses begin at a step, a codebook starts."""
    last = training.steps - 1
    firsts = [0]
    while _which(task, training, firsts[-1]) != _which(task, training, last):
        low, high = firsts[-1], last  # the first step after which something else counts lies above low
        while high - low > 1:
            middle = (low + high) // 2
            same = _which(task, training, middle) == _which(task, training, firsts[-1])
            low, high = (middle, high) if same else (low, middle)
        firsts.append(high)
    ends = [*firsts[1:], training.steps]
    return [Phase(first, end - first) for first, end in zip(firsts, ends, strict=True)]


def _which(task: Task, training: Training, step: int) -> Sequence[bool]:
    """Return what counts at a step. What began once goes on."""
    if not isinstance(task, TokenizerTask):
        return ()
    starts = getattr(training, "quantize_start", 0)
    return (*(term.weight(step) is not None for term in task.terms), step >= starts)
