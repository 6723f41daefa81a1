"""From a recipe to what a run of it takes: what `smalti plan` tells."""

import gc
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from smalti import memory
from smalti.files import as_path
from smalti.planning import disk
from smalti.planning.case import Case, read
from smalti.planning.less import Less, lighter
from smalti.planning.measuring import Resident, held
from smalti.planning.parts import Parts, count, parameters
from smalti.planning.probe import FILLED, Found, probe
from smalti.training.prior_task import PriorTask
from smalti.training.validation import VALIDATED

_CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run takes. Bytes and seconds."""

    recipe: str
    case: Case
    processes: int
    parameters: Mapping[str, int]  # by network
    parts: Parts
    base: int  # of the process before there are networks
    free: int  # memory that no program took before
    found: Found | None  # None: not even one sample was tried, as the networks alone do not fit
    disk: Mapping[str, int]
    disk_free: int
    shards: int | None
    less: list[Less]

    @property
    def memory(self) -> dict[str, int]:
        """Return the parts of one process by name, whose sum is what it takes at most.

        Without activations and what the system makes of it where nothing was tried.
        """
        parts = self.parts
        named = {
            "process": self.base,
            "weights": parts.weights,
            "frozen": parts.frozen,
            "gradients": parts.gradients,
            "moments": parts.moments,
            "averaged": parts.averaged,
        }
        if self.found is None:
            return named
        named["activations"] = max(0, round(self.found.tensors) - parts.gradients)
        named["others"] = max(0, round(self.found.total) + self.base - sum(named.values()))
        if self.case.device.type == "cpu":  # else they lie beside the device's memory
            named["checkpoint"] = parts.checkpoint + parts.averaged  # and the model as it is saved
        return named

    @property
    def beside(self) -> int:
        """Return the bytes of a process beside those that its steps take."""
        return self.base + self.memory.get("checkpoint", 0)

    @property
    def total(self) -> int:
        """Return the sum of the parts: of one process that shares nothing."""
        return sum(self.memory.values())

    @property
    def by_processes(self) -> dict[str, int]:
        """Return what each of several processes takes, by strategy; none for one."""
        parts, count = self.parts, self.processes
        if count == 1:
            return {}
        shared = parts.weights + parts.gradients + parts.moments + parts.averaged
        whole = 2 * parts.largest_block  # with its gradient
        return {
            "ddp": self.total + parts.gradients,  # which lie in the buckets that are exchanged too
            "fsdp": self.total - shared + -(-shared // count) + whole,
        }

    @property
    def seconds(self) -> dict[str, float]:
        """Return what the whole run takes, by what it is for; without checkpoints: none was written."""
        found, training = self.found, self.case.training
        if found is None:
            return {}
        taken = {"steps": sum(phase.count * one.wall for phase, one in found.steps)}
        taken["data"] = 0.0 if self.case.is_synthetic else training.steps * self.wait
        taken["samples"] = found.sheet * disk.times(training.steps, training.sample_every)
        held_out = VALIDATED if self.case.is_synthetic else min(VALIDATED, len(self.case.readers["val"]))
        batches = -(-held_out // training.batch)
        taken["validation"] = found.validation * batches * disk.times(training.steps, training.validate_every)
        return taken

    @property
    def wait(self) -> float:
        """Return the seconds that a step waits for its batch: with workers, what they do not do beside it."""
        if self.found is None:
            return 0.0
        workers = self.case.training.workers
        loading = self.found.loading
        return loading if not workers else max(0.0, loading / workers - self.found.step.wall)


def plan(recipe: str | Path | Any, data: str | Path | Any = None, gpus: int = 1, **overrides: Any) -> Plan:
    """Return what a run of a recipe takes, after a few real steps on this device; writes nothing.

    data: as `smalti.train` takes it; None: what the recipe names, else synthetic samples. gpus: processes
    that share each batch, of which one is tried here. overrides: settings in place of the recipe's. UserError
    where a training has one before its first step.
    """
    recipe = as_path(recipe, "recipe")
    data = None if data is None else as_path(data, "data")
    base, free = held(_CPU), memory.free()
    case = read(recipe, data, overrides)
    training = case.training
    case.loader(training.batch, gpus)  # which says where processes cannot share it
    base = base if case.device.type == "cpu" else 0
    if case.device.type == "cuda":
        free = torch.cuda.mem_get_info(case.device)[0]
    resident = Resident(case.device, base)
    task = case.task(training)
    parts, weights = count(task, training), parameters(task)
    codes = task.pipeline.tokenizer if isinstance(task, PriorTask) else task.tokenizer
    shards = disk.shards(case, codes)
    found: Found | None = None
    with memory.needed("a few steps of the recipe", "a smaller batch=, size= or width"):
        if parts.steady + parts.gradients < FILLED * free:
            found = probe(case, case.trial(task, training), parts, resident, gpus)
    lies = disk.on_disk(task, training, parts, found.sheet_bytes if found else 0)
    del task, codes  # and with them their memory
    gc.collect()
    return Plan(
        recipe=recipe.stem, case=case, processes=gpus, parameters=weights, parts=parts, base=base, free=free,
        found=found, disk=lies, disk_free=disk.free(Path("runs")), shards=shards,
        less=[] if found is None else lighter(case, found, parts, gpus),
    )  # fmt: skip
