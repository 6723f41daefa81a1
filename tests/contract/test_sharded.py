"""Two processes that share all weights train what two do that each have all; checkpoints serve any number."""

import json
import multiprocessing
import os
import shutil
import warnings
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from tiny import LABELS, NETWORK, generator

import smalti
from smalti import strategy
from smalti.data.folder import FolderSettings
from smalti.data.protocol import Batch
from smalti.errors import UserError
from smalti.losses.adversarial import AdversarialSettings
from smalti.losses.patchgan import PatchGANSettings
from smalti.losses.perceptual import PerceptualSettings
from smalti.losses.terms import LossSettings
from smalti.priors import PRIORS
from smalti.quantizers.ema import EmaSettings
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.tokenizer import NetworkSettings
from smalti.training import checkpoints, log, sharing
from smalti.training.feed import Feed
from smalti.training.fit import Loop
from smalti.training.folder import RunFolder
from smalti.training.prior_task import PriorTask
from smalti.training.settings import OptimizerSettings, PriorTraining, TokenizerTraining
from smalti.training.tokenizer_task import TokenizerTask

CPU = torch.device("cpu")
RATE = OptimizerSettings(lr=1.0e-3, weight_decay=0.01)
STEPS, LEFT = 8, 4  # of a run; after which another way goes on with it
COMMON = {
    "data": FolderSettings(root=Path("unused")),
    "batch": 8,
    "steps": STEPS,
    "optimizer": RATE,
    "ema": 0.9,
    "log_every": 1,
    "checkpoint_every": 4,
    "validate_every": 4,
    "keep": 9,
}
ADVERSARIAL = AdversarialSettings(
    start=1, discriminator_start=0, patchgan=PatchGANSettings(width=4, layers=1, norm="act")
)
OF_IMAGES = {
    "size": (16, 8),
    "network": NetworkSettings(**NETWORK, multipliers=(1, 2)),
    "losses": LossSettings(perceptual=PerceptualSettings(kind="none"), adversarial=ADVERSARIAL),
    **COMMON,
}
CASES = {
    # both networks, codes that are revived, lambda, clipping, parts of a batch
    "vq": TokenizerTraining(
        **OF_IMAGES,
        quantizer=VectorQuantizerSettings(codebook_size=8, kmeans_start=True, revive_below=0.9),
        accumulate=2,
        clip=0.5,
    ),
    "recomputed": TokenizerTraining(
        **OF_IMAGES, quantizer=EmaSettings(codebook_size=8, revive_below=0.5, decay=0.5), recompute=True
    ),
    "prior": PriorTraining(
        **COMMON,
        size=(8, 8),
        tokenizer=Path("unused"),
        prior=PRIORS["modern"][0](layers=3, heads=2, width=16),
        condition=LABELS,
        pkeep=0.9,
        recompute=True,
    ),
}
LOSSES = {  # of the first steps
    "vq": [0.69756, 0.69718, 0.65325, 0.65129],
    "recomputed": [0.73388, 0.68126, 0.64845, 0.63011],
    "prior": [2.48491, 2.48542, 2.48551, 2.48427],
}


def batches(case: str, start: int):
    """This process's share of each batch."""
    rank, world = strategy.current().rank, strategy.current().count
    share = 8 // world
    for step in count(start):
        chance = torch.Generator().manual_seed(step)
        if case == "prior":
            codes = torch.randint(12, (8, 4, 4), generator=chance)
            labels = torch.randint(3, (8,), generator=chance)
            yield Batch(codes=codes[rank * share :][:share], labels=labels[rank * share :][:share])
        else:
            images = torch.randn(8, 3, 16, 8, generator=chance).clamp(-1, 1)
            yield Batch(images=images[rank * share :][:share].clone())


