"""A plan tells what a training takes: parts are counted, steps are really taken, nothing is written."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from click.testing import CliRunner
from tiny import NETWORK, TOKENIZER_TRAINING, TRAINING, of_images

import smalti
from smalti import config, memory
from smalti.cli.main import group
from smalti.conditions.computed.edges import EdgesSettings
from smalti.errors import UserError
from smalti.planning import disk, less, page, probe
from smalti.planning.case import read
from smalti.planning.measuring import Resident, most_allocated
from smalti.planning.parts import count, parameters
from smalti.planning.plan import plan
from smalti.planning.probe import Line
from smalti.planning.synthetic import Synthetic
from smalti.planning.trial import Phase, phases
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings
from smalti.training.validation import VALIDATED

CPU = torch.device("cpu")
ADVERSARIAL = {"start": 5, "discriminator_start": 3, "patchgan": {"width": 8, "layers": 1}}
WITHOUT_DATA = {name: value for name, value in TOKENIZER_TRAINING["data"].items() if name != "root"}


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """Few steps, no variants, and a folder of one's own, in which nothing may appear."""
    monkeypatch.setattr(probe, "STEADY", 0.0)
    monkeypatch.setattr(less, "PATIENCE", 0.0)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """A tokenizer with a discriminator, on oblong crops, whose data nobody names."""
    losses = {**TOKENIZER_TRAINING["losses"], "adversarial": ADVERSARIAL}
    found = {**TOKENIZER_TRAINING, "data": WITHOUT_DATA, "losses": losses, "size": [16, 24]}
    folder = tmp_path_factory.mktemp("recipe")
    return _written(folder / "tokenizer.yaml", {**found, "quantize_start": 2, "steps": 9})


@pytest.fixture(scope="module")
def planned(recipe):
    """The plan of that recipe, with variants that take less."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe, "STEADY", 0.0)
        return plan(recipe)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A trained tokenizer of factor 2 in a folder."""
    folder = tmp_path_factory.mktemp("tokenizer") / "trained"
    network = NetworkSettings(**NETWORK, multipliers=(1, 2))
    settings = TokenizerSettings(network=network, quantizer=VectorQuantizerSettings(codebook_size=12))
    smalti.save(Tokenizer(settings), folder)
    return folder


def prior(tmp_path, tokenizer, **more):
    found = {**TRAINING, "kind": "prior", "tokenizer": str(tokenizer), "data": {"kind": "folder"}}
    found |= {"prior": {"kind": "modern", "layers": 2, "heads": 2, "width": 16}, "size": [16, 24]}
    return _written(tmp_path / "prior.yaml", {**found, **more})


def _written(path: Path, mapping) -> Path:
    path.write_text(yaml.safe_dump(json.loads(json.dumps(mapping))))
    return path


def test_what_a_plan_tells(planned):
    found = planned
    autoencoder, discriminator = (found.parameters[name] for name in ("autoencoder", "discriminator"))
    assert (autoencoder, discriminator) == (42063, 2729)
    assert found.memory.keys() - {"checkpoint"} == {
        "process", "weights", "frozen", "gradients", "moments", "averaged", "activations", "others",
    }  # fmt: skip
    learning = 4 * (autoencoder + discriminator)
    assert found.memory["gradients"] == learning
    assert found.memory["moments"] == 2 * learning
    assert found.memory["averaged"] == 4 * autoencoder
    assert learning <= found.memory["weights"] <= learning + 500, "and statistics"
    assert found.memory["activations"] > 4 * 4 * 3 * 16 * 24 * 8, "a batch, some channels wide"
    assert found.found.is_measured
    assert [phase for phase, _ in found.found.steps] == [Phase(0, 2), Phase(2, 1), Phase(3, 2), Phase(5, 4)]
    assert all(taken.wall > 0 and taken.processor > 0 for _, taken in found.found.steps)
    assert found.seconds["steps"] == sum(phase.count * one.wall for phase, one in found.found.steps)
    assert found.seconds["data"] == 0, "of made samples"
    assert {one.words for one in found.less} <= {
        "accumulate=2", "recompute=true", "precision=bf16", "batch=2",
    }  # fmt: skip
    assert page.fits(found)


