"""What a run leaves on disk beside its log: checkpoints, models, curves; written while training goes on."""

import copy
import os
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from smalti import library, strategy
from smalti.errors import UserError
from smalti.pipeline import Pipeline
from smalti.sizes import plain
from smalti.tokenizer import Tokenizer
from smalti.training import checkpoints, curves, folders, log
from smalti.training.checkpoints import Checkpoint
from smalti.training.ema import Ema
from smalti.training.folder import RunFolder
from smalti.training.optimization import Optimizers
from smalti.training.settings import Training
from smalti.training.task import Task
from smalti.training.writer import Writer

Model = Tokenizer | Pipeline


class Saver:
    """Training waits for copies alone: of what a checkpoint holds, and of the model as it then stands.

    All processes make one together, and call `checkpoint` and `end` together.
    """

    def __init__(self, training: Training, folder: RunFolder) -> None:
        self.training, self.folder, self.strategy = training, folder, strategy.current()
        self.writer, self._copies = Writer(), Copies()
        self._process = self.strategy.collect(os.getpid())[0]  # of all processes the one that finishes
        if self.strategy.is_sharded:
            self._check_shared()

    def _check_shared(self) -> None:
        """UserError for a run folder that not all processes see, each of which writes into it."""
        if self.strategy.rank == 0:
            self.folder.checkpoints.mkdir(parents=True, exist_ok=True)
        self.strategy.collect(None)
        seen = self.strategy.collect(self.folder.checkpoints.is_dir())
        if not all(seen):
            got = f"{self.folder.root}, which {seen.count(False)} of {len(seen)} do not see"
            raise UserError(
                "a run folder that all processes write into", got, "a shared disk, or strategy=ddp"
            )

    def checkpoint(
        self, state: Checkpoint, task: Task | None, weights: Mapping[str, Tensor] | None = None
    ) -> None:
        """Begin to write a checkpoint, as far as it is this process's, and the model, where a task is given.

        weights: of the model, see Copies. What failed in the one before is raised.
        """
        if not self.strategy.is_sharded and self.strategy.rank != 0:
            return
        self.writer.wait()  # until then the copies of the one before are needed
        state = replace(state, tensors=self._copies.of(state.tensors))
        model = None if task is None else self._copies.of_model(task.model(), task.shown, weights)
        share = (self.strategy.rank, self.strategy.count) if self.strategy.is_sharded else (0, 1)
        place = self.folder.checkpoints / f".step-{state.step:08d}.{self._process}"
        if self.strategy.rank == 0:
            checkpoints.begin(place)

        def work() -> None:
            if not self.writer.await_all([place]):
                return
            checkpoints.write_part(place, state, share)
            if self.strategy.rank == 0:
                self._finish(place, state, share[1], model)

        self.writer.begin(work)

    def model(self, model: Model, folder: Path, step: int, more: Mapping[str, Any]) -> None:
        """Write a model folder, at once. more: what it is to tell besides."""
        made = {"smalti": version("smalti"), "run": self.folder.root.name, "steps": step}
        made["size"] = plain(self.training.sizes)
        made["data"] = folders.held_out(self.training.data)
        library.save(model, folder, provenance={**made, **more})

    def end(self) -> None:
        """Return once all is written, by all processes; raises what failed."""
        # the others first: process 0 waits for their parts, and would wait for ever for one that failed
        others = self.strategy.collect(self.strategy.rank != 0 and self.writer.has_failed(now=False))
        if any(others):
            self.writer.give_up()
        problem: OSError | UserError | None = None
        try:
            self.writer.wait()
        except (OSError, UserError) as found:
            problem = found
        if any(self.strategy.collect(problem is not None)):
            raise problem or UserError(
                "files written by all processes", "none by another one", "see what it says"
            )

    def _finish(self, place: Path, state: Checkpoint, count: int, model: Model | None) -> None:
        if self.writer.await_all(checkpoints.marks(place, count)):
            keep, keep_every = self.training.keep, self.training.keep_every
            checkpoints.finish(place, state, count, keep=keep, keep_every=keep_every)
            assert model is not None, "process 0 has it"
            self.model(model, self.folder.model, state.step, {})
            curves.write(self.folder.curves, log.read(self.folder.log))


