"""The loop: batches in; steps, log lines, sample sheets, checkpoints and a model out."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain, islice
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from tqdm import tqdm

from smalti import imaging, strategy
from smalti.data.protocol import Batch
from smalti.errors import UserError
from smalti.training import checkpoints, curves, log, saving
from smalti.training.batches import cut, is_finite, to
from smalti.training.best import Keeper
from smalti.training.checkpoints import Checkpoint
from smalti.training.ema import Ema
from smalti.training.feed import Feed
from smalti.training.folder import RunFolder
from smalti.training.interrupts import Interrupts, stop
from smalti.training.log import Log
from smalti.training.optimization import Optimizers, Outcome
from smalti.training.pace import Pace, memory_gib
from smalti.training.recorder import Recorder
from smalti.training.saving import Saver
from smalti.training.seeds import seeded
from smalti.training.settings import OptimizerSettings, Training
from smalti.training.task import Losses, Task

# reasons to stop, above the numbers of all signals: a process gets no more batches, or cannot write
STARVED, UNWRITTEN = 1000, 1001


class Diverged(Exception):
    """So many steps in a row had no finite numbers that a run goes no further."""


class Loop:
    """A run. Its state is `step` (steps done), the task's networks, their optimizers and the averages."""

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
        self.strategy = strategy.current()
        self.rates = rates
        self.optimizers = Optimizers(task.networks, rates, training, device)
        self.ema = Ema(task.networks[task.averaged], training.ema) if training.ema else None
        self.saver = Saver(training, folder)
        self.step = 0
        self.skipped = 0  # steps, for a loss or gradient that was no number
        self._in_a_row = 0
        self._rewound = 0  # times that the run went back, each of which halves its rates
        self._saved: int | None = None  # the step of the newest checkpoint
        self.best = Keeper(training, self.saver)
        self._sheet: Sequence[Batch] = ()  # what sample sheets show, once there is something
        self._wrapped: list[nn.Module] = []  # the networks as the strategy runs them

    def run(self, feed: Feed) -> None:
        """Train to the last step, from the newest checkpoint in the run folder or from the beginning.

        On Ctrl-C or SIGTERM, in whichever process, all processes finish the step, a checkpoint is written,
        and the program ends as it would have. UserError where too many steps in a row gave no number, and,
        once a checkpoint is written, that of a feed that gives no more batches.
        """
        try:
            reason, mistake = self._run(feed)
        finally:
            self.saver.writer.close()
        reason = self._agree(reason)  # nobody leaves before the checkpoint is written
        if reason:
            self._stop(reason, mistake)

    def _run(self, feed: Feed) -> tuple[int, UserError | None]:
        """Return why it stopped, and what this process says of that; see `_train`."""
        found = self._newest()
        self.step = 0 if found is None else found.step
        with Interrupts() as interrupts, self._recorder() as recorder:
            self._caution(recorder)
            batches = self._begin(feed)
            if found is not None:
                self._restore(found)
                self._take_up(found, recorder, feed)
            while True:
                try:
                    why = self._train(batches, interrupts, recorder, feed)
                    break
                except Diverged as problem:
                    self._rewind(str(problem), recorder)
                    batches = feed.train(self.step)
            self.saver.end()
        return why

    def _train(
        self, batches: Iterator[Batch], interrupts: Interrupts, recorder: Recorder, feed: Feed
    ) -> tuple[int, UserError | None]:
        """Take steps to the last one, or to a reason to stop: gives it, and what this process says."""
        pace, mistake, reason = Pace(self.training.batch, self.device), None, 0
        while self.step < self.training.steps:
            try:
                if interrupts.received is None:
                    with pace.waiting():
                        batch = self._moved(next(batches))
            except UserError as problem:
                mistake = problem
            recorder.notes(self.step, feed.notes)
            reason = self._agree(self._reason(interrupts, mistake))
            if reason:
                if reason != UNWRITTEN:
                    self._save(recorder)
                break
            with pace.working():
                self._advance(batch, recorder)
            recorder.bar.update()
            self._report(recorder, pace, feed)
        return reason or self._reason(interrupts, mistake), mistake

    def _newest(self, *, settled: bool = False) -> Checkpoint | None:
        """Return the newest good checkpoint, if there is one. settled: only of steps that were taken."""
        found: Path | UserError | None = None
        if self.strategy.rank == 0:
            try:
                found = checkpoints.sound(self.folder.checkpoints, settled=settled)
            except UserError as mistake:
                found = mistake
        found = self.strategy.collect(found)[0]
        if isinstance(found, UserError):
            raise found
        return None if found is None else checkpoints.read(found)

    def _restore(self, found: Checkpoint) -> None:
        """Go on from a checkpoint."""
        saving.restore(found, self.task, self.optimizers, self.ema)
        self.step, self.skipped = found.step, found.numbers["skipped"]
        self._saved, self._in_a_row = self.step, found.numbers.get("in_a_row", 0)
        self._rewound = found.numbers.get("rewound", 0)
        self.optimizers.share = 0.5**self._rewound

    def _rewind(self, why: str, recorder: Recorder) -> None:
        """Go back to the last checkpoint of a step that was taken, and on from there with half the rates."""
        self.saver.end()
        found = self._newest(settled=True) if self._rewound < self.training.rewinds else None
        if found is None:
            remedy = "halve optimizer.lr, set clip=1.0, use precision=fp32, or rewinds=3"
            raise UserError("finite losses and gradients", why, f"{remedy}; the last checkpoint is good")
        from_step, rewound = self.step, self._rewound + 1
        self._restore(found)
        self._rewound, self.optimizers.share = rewound, 0.5**rewound
        self._continue(found, recorder)
        text = f"{why}; from step {from_step} back to step {self.step}, the rates times {0.5**rewound:g}"
        recorder.write(self.step, "note", text=text)
        recorder.say(f"note: {text}")
        self._saved = None  # of this step, but with other rates: a run that is killed goes on with them
        if self.strategy.rank == 0:
            checkpoints.forget(self.folder.checkpoints, self.step)
        self._save(recorder)

    def _continue(self, found: Checkpoint, recorder: Recorder) -> Sequence[Mapping[str, Any]]:
        """Let the log go on where a checkpoint was written; gives its lines."""
        since = found.below("since")
        names = found.numbers.get("since", [])  # in the order in which a line has them
        lines = recorder.go_on(found.step)
        recorder.restore({name: since[name].to(self.device) for name in names}, lines)
        return lines

    def _take_up(self, found: Checkpoint, recorder: Recorder, feed: Feed) -> None:
        """Let the log go on, and make up for what a process that was killed after the checkpoint left out."""
        lines = self._continue(found, recorder)
        with self._shown() as here:
            if not here:
                return
            if self.folder.model_step() != self.step:
                self.saver.model(self.task.model(), self.folder.model, self.step, {})
            if self._is_due(self.training.sample_every) and not self.folder.sheet(self.step).is_file():
                self._draw_sheet(recorder, feed)
            self.best.take_up(lines)
            validated = [line for line in lines if line["kind"] == "validation" and line["step"] == self.step]
            if validated:
                self.best.look(validated[0], self.step, self.task.model(), recorder)
            elif self._is_due(self.training.validate_every):
                self._validate(recorder, feed)
            curves.write(self.folder.curves, log.read(self.folder.log))

    @contextmanager
    def _recorder(self) -> Iterator[Recorder]:
        """Open the log and the bar of this run; only process 0 has them."""
        first = self.strategy.rank == 0
        log = Log(self.folder.log, resumed=self.step) if first else None
        with tqdm(total=self.training.steps, initial=self.step, unit="step", disable=not first) as bar:
            try:
                yield Recorder(log, bar)
            finally:
                if log is not None:
                    log.close()

    def _caution(self, recorder: Recorder) -> None:
        """Say what several processes do otherwise than one, at the start of a run."""
        text = self.strategy.unlike_one(self.task.networks.values()) if self.step == 0 else None
        if text is not None:
            recorder.write(0, "note", text=text)
            recorder.say(f"note: {text}")

    def _begin(self, feed: Feed) -> Iterator[Batch]:
        """Let the task start on the first batch of a new run; gives the batches from the next step on."""
        batches = feed.train(self.step)
        if self.step == 0:
            first = next(batches)
            if feed.validation is None and feed.shown is None and self.strategy.rank == 0:
                self._sheet = [self._moved(first)]
            self.task.start(self._moved(first))
            self._begin_average()  # the start may have moved weights
            batches = chain([first], batches)
        before = dict(self.task.networks)
        self._wrapped = list(self.task.distribute(self.strategy.wrap))
        if any(network is not before[name] for name, network in self.task.networks.items()):
            self.optimizers = Optimizers(self.task.networks, self.rates, self.training, self.device)
            self._begin_average()
        return batches

    def _begin_average(self) -> None:
        if self.ema is not None:
            self.ema = Ema(self.task.networks[self.task.averaged], self.training.ema)

    def _advance(self, batch: Batch, recorder: Recorder) -> None:
        """Take one step; skipped where a loss or a gradient is not finite."""
        parts = cut(batch, self.training.accumulate)
        shares = [part.size / batch.size for part in parts]
        found = [self._forward_backward(number, parts) for number in range(len(parts))]
        local = _mean([losses.minimise for losses in found], shares)
        losses = {name: self.strategy.average(loss) for name, loss in local.items()}
        outcome = self.optimizers.step(losses, self.step)
        if outcome.moved:
            if self.ema is not None:
                self.ema.update()
            if self.task.after_step(found, self.step):
                self._begin_average()
        statistics = _mean([losses.statistics for losses in found], shares)
        self.step += 1
        if outcome.moved:  # what is not finite would hide the numbers of all other steps of the line
            values = {f"loss/{name}": loss for name, loss in losses.items()}
            lengths = {f"gradient/{name}": norm for name, norm in outcome.norms.items()}
            recorder.collect({**values, **lengths, **statistics})
        self._count(outcome, batch, statistics, recorder)

    def _forward_backward(self, number: int, parts: list[Batch]) -> Losses:
        """Return what a part of a batch gives.

        Its gradients are added, weighted with its share of the batch.
        """
        part, share = parts[number], parts[number].size / sum(part.size for part in parts)
        last = number == len(parts) - 1
        chance = (self.training.seed, 5, self.step, self.strategy.rank, number)  # of dropout
        wait: AbstractContextManager[None] = nullcontext()
        if not last:  # processes exchange gradients once a step
            wait = self.strategy.unsynchronised(self._wrapped)
        with seeded(self.device, *chance), wait:
            with self.optimizers.autocast():
                losses = self.task.losses(part, self.step, number)
            self.optimizers.backward(losses.minimise, share)
        return losses

    def _count(
        self, outcome: Outcome, batch: Batch, statistics: Mapping[str, Tensor], recorder: Recorder
    ) -> None:
        """Keep account of skipped steps; Diverged after too many in a row."""
        self._in_a_row = 0 if outcome.moved else self._in_a_row + 1
        wrong = [*(["batch"] if outcome.wrong and not is_finite(batch) else []), *outcome.wrong]
        if wrong:
            self.skipped += 1
            terms = [name for name, value in statistics.items() if not value.isfinite()]
            recorder.write(self.step, "skipped", wrong=", ".join([*wrong, *terms]))
        if self._in_a_row >= self.training.patience:
            raise Diverged(f"{self._in_a_row} steps in a row without ({', '.join(wrong)})")

    def _draw_sheet(self, recorder: Recorder, feed: Feed) -> None:
        """Draw a sample sheet, of the same images: held-out ones, or without these the first."""
        if not self._sheet:
            self._sheet = [self._moved(batch) for batch in feed.of_sheets()]
        sheet = imaging.below(list(map(self.task.samples, self._sheet)))
        imaging.save_png(self.folder.sheet(self.step), sheet, {}, overwrite=True)
        recorder.image(self.step, "samples", sheet)

    def _report(self, recorder: Recorder, pace: Pace, feed: Feed) -> None:
        """Do what is due after this step: log line, sample sheet, numbers on held-out images, checkpoint."""
        drawn, validated = (
            self._is_due(every) for every in (self.training.sample_every, self.training.validate_every)
        )
        recorder.slow(self.step, pace.slow)
        if self._is_due(self.training.log_every):
            rates = pace.take()
            with pace.waiting("log"):
                recorder.line(self.step, {**self._numbers(), **rates})
        if self._is_due(self.training.checkpoint_every):
            with pace.waiting("checkpoint"):
                self._save(recorder)
        if drawn or validated:
            with self._shown() as here:
                if here and drawn:
                    with pace.waiting("sheet"):
                        self._draw_sheet(recorder, feed)
                if here and validated:
                    with pace.waiting("validation"):
                        self._validate(recorder, feed)

    def _validate(self, recorder: Recorder, feed: Feed) -> None:
        """Write the numbers on held-out images, if any can be used."""
        batches = feed.held_out()
        begin = list(islice(batches, 1))
        if begin:
            numbers = self.task.validate(map(self._moved, chain(begin, batches)))
            recorder.write(self.step, "validation", **numbers)
            self.best.look(numbers, self.step, self.task.model(), recorder)

    def _moved(self, batch: Batch) -> Batch:
        return to(batch, self.device, self.task.computed)

    def _is_due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.training.steps

    def _numbers(self) -> dict[str, float]:
        """Return what a log line holds beside losses and statistics."""
        rates = {f"lr/{name}": self.optimizers.rate(name, self.step - 1) for name in self.task.networks}
        more = {"memory_gib": memory_gib(self.device), "skipped": self.skipped}
        return {**rates, **self.task.summary(), **more}

    def _save(self, recorder: Recorder) -> None:
        """Write a checkpoint and the model as it stands, unless this step has them. All processes call it."""
        if self._saved == self.step:
            return
        since = recorder.since()
        counts = {"skipped": self.skipped, "in_a_row": self._in_a_row, "rewound": self._rewound}
        state = saving.state(self.step, self.task, self.optimizers, self.ema, since, counts)
        if self.strategy.is_sharded:
            with self._shown() as here:
                self.saver.checkpoint(state, self.task if here else None)
        else:  # without the averages taking the weights' place, which costs more than a copy of them
            means = self.ema.means if self.ema else None
            self.saver.checkpoint(state, self.task if self.strategy.rank == 0 else None, means)
        self._saved = self.step

    @contextmanager
    def _shown(self) -> Iterator[bool]:
        """Within, the model has its averaged weights, if there are any; gives whether it is here."""
        means, trained = self.ema.means if self.ema else None, self.task.networks[self.task.averaged]
        swap: AbstractContextManager[None] = nullcontext()
        if self.ema is not None and not self.strategy.is_sharded and self.strategy.rank == 0:
            swap = self.ema.applied()
        with swap, self.strategy.whole(self.task.shown, trained, means) as here:
            yield here

    def _reason(self, interrupts: Interrupts, mistake: UserError | None) -> int:
        """Return why this process must stop: UNWRITTEN, STARVED, the number of a signal, or 0."""
        if self.saver.writer.has_failed():
            return UNWRITTEN
        return STARVED if mistake is not None else interrupts.received or 0

    def _agree(self, reason: int) -> int:
        """Return the largest of the processes' reasons to stop, the same in each; 0: none has one."""
        if self.strategy.count == 1:  # who would wait for an accelerator to hear of himself
            return reason
        return int(self.strategy.gather(torch.tensor([reason], device=self.device)).max())

    def _stop(self, reason: int, mistake: UserError | None) -> NoReturn:
        """End as all processes agreed to."""
        self.strategy.say(f"stopped after step {self.step}; go on with: {self.folder.again}")
        if reason not in (STARVED, UNWRITTEN):
            stop(reason)
        raise mistake or UserError("batches for all processes", "none for another one", "see what it says")


def _mean(parts: list[Mapping[str, Tensor]], shares: list[float]) -> dict[str, Tensor]:
    """Return the means over a batch of what its parts gave."""
    weighted = [(part, share) for part, share in zip(parts, shares, strict=True)]
    return {
        name: torch.stack([part[name].detach() * share for part, share in weighted]).sum()
        for name in parts[0]
    }