def test_the_same_by_the_command(recipe, photos):
    words = ["plan", str(recipe), "--gpus", "2"]
    text = CliRunner().invoke(group, words, catch_exceptions=False).stdout
    assert "recipe       tokenizer                    tokenizer, 9 steps of 4 of 16 x 24, fp32 on cpu" in text
    assert "data         none named                   16 made samples of 4 classes" in text
    assert "\n2 processes  strategy=ddp  " in text
    assert "\n             a step, 5 .. 8  " in text
    assert " unknown\n" in text, "for waits, as no data are named"
    assert len(text.splitlines()) < 50, "one screen"
    words += ["--data", str(photos), "size=[16, 16]", "steps=2", "--json"]
    told = json.loads(CliRunner().invoke(group, words, catch_exceptions=False).stdout)
    assert told["synthetic"] is False
    assert told["memory"]["total"] == sum(
        size for name, size in told["memory"].items() if name not in ("total", "free")
    )
    assert told["disk"]["shards"] == 16 * 8 * 8, "a byte a code"
    assert told["phases"][0]["steps"] == 2
    assert told["fits"]


@pytest.mark.parametrize(
    "words",
    [
        ["no_such_recipe"],
        ["{recipe}", "batsh=3"],
        ["{recipe}", "--data", "absent"],
        ["{recipe}", "network.multipliers=[1,2,4]", "size=[18,24]", "--data", "scenes"],
        ["{recipe}", "data.root=photos", "--data", "photos"],
        ["{recipe}", "--batch", "3"],
        ["prior_300", "--data", "{photos}"],
        ["{recipe}", "batch=100000000", "--data", "scenes"],
    ],
)
def test_mistakes_are_those_of_a_training(recipe, photos, words):
    words = [word.format(recipe=recipe, photos=photos) for word in words]
    told = {
        command: str(CliRunner().invoke(group, [command, *words]).exception) for command in ("plan", "train")
    }
    assert told["plan"] == told["train"]
    assert told["plan"].startswith("expected ")
    assert not list(Path.cwd().iterdir())


def test_processes_that_cannot_share_a_batch(recipe):
    with pytest.raises(UserError, match="a batch that 3 processes can share, got 4; batch=24"):
        plan(recipe, gpus=3)