def state(
    step: int,
    task: Task,
    optimizers: Optimizers,
    ema: Ema | None,
    since: Mapping[str, Tensor],
    counts: Mapping[str, int],
) -> Checkpoint:
    """Return what a checkpoint keeps, as far as this process holds it; training may write to it.

    since: see Recorder. counts: more numbers.
    """
    way, (codes, seen) = strategy.current(), task.recent.state()
    weights = {
        f"network/{name}/{key}": tensor
        for name, network in task.networks.items()
        for key, tensor in network.state_dict().items()
    }
    rows = {name: way.rows(tensor) for name, tensor in weights.items()}
    held = {name: way.held(tensor) for name, tensor in weights.items()}
    if ema is not None:
        held |= {f"ema/{name}": mean for name, mean in ema.means.items()}
        rows |= {f"ema/{name}": way.rows(weight) for name, weight in ema.parameters.items()}
    held |= {f"optimizer/{path}": moment for path, moment in optimizers.tensors().items()}
    rows |= {f"optimizer/{path}": part for path, part in optimizers.rows().items()}
    held["recent"] = codes.to(torch.uint16 if task.recent.codebook_size <= 2**16 else torch.int32)
    held |= {f"since/{name}": values for name, values in since.items()}
    held |= {f"task/{name}": tensor for name, tensor in task.state().items()}
    return Checkpoint(
        step=step,
        tensors=held,
        numbers={
            **counts,
            "recent": seen,
            "since": list(since),
            "scaler": optimizers.numbers(),
            "ema_updates": ema.updates if ema else 0,
        },
        rows={name: part for name, part in rows.items() if part is not None},
    )


def restore(found: Checkpoint, task: Task, optimizers: Optimizers, ema: Ema | None) -> None:
    """Give all of these back what `state` took of them."""
    for name, network in task.networks.items():
        strategy.current().load(network, found.below(f"network/{name}"))
    for name, tensor in task.state().items():
        if f"task/{name}" in found.tensors:  # not in checkpoints of before there was a term
            tensor.copy_(found.tensors[f"task/{name}"])
    optimizers.restore(found)
    if ema is not None:
        ema.restore(found.below("ema"), found.numbers["ema_updates"])
    if "recent" in found.tensors:  # not in checkpoints of before they were kept, as all that is asked for
        task.recent.restore(found.tensors["recent"], found.numbers["recent"])


class Copies:
    """Copies of what training writes to, in memory that is kept: to get it takes as long as to fill it."""

    def __init__(self) -> None:
        self._held: dict[str, Tensor] = {}
        self._model: Model | None = None
        self._network = nn.Module()  # of that model

    def of(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return copies on the CPU, which are good until this is called again."""
        for name, tensor in tensors.items():
            if name not in self._held or self._held[name].shape != tensor.shape:
                pinned = tensor.device.type == "cuda"
                self._held[name] = torch.empty_like(tensor, device="cpu", pin_memory=pinned)
            self._held[name].copy_(tensor.detach())
        return {name: self._held[name] for name in tensors}

    @torch.no_grad()
    def of_model(self, model: Model, network: nn.Module, weights: Mapping[str, Tensor] | None) -> Model:
        """Return a copy of a model, good until this is called again; training goes on in `network` alone.

        weights: by name those that the copy has in place of the network's parameters; None: these.
        """
        if self._model is None:
            own = {id(tensor) for tensor in _tensors(network).values()}
            memo: dict[int, Any] = {id(one): one for one in _tensors(model).values() if id(one) not in own}
            self._model = copy.deepcopy(model, memo)
            self._network = memo[id(network)]
        given = {**_tensors(network), **(weights or {})}
        for name, tensor in _tensors(self._network).items():
            tensor.data.copy_(given[name])
        return self._model


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}
