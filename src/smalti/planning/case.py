"""A recipe made ready to be tried: as `smalti train` does it up to the first step, but nothing is written."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from smalti import config, devices, memory, precision
from smalti.data.buckets import Buckets
from smalti.data.loader import Loader
from smalti.data.protocol import Batch, Reader
from smalti.planning.synthetic import Synthetic, needs_root, open_synthetic
from smalti.planning.trial import Trial
from smalti.sizes import Sides
from smalti.tokenizer import Tokenizer
from smalti.training import beginning, checks, limits, train
from smalti.training.folder import RunFolder
from smalti.training.prior_task import PriorTask
from smalti.training.settings import TrainingSettings
from smalti.training.tokenizer_task import TokenizerTask


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is settled before networks are built."""

    start: train.Start
    training: Any  # a member of TrainingSettings, with its precision settled
    device: torch.device
    tokenizers: Mapping[str, Tokenizer]  # of a prior, by the recipe's keys

    @property
    def readers(self) -> Mapping[str, Reader]:
        """Return the data by split."""
        return self.start.readers

    @property
    def is_synthetic(self) -> bool:
        """Return whether samples stand in place of data that nobody named."""
        return isinstance(self.readers["train"], Synthetic)

    @property
    def sides(self) -> Sides:
        """Return height and width in pixels of the largest crops."""
        return max(self.training.sizes, key=lambda size: size[0] * size[1])

    def loader(self, batch: int, processes: int = 1) -> Loader:
        """Return what gives batches of the largest crops: the share of the first of some processes."""
        buckets = Buckets.of(self.readers["train"], [self.sides])
        return Loader(
            self.readers["train"],
            size=buckets,
            crop=self.training.crop,
            batch=batch,
            seed=self.training.seed,
            share=(0, processes),
            skipped=lambda mistake: None,  # a run names it
        )

    def batch(self, size: int) -> Batch:
        """Return so many samples."""
        return next(self.loader(size).batches())

    def task(self, training: Any) -> TokenizerTask | PriorTask:
        """Build networks. training: of this recipe, or what it would be with less memory."""
        found = train.task_of(training, dict(self.tokenizers), self.device)
        if isinstance(found, PriorTask):
            found.pipeline.condition.agree(training.data, self.readers.values())
        if self.start.begun is not None:
            beginning.fill(found, self.start.begun)
        train.learned(found, dict(self.readers), None)
        return found

    def trial(self, task: TokenizerTask | PriorTask, training: Any) -> Trial:
        """Return steps that can be tried, of a task that has started on two samples."""
        found = Trial(task, training, self.device)
        found.start(lambda step: self.loader(2).batches(step))
        return found


def read(recipe: str | Path, data: str | Path | None, overrides: Mapping[str, Any]) -> Case:
    """Return the case of a recipe; UserError where `smalti train` has one before its first step.

    data: None: what the recipe names, or else synthetic samples.
    """
    changes, opened = dict(overrides), None
    if data is None and needs_root(config.read(recipe, changes, TrainingSettings)):
        changes["data.root"], opened = "synthetic", open_synthetic
    start = train.begin(recipe, data, changes, opened=opened)
    checks.check(start.training, len(start.readers["val"]))
    device = devices.find(start.training.device)
    settled = precision.choose(start.training.precision, device)
    training = replace(start.training, precision=settled)
    folder = RunFolder(Path("plan"))  # named in what is said, and never made
    with memory.needed(f"training with batch={training.batch}", partial(limits.remedy, training, folder)):
        tokenizers = train.tokenizers_of(training, start, folder, device)
        limits.check_batch(training, start.readers["train"])
        limits.check_weights(training, device, tokenizers.get("tokenizer"))
    case = Case(start=start, training=training, device=device, tokenizers=tokenizers)
    for reader in start.readers.values():
        if isinstance(reader, Synthetic):
            reader.fit(case.sides, _codes(case))
    if not case.is_synthetic:
        of = {split: Buckets.of(reader, training.sizes) for split, reader in start.readers.items()}
        checks.tell(training, start.readers, of)
    return case


def _codes(case: Case) -> tuple[Sides, int] | None:
    """Return the grid of token shards and their codebook's size; None for images."""
    if "codes" not in case.readers["train"].gives:
        return None
    tokenizer, (height, width) = case.tokenizers["tokenizer"], case.sides
    return (height // tokenizer.factor, width // tokenizer.factor), tokenizer.codebook_size