def train(folder: Path, case: str, *, kind: str = "auto", steps: int = STEPS) -> Loop:
    """A run, from the newest checkpoint in the folder."""
    training, folders = replace(CASES[case], steps=steps), RunFolder(folder)
    task = (
        PriorTask.build(training, generator("modern").tokenizer, CPU)
        if isinstance(training, PriorTraining)
        else TokenizerTask.build(training, CPU)
    )
    feed = Feed(
        train=lambda start: batches(case, start), validation=lambda: iter([next(batches(case, 10**6))])
    )
    with sharing.using(kind, [], CPU):
        run = Loop(task, training, dict.fromkeys(task.networks, RATE), folders, CPU)
        run.run(feed)
    return run


def losses(folder: Path) -> torch.Tensor:
    lines = [line for line in log.read(folder / "log.jsonl") if line["kind"] == "train"]
    return torch.tensor([[line[name] for name in line if name.startswith("loss/")] for line in lines])


def copied(folder: Path, name: str) -> Path:
    """A run that was left after LEFT steps, which others are to go on with."""
    other = folder.with_name(name)
    if strategy.current().rank == 0:
        shutil.copytree(folder, other)
        checkpoints.forget(other / "checkpoints", LEFT)
    strategy.current().collect(None)
    return other


def one_of_two(rank: int, folder: Path) -> None:
    warnings.filterwarnings("ignore", message="Grad strides do not match")  # of CPU layouts of 1 x 1 weights
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    torch.set_num_threads(1)
    log._board = lambda *_: None  # TensorBoard takes a second to import
    meet, patience = f"file://{folder}/meet", timedelta(minutes=2)
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=2, timeout=patience)
    held = {}
    for case in CASES:
        train(folder / case / "ddp", case, kind="ddp")
        run = train(folder / case / "fsdp", case, kind="fsdp")
        with sharing.using("fsdp", [], CPU):
            held[case] = sizes(run)
        train(copied(folder / case / "fsdp", "fsdp again"), case, kind="fsdp")
        train(copied(folder / case / "ddp", "ddp, then fsdp"), case, kind="fsdp")
        train(copied(folder / case / "fsdp", "fsdp, then ddp"), case, kind="ddp")
    (folder / f"held {rank}.json").write_text(json.dumps(held))
    dist.destroy_process_group()


def sizes(run: Loop) -> dict[str, float]:
    """Which share of all numbers this process holds: of weights, of moments, of running means."""
    way, networks = strategy.current(), run.task.networks.values()
    weights = [parameter for network in networks for parameter in network.parameters()]
    moments = [tensor for name, tensor in run.optimizers.tensors().items() if "exp_avg" in name]
    assert run.ema is not None
    learning = sum(weight.numel() for weight in weights if weight.requires_grad)
    averaged = sum(weight.numel() for weight in run.ema.parameters.values())
    return {
        "weights": sum(way.held(weight).numel() for weight in weights) / sum(map(torch.numel, weights)),
        "moments": sum(moment.numel() for moment in moments) / (2 * learning),
        "means": sum(mean.numel() for mean in run.ema.means.values()) / averaged,
        "shown": run.task.shown.get_parameter(next(iter(run.ema.means))).untyped_storage().nbytes(),
    }


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    """The runs of two processes that are forked from this one."""
    folder = tmp_path_factory.mktemp("two")
    for case in CASES:
        for name in ("ddp", "fsdp"):
            (folder / case / name).mkdir(parents=True)
    fork = multiprocessing.get_context("fork")
    started = [fork.Process(target=one_of_two, args=(rank, folder), daemon=True) for rank in range(2)]
    for process in started:
        process.start()
    for process in started:
        process.join(150)
    assert [process.exitcode for process in started] == [0, 0]
    return folder


pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # of forks


@pytest.mark.parametrize("case", CASES)
def test_sharded_losses_are_those_of_processes_with_all_weights(case, two):
    ddp, fsdp = (losses(two / case / name) for name in ("ddp", "fsdp"))
    assert ddp.shape == (STEPS, 1 if case == "prior" else 2)
    torch.testing.assert_close(fsdp, ddp, atol=1e-5, rtol=0.0)
    torch.testing.assert_close(fsdp[:4, 0], torch.tensor(LOSSES[case]), atol=2e-4, rtol=0.0)


