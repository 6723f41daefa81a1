"""Two processes that train together hold the same numbers, bit for bit: those of one with the whole batch."""

import multiprocessing
import os
import warnings
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from tiny import NETWORK

from smalti import strategy
from smalti.data.folder import FolderSettings
from smalti.data.protocol import Batch
from smalti.losses.adversarial import AdversarialSettings
from smalti.losses.patchgan import PatchGANSettings
from smalti.losses.perceptual import PerceptualSettings
from smalti.losses.terms import LossSettings
from smalti.quantizers.ema import EmaQuantizer, EmaSettings
from smalti.quantizers.remap import RemappedSettings
from smalti.quantizers.vq import VectorQuantizer, VectorQuantizerSettings
from smalti.tokenizer import NetworkSettings
from smalti.training import log
from smalti.training.feed import Feed
from smalti.training.fit import Loop
from smalti.training.folder import RunFolder
from smalti.training.settings import OptimizerSettings, TokenizerTraining
from smalti.training.tokenizer_task import TokenizerTask

CPU = torch.device("cpu")
RATE = OptimizerSettings(lr=1.0e-3)
VQ = VectorQuantizerSettings(codebook_size=8, kmeans_start=True, revive_below=0.9, usage_decay=0.5)
EMA = EmaSettings(codebook_size=8, kmeans_start=True, revive_below=0.5, decay=0.5)
# case -> quantizer, the discriminator's norm, the step from which images pass the codebook
CASES = {
    "vq": (VQ, "act", 0),
    "vq later": (VQ, "batch", 2),
    "ema": (EMA, None, 0),
    "remapped": (RemappedSettings(inner=EMA, used=8), None, 0),
}
LOSSES = {  # case -> of the autoencoder, step by step
    "vq": [0.69756, 0.71569, 0.67179, 0.6719],
    "vq later": [0.69146, 0.707, 0.68304, 0.70762],
    "ema": [0.68819, 0.68271, 0.66251, 0.65918],
    "remapped": [0.68819, 0.68271, 0.66251, 0.65918],
}
WITH_BATCH_NORM = {"vq later"}


def loop(folder: Path, case: str) -> Loop:
    quantizer, norm, begins = CASES[case]
    patchgan = PatchGANSettings(width=4, layers=1, norm=norm or "act")
    adversarial = AdversarialSettings(start=1, discriminator_start=0, patchgan=patchgan) if norm else None
    training = TokenizerTraining(
        data=FolderSettings(root=Path("unused")),
        size=(16, 8),
        batch=8,
        steps=4,
        optimizer=RATE,
        network=NetworkSettings(**NETWORK, multipliers=(1, 2)),
        quantizer=quantizer,
        quantize_start=begins,
        losses=LossSettings(perceptual=PerceptualSettings(kind="none"), adversarial=adversarial),
        log_every=1,
        validate_every=4,
    )
    task = TokenizerTask.build(training, CPU)
    run = RunFolder(folder / case)
    run.root.mkdir(parents=True)
    return Loop(task, training, dict.fromkeys(task.networks, RATE), run, CPU)


def batches(start: int):
    """This process's share of each batch."""
    for step in count(start):
        noise = torch.randn(8, 3, 16, 8, generator=torch.Generator().manual_seed(step)).clamp(-1, 1)
        share = len(noise) // strategy.current().count
        yield Batch(images=noise[strategy.current().rank * share :][:share].clone())


def trained(folder: Path, case: str) -> dict[str, torch.Tensor]:
    """All that a run remembers after its steps: weights, buffers, moments, averages."""
    run = loop(folder, case)
    run.run(Feed(train=batches, validation=None))
    assert run.ema is not None
    networks = {
        f"{name}.{key}": tensor
        for name, network in run.task.networks.items()
        for key, tensor in network.state_dict().items()
    }
    everything = {**networks, **run.optimizers.tensors()}
    everything |= {f"ema.{name}": mean for name, mean in run.ema.means.items()}
    return {name: tensor.detach().clone().contiguous() for name, tensor in everything.items()}


def disturbed(real):
    """Sums that come out otherwise in each process, as `index_add_` on accelerators; right in process 0."""

    def look_after(self, latents, generator):
        real(self, latents, generator)
        with torch.no_grad():
            for tensor in self.state_dict().values():
                tensor += (1e-3 * strategy.current().rank) if tensor.is_floating_point() else 0

    return look_after


def one_of_two(rank: int, folder: Path) -> None:
    warnings.filterwarnings("ignore", message="Grad strides do not match")  # of CPU layouts of 1 x 1 weights
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    log._board = lambda *_: None  # TensorBoard takes a second to import
    for member in (VectorQuantizer, EmaQuantizer):
        member.start, member.after_step = disturbed(member.start), disturbed(member.after_step)
    meet, patience = f"file://{folder}/meet", timedelta(minutes=2)
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=2, timeout=patience)
    for case in CASES:
        save_file(trained(folder / str(rank), case), folder / f"{rank} {case}.safetensors")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    """What each of two processes, forked from this one, ends with."""
    folder = tmp_path_factory.mktemp("two")
    fork = multiprocessing.get_context("fork")
    started = [fork.Process(target=one_of_two, args=(rank, folder), daemon=True) for rank in range(2)]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
    assert [process.exitcode for process in started] == [0, 0]
    return folder


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # of forks, from Python 3.12 on
@pytest.mark.parametrize("case", CASES)
def test_both_processes_hold_the_same_bits(case, two):
    first, second = (load_file(two / f"{rank} {case}.safetensors") for rank in range(2))
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert tensor.equal(second[name]), name


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("case", sorted(CASES.keys() - WITH_BATCH_NORM))
def test_they_are_those_of_one_process_with_the_whole_batch(case, two, tmp_path):
    one, first = trained(tmp_path, case), load_file(two / f"0 {case}.safetensors")
    for name, tensor in one.items():
        torch.testing.assert_close(
            first[name], tensor, atol=2e-5, rtol=1e-3, msg=lambda text, n=name: f"{n}: {text}"
        )


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_batch_statistics_of_each_process_alone_are_said_in_the_log(two):
    notes = {
        case: [
            line for line in log.read(two / "0" / case / "log.jsonl") if "BatchNorm" in line.get("text", "")
        ]
        for case in CASES
    }
    assert [case for case, found in notes.items() if found] == [*WITH_BATCH_NORM]
    (note,) = notes["vq later"]
    assert (note["step"], note["kind"]) == (0, "note")
    assert "each of 2 processes" in note["text"]
    assert "patchgan.norm=act" in note["text"]


def test_losses_of_two_processes_in_figures(two):
    """Not against one process alone: a fault on both sides would be no difference."""
    for case, figures in LOSSES.items():
        lines = log.read(two / "0" / case / "log.jsonl")
        found = [line["loss/autoencoder"] for line in lines if line["kind"] == "train"]
        assert found == pytest.approx(figures, abs=2e-4), case
