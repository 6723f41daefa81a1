"""The loop: batches in; steps, log lines, sample sheets, checkpoints and a model out."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import chain
from math import isfinite

import torch
from torch import Tensor, nn
from tqdm import tqdm

from smalti import images, library
from smalti.data.protocol import Batch
from smalti.errors import UserError
from smalti.losses import ranks
from smalti.training import batches as batching
from smalti.training import checkpoints, processes
from smalti.training.checkpoints import Checkpoint
from smalti.training.ema import Ema
from smalti.training.folder import RunFolder
from smalti.training.interrupts import Interrupts, stop
from smalti.training.log import Log
from smalti.training.optimization import Optimizers, Outcome
from smalti.training.pace import Pace, memory_gib
from smalti.training.recorder import Recorder
from smalti.training.seeds import seeded
from smalti.training.settings import OptimizerSettings, Training
from smalti.training.task import Losses, Task

PATIENCE = 100  # steps skipped in a row after which a run gives up


@dataclass(frozen=True, kw_only=True)
class Feed:
    """Where batches come from. Each process gets its own share of every batch."""

    train: Callable[[int], Iterator[Batch]]  # without end, beginning with the batch of a step
    validation: Callable[[], Iterable[Batch]] | None  # None: nothing is held out


class Loop:
    """A run: the task's networks, their optimizers and averages, and `step`, the number of steps done."""

    def __init__(
        self,
        task: Task,
        training: Training,
        rates: Mapping[str, OptimizerSettings],
        folder: RunFolder,
        device: torch.device,
    ) -> None:
        """rates: the optimizer of each of the task's networks."""
        self.task, self.training, self.folder, self.device = task, training, folder, device
        self.optimizers = Optimizers(task.networks, rates, training, device)
        self.modules: list[nn.Module] = []  # what runs the networks
        self.step = 0
        self.skipped = 0  # steps, for a loss or a gradient that was not finite
        self.in_a_row = 0

    def run(self, feed: Feed) -> None:
        """Train to the last step, from the newest checkpoint in the run folder or from the beginning.

        On Ctrl-C or SIGTERM the step is finished, a checkpoint written, and the program ends as it would
        have. UserError where a hundred steps in a row gave no number.
        """
        self._restore()
        with Interrupts() as interrupts, self._recording() as recorder:
            source = self._begin(feed)
            reporter = Reporter(self, recorder, feed)
            while self.step < self.training.steps:
                self.advance(source, reporter)
                received = interrupts.received
                reporter.report()


"""
"""