def test_several_processes_have_parts(recipe, planned):
    found = plan(recipe, gpus=2)
    assert not list(Path.cwd().iterdir()), "nothing is written"
    parts = found.parts
    shared = parts.weights + parts.gradients + parts.moments + parts.averaged
    assert found.by_processes == {
        "ddp": found.total + parts.gradients,
        "fsdp": found.total - shared + -(-shared // 2) + 2 * parts.largest_block,
    }
    assert 0 < parts.largest_block < parts.weights
    assert found.found.part == 2
    assert planned.by_processes == {}


def test_what_does_not_fit_is_not_tried(recipe, monkeypatch):
    monkeypatch.setattr(memory, "free", lambda: 300_000)
    found = plan(recipe)
    assert found.found is None
    assert not page.fits(found)
    assert "activations" not in found.memory
    assert "no step was tried" in page.text(found)
    assert found.disk["checkpoint"] > 4 * found.parts.gradients


def test_a_batch_that_does_not_fit_is_told_by_smaller_ones(recipe, planned, monkeypatch):
    taken = []
    take = probe.Trial.take
    monkeypatch.setattr(
        probe.Trial, "take", lambda self, batch, step: taken.append(batch.size) or take(self, batch, step)
    )
    parts, small = planned.parts, planned.found.small
    room = parts.steady + parts.gradients + small.tensors.at(4)
    monkeypatch.setattr(memory, "free", lambda: round(room / probe.FILLED * 1.01))
    found = plan(recipe, batch=64)
    assert 1 <= max(taken) <= 4
    assert not found.found.is_measured
    assert found.found.tensors == pytest.approx(16 * small.tensors.at(4), rel=0.1)
    assert found.found.total == found.found.total_by_lines > found.free
    text = page.text(found)
    assert "DOES NOT FIT; by batches up to " in text
    assert found.found.step == pytest.approx(found.found.step_by_lines)


def test_bytes_are_those_of_a_larger_batch(recipe):
    """Lines through small batches say what tensors a batch of ten makes."""
    case = read(recipe, None, {"batch": 10})
    trial = case.trial(case.task(case.training), case.training)
    small = probe.try_small(case, trial, 10)
    assert small.tried == 4
    assert small.tensors.at(10) == pytest.approx(trial.memory(case.batch(10), 8), rel=0.03)


def test_parts_of_a_batch_take_less(recipe):
    held = {}
    for words in ({}, {"accumulate": 2}, {"recompute": True}, {"batch": 2}):
        case = read(recipe, None, {"batch": 4, **words})
        trial = case.trial(case.task(case.training), case.training)
        part, _ = probe.cut(case.training, 1)
        held[str(words)] = probe.try_small(case, trial, part).tensors.at(part)
    whole, *less = held.values()
    assert all(one < 0.9 * whole for one in less)


def test_cuts():
    training = read("tokenizer_300", None, {"batch": 12, "accumulate": 5}).training
    assert probe.cut(training, 1) == (3, 4)
    assert probe.cut(training, 2) == (2, 3)
    assert probe.cut(replace(training, accumulate=100), 1) == (1, 12)


def test_lines():
    assert Line.through({1: 3.0}) == Line(0.0, 3.0)
    assert Line.through({1: 9.0, 2: 5.0, 4: 9.0}) == Line(1.0, 2.0)
    assert Line(1.0, 2.0).at(10) == 21.0
    assert Line.through({1: 5.0, 2: 4.0}) == Line(4.0, 0.0), "noise is no fall"


def test_tensors_are_counted_once_and_as_long_as_they_live():
    def work():
        one = torch.zeros(1000, dtype=torch.float32)
        view = one.view(10, 100)[:5]
        del one
        two = view + 1  # 2,000 bytes beside the 4,000
        del view, two
        return torch.zeros(500, dtype=torch.float64)

    assert most_allocated(work, CPU) == 6000
    given = torch.zeros(9000)
    assert most_allocated(lambda: given.add_(1), CPU) <= 36_000, "what is there before counts once at most"


def test_the_most_of_a_process():
    resident = Resident(CPU)
    held = torch.ones(64 * 2**18)  # 64 MiB
    del held
    assert 60 * 2**20 < resident.most() < 120 * 2**20


def test_phases_of_a_prior(tmp_path, tokenizer):
    case = read(prior(tmp_path, tokenizer), None, {})
    task = case.task(case.training)
    assert phases(task, case.training) == [Phase(0, 8)]
    assert parameters(task)["frozen"] == parameters_of(task.pipeline.tokenizer)
    parts = count(task, case.training)
    assert parts.gradients == 4 * parameters_of(task.pipeline.prior)
    assert parts.frozen > 4 * parameters_of(task.pipeline.tokenizer) > 0


def parameters_of(network):
    return sum(p.numel() for p in network.parameters())


def test_disk_is_as_predicted(recipe, photos, tmp_path):
    """A run leaves what its plan says."""
    changes = {"size": [16, 16], "steps": 6, "checkpoint_every": 2, "sample_every": 3, "log_every": 2}
    told = plan(recipe, photos, **changes).disk
    run = smalti.train(recipe, photos, tmp_path / "run", **changes)
    sizes = {
        path.name: sum(file.stat().st_size for file in path.rglob("*.safetensors"))
        for path in [run / "model", *(run / "checkpoints").iterdir()]
    }
    assert len(sizes) == 3
    assert sizes["model"] == pytest.approx(told["model"], rel=0.2), "and names of tensors"
    assert sizes["step-00000006"] < told["checkpoint"] + 40_000
    assert told["checkpoint"] - probe_recent(run) < sizes["step-00000006"]
    assert told["checkpoints"] == 2 * told["checkpoint"]
    sheets = sum(path.stat().st_size for path in (run / "samples").iterdir())
    assert sheets <= told["samples"] < 3 * sheets, "fewer are held out than a sheet has room for"


def probe_recent(run) -> int:
    """The bytes of the codes that a long run remembers, which this short one has but a few of."""
    return 2 * 2**16


def test_counts_on_disk():
    assert disk.times(100, 50) == 2
    assert disk.times(101, 50) == 3
    training = read("tokenizer_300", None, {}).training
    assert disk.milestones(training) == 0
    assert disk.free(Path("absent/below")) > 0


@pytest.mark.parametrize("name", sorted(config.recipes()))
def test_every_recipe_has_samples_without_data(name, tmp_path, tokenizer):
    """Of the data that it wants, as many as a batch has; of codes those of its tokenizer."""
    mapping = config.read(name)
    changes = {}
    if mapping["kind"] == "prior" and "init_from" not in mapping:
        changes = {"tokenizer": str(tokenizer), "size": 64}
    if name == "tokenizer_silhouette_minutes":  # of files alone
        with pytest.raises(UserError, match="images in files of their own"):
            read(name, None, changes).batch(1)
        return
    if "condition_tokenizer" in mapping:
        smalti.save(of_images(EdgesSettings()).condition.tokenizer, tmp_path / "maps")
        changes["condition_tokenizer"] = str(tmp_path / "maps")
    case = read(name, None, changes)
    batch = case.batch(2)
    assert batch.size == 2
    if isinstance(case.readers["train"], Synthetic) and "codes" in case.readers["train"].gives:
        assert batch.codes.shape == (2, 32, 32)
    elif case.training.kind == "tokenizer":
        assert batch.sides == case.training.sizes[0]
    if case.training.kind == "tokenizer" and case.training.content == "image":
        assert batch.images.shape[1] == case.training.network.in_channels


@pytest.mark.parametrize(
    ("data", "condition", "more"),
    [
        pytest.param("folder", {"kind": "label"}, {}, marks=pytest.mark.slow),
        (
            "shards",
            {"kind": "label", "dropout": 0.1},
            {"prior": {"kind": "masked", "layers": 1, "heads": 2, "width": 16}},
        ),
        pytest.param("folder", {"kind": "coordinates", "tokens": 16}, {}, marks=pytest.mark.slow),
        ("coco", {"kind": "boxes", "no_tokens": 64, "max_objects": 8}, {}),
        ("coco_keypoints", {"kind": "keypoints", "joints": "coco", "layout": "map"}, {"accumulate": 2}),
        ("folder", {"kind": "text", "vocabulary": 300, "max_tokens": 8}, {}),
        ("folder", {"kind": "map", "shared": True, "compute": {"kind": "low_resolution", "factor": 4}}, {}),
    ],
    ids=lambda one: one if isinstance(one, str) else one.get("kind", ""),
)
def test_priors_of_all_kinds_can_be_tried(tmp_path, tokenizer, data, condition, more):
    found = plan(prior(tmp_path, tokenizer, data={"kind": data}, condition=condition, **more))
    assert found.found.is_measured
    assert found.found.sheet > 0
    assert found.found.sheet_bytes > 100
    assert found.parameters["prior"] > 0
    assert found.total > found.parts.steady
    assert "prior" in page.text(found)


@pytest.mark.parametrize("content", ["map", "segmentation"])
def test_tokenizers_of_maps_can_be_tried(tmp_path, content):
    channels = {"map": 1, "segmentation": 5}[content]
    data = (
        {"kind": "maps", "classes": 5}
        if content == "segmentation"
        else {"kind": "pairs", "content": "depth", "maps": "depths"}
    )
    losses = {"perceptual": {"weight": 0.0}}
    if content == "segmentation":
        losses |= {"l1": 0.0, "bce": 1.0}
    network = {**TOKENIZER_TRAINING["network"], "in_channels": channels, "out_channels": channels}
    found = {**TOKENIZER_TRAINING, "data": data, "content": content, "losses": losses, "network": network}
    told = plan(_written(tmp_path / "maps.yaml", found))
    assert told.found.is_measured
    assert told.parts.frozen == 0


def test_a_drawing_that_takes_too_long_is_not_tried(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setattr(probe, "BANDWIDTH", 1.0)
    found = plan(prior(tmp_path, tokenizer))
    assert not found.found.is_sheet_drawn
    assert found.found.sheet == 8 * 12 * found.parts.weights
    assert "at least: too long to try" in page.text(found)


def test_validation_and_sheets_are_counted(tmp_path, tokenizer):
    found = plan(prior(tmp_path, tokenizer, steps=40, sample_every=10, validate_every=15))
    assert found.seconds["samples"] == 4 * found.found.sheet
    assert found.seconds["validation"] == found.found.validation * VALIDATED / 4 * 3


def test_workers_load_beside_the_steps(planned):
    found = planned
    case = copy.copy(found.case)
    slow = replace(found.found, loading=3 * found.found.step.wall)
    waits = {}
    for workers in (0, 2, 4):
        training = replace(case.training, workers=workers)
        waits[workers] = replace(found, found=slow, case=replace(case, training=training)).wait
    wall = found.found.step.wall
    assert waits == {0: 3 * wall, 2: pytest.approx(0.5 * wall), 4: 0.0}
