"""How much memory does a process take where two share all weights (FSDP), against two that each have all?

Resident memory of a step, at its most, over that before the networks are built: weights, gradients, moments
and what carries them between processes. Images and codes are so small that activations hardly count.
"""

import json
import multiprocessing
import os
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import common
import torch
import torch.distributed as dist

from smalti import strategy
from smalti.data.folder import FolderSettings
from smalti.data.protocol import Batch
from smalti.losses.adversarial import AdversarialSettings
from smalti.losses.perceptual import PerceptualSettings
from smalti.losses.terms import LossSettings
from smalti.priors import PRIORS
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings
from smalti.training import sharing
from smalti.training.feed import Feed
from smalti.training.fit import Loop
from smalti.training.folder import RunFolder
from smalti.training.prior_task import PriorTask
from smalti.training.settings import PriorTraining, TokenizerTraining
from smalti.training.tokenizer_task import TokenizerTask

CPU = torch.device("cpu")
STEPS = 4  # the first makes moments; the last is watched
NEVER = 10**6
COMMON = {
    "data": FolderSettings(root=Path("unused")),
    "batch": 2,
    "steps": NEVER,
    "ema": 0.0,
    "log_every": NEVER,
    "checkpoint_every": NEVER,
    "sample_every": NEVER,
    "validate_every": NEVER,
}


class Done(Exception):
    """The step that is watched is taken."""


def prior(layers: int) -> tuple[PriorTask, PriorTraining]:
    network = NetworkSettings(
        width=8,
        multipliers=(1, 1),
        blocks=1,
        latent_channels=8,
        code_dim=4,
        groups=4,
        attention_levels=(),
        mid_attention=False,
    )
    quantizer = VectorQuantizerSettings(codebook_size=1024)
    settings = PRIORS["modern"][0](layers=layers, heads=8, width=512)
    training = PriorTraining(**COMMON, size=(8, 8), tokenizer=Path("unused"), prior=settings)
    tokenizer = Tokenizer(TokenizerSettings(network=network, quantizer=quantizer))
    return PriorTask.build(training, tokenizer, CPU), training


def tokenizer(width: int) -> tuple[TokenizerTask, TokenizerTraining]:
    losses = LossSettings(
        perceptual=PerceptualSettings(kind="none"),
        adversarial=AdversarialSettings(start=0, discriminator_start=0),
    )
    training = TokenizerTraining(**COMMON, size=(32, 32), network=NetworkSettings(width=width), losses=losses)
    return TokenizerTask.build(training, CPU), training


def batches(of_codes: bool) -> Iterator[Batch]:
    while True:
        yield (
            Batch(codes=torch.randint(1024, (1, 4, 4)))
            if of_codes
            else Batch(images=torch.rand(1, 3, 32, 32))
        )


def resident(name: str) -> int:
    """Bytes: VmRSS now, VmHWM at the most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def one_of_two(rank: int, folder: Path, kind: str, what: str, size: int) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    torch.set_num_threads(1)
    meet = f"file://{folder}/meet"
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=2, timeout=timedelta(minutes=5))
    before = resident("VmRSS")
    task, training = prior(size) if what == "prior" else tokenizer(size)
    weights = sum(p.numel() * 4 for network in task.networks.values() for p in network.parameters())
    watched: dict[str, float] = {"weights": weights}

    class Watched(Loop):
        def _report(self, *given: object) -> None:
            if self.step == STEPS:
                watched["most"] = resident("VmHWM") - before
                raise Done
            Path("/proc/self/clear_refs").write_text("5")  # the most begins anew

    run = RunFolder(folder / "run")
    run.root.mkdir(exist_ok=True)
    try:
        with sharing.using(kind, [], CPU):
            rates = dict.fromkeys(task.networks, training.optimizer)
            feed = Feed(train=lambda start: batches(what == "prior"), validation=None)
            Watched(task, training, rates, run, CPU).run(feed)
    except Done:
        (folder / f"{strategy.current().rank}.json").write_text(json.dumps(watched))
    os._exit(0)  # nothing to be saved


def measured(kind: str, what: str, size: int) -> dict[str, float]:
    """What process 0 says, of two that are forked from this one."""
    with tempfile.TemporaryDirectory() as folder:
        fork = multiprocessing.get_context("fork")
        started = [
            fork.Process(target=one_of_two, args=(rank, Path(folder), kind, what, size)) for rank in range(2)
        ]
        for process in started:
            process.start()
        for process in started:
            process.join()
        found = [json.loads((Path(folder) / f"{rank}.json").read_text()) for rank in range(2)]
    return max(found, key=lambda one: one["most"])


def main() -> None:
    options = common.options(__doc__)
    cases = {"prior": 2 if options.short else 12, "tokenizer": 32 if options.short else 128}
    rows = []
    for what, size in cases.items():
        ddp, fsdp = (measured(kind, what, size) for kind in ("ddp", "fsdp"))
        rows.append(
            {
                "network": f"{what}, {'layers' if what == 'prior' else 'width'} {size}",
                "weights, MiB": round(ddp["weights"] / 2**20),
                "ddp, MiB": round(ddp["most"] / 2**20),
                "fsdp, MiB": round(fsdp["most"] / 2**20),
                "share": round(fsdp["most"] / ddp["most"], 3),
            }
        )
    common.report("sharding", rows, options.out)


if __name__ == "__main__":
    main()
