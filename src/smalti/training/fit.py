"""The loop: batches in; steps, log lines, sample sheets, checkpoints and a model out."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from itertools import chain, islice
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from tqdm import tqdm

from smalti import imaging, library, strategy
from smalti.data.protocol import Batch
from smalti.errors import UserError
from smalti.sizes import plain
from smalti.training import checkpoints, curves, folders, log
from smalti.training.batches import cut, to
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
from smalti.training.validation import Best, finite

PATIENCE = 100  # steps skipped in a row after which a run gives up
STARVED = 1000  # a reason to stop, above the numbers of all signals: a process gets no more batches


@dataclass(frozen=True, kw_only=True)
class Feed:
    """Where batches come from; each process gets its own share of every batch."""

    train: Callable[[int], Iterator[Batch]]  # without end, beginning with the batch of a step
    validation: Callable[[], Iterable[Batch]] | None  # None: nothing is held out
    # what sheets show where crops have several sizes, a batch of each; None: the first that is held out, else
    # that is trained on
    shown: Callable[[], Sequence[Batch]] | None = None
    notes: list[str] = field(
        default_factory=list
    )  # what befell the data, for the log, which takes it from here


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
        self.optimizers = Optimizers(task.networks, rates, training, device)
        self.ema = Ema(task.networks[task.averaged], training.ema) if training.ema else None
        self.step = 0
        self.skipped = 0  # steps, for a loss or gradient that was no number
        self._in_a_row = 0
        self._saved: int | None = None  # the step of the newest checkpoint
        self.best = Best.of(training)
        self._best: float | None = None  # its value so far
        self._sheet: Sequence[Batch] = ()  # what sample sheets show, once there is something
        self._wrapped: list[nn.Module] = []  # the networks as the strategy runs them

    def run(self, feed: Feed) -> None:
        """Train to the last step, from the newest checkpoint in the run folder or from the beginning.

        On Ctrl-C or SIGTERM, in whichever process, all processes finish the step, a checkpoint is written,
        and the program ends as it would have. UserError where a hundred steps in a row gave no number, and,
        once a checkpoint is written, that of a feed that gives no more batches.
        """
        found = self._restore()
        mistake: UserError | None = None
        with Interrupts() as interrupts, self._recorder() as recorder:
            self._caution(recorder)
            batches = self._begin(feed)
            if found is not None:
                self._take_up(found, recorder, feed)
            pace = Pace(self.training.batch, self.device)
            while self.step < self.training.steps:
                try:
                    if interrupts.received is None:
                        with pace.waiting():
                            batch = self._moved(next(batches))
                except UserError as problem:
                    mistake = problem
                recorder.notes(self.step, feed.notes)
                if self._agree(_reason(interrupts, mistake)):
                    self._save(recorder)
                    break
                with pace.working():
                    self._advance(batch, recorder)
                recorder.bar.update()
                self._report(recorder, pace, feed)
        reason = self._agree(_reason(interrupts, mistake))  # nobody leaves before the checkpoint is written
        if reason:
            self._stop(reason, mistake)

    def _restore(self) -> Checkpoint | None:
        """Go on from the newest checkpoint, if there is one."""
        path = checkpoints.latest(self.folder.checkpoints)
        if path is None:
            return None
        found = checkpoints.read(path)
        for name, network in self.task.networks.items():
            network.load_state_dict(found.below(f"network/{name}"))
        for name, tensor in self.task.state().items():
            if f"task/{name}" in found.tensors:  # not in checkpoints of before there was a term
                tensor.copy_(found.tensors[f"task/{name}"])
        self.optimizers.restore(found)
        if self.ema is not None:
            self.ema.restore(found.below("ema"), found.numbers["ema_updates"])
        self.step, self.skipped = found.step, found.numbers["skipped"]
        self._saved, self._in_a_row = self.step, found.numbers.get("in_a_row", 0)
        if "recent" in found.tensors:  # not in checkpoints of before they were kept, as all that is asked for
            self.task.recent.restore(found.tensors["recent"], found.numbers["recent"])
        return found

    def _take_up(self, found: Checkpoint, recorder: Recorder, feed: Feed) -> None:
        """Let the log go on, and make up for what a process that was killed after the checkpoint left out."""
        since = found.below("since")
        names = found.numbers.get("since", [])  # in the order in which a line has them
        lines = recorder.log.kept if recorder.log is not None else []
        recorder.restore({name: since[name].to(self.device) for name in names}, lines)
        if self.strategy.rank != 0:
            return
        if self.folder.model_step() != self.step:
            self._save_model(self.folder.model)
        if self._is_due(self.training.sample_every) and not self.folder.sheet(self.step).is_file():
            self._draw_sheet(recorder, feed)
        self._take_up_best(lines)
        validated = [line for line in lines if line["kind"] == "validation" and line["step"] == self.step]
        if validated:
            self._keep_best(recorder, validated[0])
        elif self._is_due(self.training.validate_every):
            self._validate(recorder, feed)
        curves.write(self.folder.curves, log.read(self.folder.log))

    def _take_up_best(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Go on from the last line on the best model, where that is there, and the best by this number."""
        kept = self.folder.best_by()
        if self.best is not None and kept == self.best.number:
            found = [self.best.find(line) for line in lines if line["kind"] == "best"]
            self._best = next((value for _, value in filter(None, reversed(found))), None)

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
        self._wrapped = list(self.task.distribute(self.strategy.wrap))
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
        self._count(outcome, statistics, recorder)

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

    def _count(self, outcome: Outcome, statistics: Mapping[str, Tensor], recorder: Recorder) -> None:
        """Keep account of skipped steps; give up after PATIENCE in a row."""
        self._in_a_row = 0 if outcome.moved else self._in_a_row + 1
        if outcome.wrong:
            self.skipped += 1
            terms = [name for name, value in statistics.items() if not value.isfinite()]
            recorder.write(self.step, "skipped", wrong=", ".join([*outcome.wrong, *terms]))
        if self._in_a_row >= PATIENCE:
            got = f"{PATIENCE} steps in a row without ({', '.join(outcome.wrong)})"
            remedy = "halve optimizer.lr, set clip=1.0, use precision=fp32; the last checkpoint is good"
            raise UserError("finite losses and gradients", got, remedy)

    def _draw_sheet(self, recorder: Recorder, feed: Feed) -> None:
        """Draw a sample sheet, of the same images: held-out ones, or without these the first."""
        if not self._sheet:
            self._sheet = [self._moved(batch) for batch in (feed.shown or partial(_first, feed))()]
        with self._averaged():
            sheet = imaging.below(list(map(self.task.samples, self._sheet)))
        imaging.save_png(self.folder.sheet(self.step), sheet, {}, overwrite=True)
        recorder.image(self.step, "samples", sheet)

    def _report(self, recorder: Recorder, pace: Pace, feed: Feed) -> None:
        """Do what is due after this step: log line, sample sheet, numbers on held-out images, checkpoint."""
        first = self.strategy.rank == 0
        recorder.slow(self.step, pace.slow)
        if self._is_due(self.training.log_every):
            rates = pace.take()
            with pace.waiting("log"):
                recorder.line(self.step, {**self._numbers(), **rates})
        if self._is_due(self.training.checkpoint_every):
            with pace.waiting("checkpoint"):
                self._save(recorder)
        if first and self._is_due(self.training.sample_every):
            with pace.waiting("sheet"):
                self._draw_sheet(recorder, feed)
        if first and self._is_due(self.training.validate_every):
            with pace.waiting("validation"):
                self._validate(recorder, feed)
        if first and self._is_due(self.training.checkpoint_every):
            with pace.waiting("log"):
                curves.write(self.folder.curves, log.read(self.folder.log))

    def _validate(self, recorder: Recorder, feed: Feed) -> None:
        """Write the numbers on held-out images, if any can be used."""
        batches = _held_out(feed)
        begin = list(islice(batches, 1))
        if begin:
            with self._averaged():
                numbers = self.task.validate(map(self._moved, chain(begin, batches)))
            recorder.write(self.step, "validation", **numbers)
            self._keep_best(recorder, numbers)

    def _keep_best(self, recorder: Recorder, numbers: Mapping[str, Any]) -> None:
        """Save the model, and say so, where by these numbers it is the best so far."""
        found = None if self.best is None else self.best.find(numbers)
        if self.best is None or found is None or not self.best.beats(found[1], self._best):
            return
        (name, value), before = found, self._best
        self._save_model(self.folder.best, best_by=self.best.number, metrics=finite(numbers))
        recorder.write(self.step, "best", **{name: value})
        told = "" if before is None else f", before {before:.5g}"
        recorder.say(f"step {self.step}: the best {name} so far, {value:.5g}{told}: {self.folder.best}")
        self._best = value

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
        since = recorder.since()
        networks = {
            f"network/{name}/{key}": tensor
            for name, network in self.task.networks.items()
            for key, tensor in self.strategy.gather_state(network).items()
        }
        if self.strategy.rank != 0 or self._saved == self.step:
            return
        means = {f"ema/{name}": mean for name, mean in self.ema.means.items()} if self.ema else {}
        moments = {f"optimizer/{path}": tensor for path, tensor in self.optimizers.tensors().items()}
        codes, seen = self.task.recent.state()
        short = torch.uint16 if self.task.recent.codebook_size <= 2**16 else torch.int32
        record = {"recent": codes.to(short), **{f"since/{name}": rows for name, rows in since.items()}}
        numbers: dict[str, Any] = {
            "skipped": self.skipped,
            "in_a_row": self._in_a_row,
            "recent": seen,
            "since": list(since),
            "scaler": self.optimizers.numbers(),
            "ema_updates": self.ema.updates if self.ema else 0,
        }
        remembered = {f"task/{name}": tensor for name, tensor in self.task.state().items()}
        tensors = {**networks, **means, **moments, **record, **remembered}
        state = Checkpoint(step=self.step, tensors=tensors, numbers=numbers)
        checkpoints.write(self.folder.checkpoints, state, keep=self.training.keep)
        self._saved = self.step
        self._save_model(self.folder.model)

    def _save_model(self, folder: Path, **more: Any) -> None:
        """Write the model as it stands. more: what its folder is to tell besides."""
        made = {"smalti": version("smalti"), "run": self.folder.root.name, "steps": self.step}
        made["size"] = plain(self.training.sizes)
        made["data"] = folders.held_out(self.training.data)
        with self._averaged():
            library.save(self.task.model(), folder, provenance={**made, **more})

    def _averaged(self) -> AbstractContextManager[None]:
        """Within, the averaged weights are in place, if there are any."""
        return self.ema.applied() if self.ema is not None else nullcontext()

    def _agree(self, reason: int) -> int:
        """Return the largest of the processes' reasons to stop, the same in each; 0: none has one."""
        if self.strategy.count == 1:  # who would wait for an accelerator to hear of himself
            return reason
        return int(self.strategy.gather(torch.tensor([reason], device=self.device)).max())

    def _stop(self, reason: int, mistake: UserError | None) -> NoReturn:
        """End as all processes agreed to."""
        self.strategy.say(f"stopped after step {self.step}; go on with: {self.folder.again}")
        if reason != STARVED:
            stop(reason)
        raise mistake or UserError("batches for all processes", "none for another one", "see what it says")


def _reason(interrupts: Interrupts, mistake: UserError | None) -> int:
    """Return why this process must stop: STARVED, the number of a signal, or 0."""
    return STARVED if mistake is not None else interrupts.received or 0


def _first(feed: Feed) -> list[Batch]:
    return [next(_held_out(feed), None) or next(feed.train(0))]


def _held_out(feed: Feed) -> Iterator[Batch]:
    return iter(feed.validation() if feed.validation is not None else ())


def _mean(parts: list[Mapping[str, Tensor]], shares: list[float]) -> dict[str, Tensor]:
    """Return the means over a batch of what its parts gave."""
    weighted = [(part, share) for part, share in zip(parts, shares, strict=True)]
    return {
        name: torch.stack([part[name].detach() * share for part, share in weighted]).sum()
        for name in parts[0]
    }
