"""What a run leaves on disk beside its log: checkpoints, models, curves; written while training goes on."""

import copy
import os
from collections.abc import Mapping
from importlib.metadata import version
from itertools import chain
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
from smalti.training.folder import RunFolder
from smalti.training.settings import Training
from smalti.training.writer import Writer

Model = Tokenizer | Pipeline


class Saver:
    """Training waits for copies alone: of what a checkpoint holds, and of the model as it then stands.

    All processes make one together, and call `checkpoint` and `end` together.
    """

    def __init__(self, training: Training, folder: RunFolder) -> None:
        self.training, self.folder, self.strategy = training, folder, strategy.current()
        self.writer = Writer()
        if self.strategy.rank == 0:
            folder.checkpoints.mkdir(parents=True, exist_ok=True)
        self._process = self.strategy.collect(os.getpid())[0]  # of all processes the one that finishes
        seen = self.strategy.collect(folder.checkpoints.is_dir())
        if self.strategy.is_sharded and not all(seen):
            got = f"{folder.root}, which {seen.count(False)} of {len(seen)} do not see"
            raise UserError("a run folder that all processes write into", got, "a shared disk, or strategy=ddp")

    def checkpoint(self, state: Checkpoint, model: Model | None) -> None:
        """Begin to write a checkpoint, as far as it is this process's, and the model of process 0.

        state: tensors that training may write to are copied. What failed in the one before is raised.
        """
        self.writer.wait()
        writes = self.strategy.is_sharded or self.strategy.rank == 0
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

        if writes:
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
        problem: UserError | None = None
        try:
            self.writer.wait()
        except UserError as found:
            problem = found
        if any(self.strategy.collect(problem is not None)):
            raise problem or UserError("files written by all processes", "none by another one", "see what it says")

    def _finish(self, place: Path, state: Checkpoint, count: int, model: Model | None) -> None:
        if self.writer.await_all(checkpoints.marks(place, count)):
            keep, keep_every = self.training.keep, self.training.keep_every
            checkpoints.finish(place, state, count, keep=keep, keep_every=keep_every)
            assert model is not None, "process 0 has it"
            self.model(model, self.folder.model, state.step, {})
            curves.write(self.folder.curves, log.read(self.folder.log))


def held(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, checkpoints.Rows]]:
    """Return copies on the CPU of what this process holds of some tensors, and which rows that is."""
    way = strategy.current()
    copies = {name: way.held(tensor).detach().to("cpu", copy=True) for name, tensor in tensors.items()}
    rows = {name: way.rows(tensor) for name, tensor in tensors.items()}
    return copies, {name: part for name, part in rows.items() if part is not None}


def copied(model: Model, network: nn.Module) -> Model:
    """Return a copy of a model on which training goes on in `network` alone, with all else shared."""
    own = {id(tensor) for tensor in _tensors(network)}
    return copy.deepcopy(model, {id(one): one for one in _tensors(model) if id(one) not in own})


def _tensors(network: nn.Module) -> "chain[Tensor]":
    return chain(network.parameters(), network.buffers())