@pytest.mark.parametrize("case", CASES)
def test_a_sharded_run_that_goes_on_has_the_same_bits(case, two):
    whole, again = (
        checkpoints.read(two / case / name / "checkpoints" / f"step-{STEPS:08}")
        for name in ("fsdp", "fsdp again")
    )
    assert whole.tensors.keys() == again.tensors.keys()
    for name, tensor in whole.tensors.items():
        assert tensor.equal(again.tensors[name]), name
    assert whole.numbers == again.numbers


@pytest.mark.parametrize("way", ["ddp, then fsdp", "fsdp, then ddp", "fsdp, then one"])
@pytest.mark.parametrize("case", CASES)
def test_a_checkpoint_serves_any_number_of_processes(case, way, two):
    folder = two / case / way
    if way == "fsdp, then one":
        train(copied(two / case / "fsdp", way), case)
    # of one process the parts of a batch are others, each with a lambda and a chance of its own
    alike = way != "fsdp, then one" or case == "recomputed"
    expected, bound = losses(two / case / "ddp"), 2e-5 if alike else 5e-3
    torch.testing.assert_close(losses(folder), expected, atol=bound, rtol=0.0)


@pytest.mark.parametrize("case", CASES)
def test_each_process_writes_its_rows_and_the_model_is_whole(case, two):
    files = sorted(path.name for path in (two / case / "fsdp" / "checkpoints" / "step-00000008").iterdir())
    assert files == ["state.json", "tensors-00000-of-00002.safetensors", "tensors-00001-of-00002.safetensors"]
    for path in (two / case / "fsdp" / "checkpoints").iterdir():
        checkpoints.check(path)
    ddp, fsdp = (smalti.load(two / case / name) for name in ("ddp", "fsdp"))
    assert ddp.provenance["steps"] == fsdp.provenance["steps"] == STEPS
    for name, tensor in ddp.state_dict().items():
        torch.testing.assert_close(fsdp.state_dict()[name], tensor, atol=2e-4, rtol=0.0, msg=name)


@pytest.mark.parametrize("case", CASES)
def test_what_a_process_holds(case, two):
    for rank in (0, 1):
        held = json.loads((two / f"held {rank}.json").read_text())[case]
        assert held["shown"] == 0  # but while it is shown
        for name in ("weights", "moments", "means"):
            assert held[name] < 0.6, name  # tiny networks have much that is kept whole, or is in one row


@pytest.mark.parametrize("case", CASES)
def test_validation_and_sheets_are_those_of_whole_networks(case, two):
    ddp, fsdp = (
        [line for line in log.read(two / case / name / "log.jsonl") if line["kind"] == "validation"]
        for name in ("ddp", "fsdp")
    )
    assert [line["step"] for line in fsdp] == [4, 8]
    for one, other in zip(ddp, fsdp, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert value == other[name] or value == pytest.approx(other[name], abs=2e-3), name
    assert (two / case / "fsdp" / "samples" / "step-00000008.png").is_file()


def test_one_process_for_several_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="strategy=single") as caught, sharing.using("single", [], CPU):
        pass
    assert "torchrun" in caught.value.remedy


def of(width: int) -> torch.nn.Module:
    """So many weights squared, that are not there."""
    return torch.nn.Linear(width, width, bias=False, device="meta")


def test_gradients_of_fp16_are_not_shared(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="fp16"), sharing.using("fsdp", [], CPU, scaled=True):
        pass
    with sharing.using("auto", [of(10**6)], CPU, scaled=True):
        assert not strategy.current().is_sharded


@pytest.mark.parametrize(
    ("asked", "width", "is_sharded"),
    [("auto", 10**3, False), ("auto", 10**6, True), ("ddp", 10**6, False)],
)
def test_auto_shards_what_else_does_not_fit(asked, width, is_sharded, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with sharing.using(asked, [of(width)], CPU):
        assert strategy.current().is_sharded == is_sharded
    assert not strategy.current().is_sharded
