"""The log and the samples of a run that was stopped or killed are those of one that was not, to the digit."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny import TOKENIZER_TRAINING, TRAINING
from tqdm import tqdm

import smalti
from smalti import imaging, library, strategy
from smalti.training import checkpoints, fit, health, log, origin
from smalti.training.health import Alarm
from smalti.training.pace import WAITS
from smalti.training.prior_task import PriorTask
from smalti.training.recorder import Recorder
from smalti.training.tokenizer_task import TokenizerTask

TOKENIZER = {
    **TOKENIZER_TRAINING,
    "size": (16, 24),
    "quantizer": {"codebook_size": 16, "kmeans_start": True},
    "losses": {
        **TOKENIZER_TRAINING["losses"],
        "adversarial": {"start": 1, "discriminator_start": 1, "patchgan": {"width": 8, "layers": 2}},
    },
    "steps": 4,
    "sample_every": 2,
    "validate_every": 2,
    "checkpoint_every": 2,
}
PRIOR = {
    **TRAINING,
    "kind": "prior",
    "size": (16, 24),
    "prior": {"kind": "gpt", "layers": 1, "heads": 2, "width": 16},
    "condition": {"kind": "none"},
    "steps": 4,
    "sample_every": 2,
    "validate_every": 2,
    "checkpoint_every": 2,
}
# what no two runs have alike
CLOCKS = {"images_per_second", "memory_gib", *(f"{what}_wait" for what in WAITS)}


class Killed(Exception):
    """In place of a kill: nothing that comes after it is done."""


@pytest.fixture(scope="module")
def oblong(tmp_path_factory) -> Path:
    """Twelve images of 20 x 30 pixels, each a wave of its own."""
    folder = tmp_path_factory.mktemp("oblong")
    across, down = np.meshgrid(np.arange(30), np.arange(20))
    for number in range(12):
        wave = 127 + 120 * np.sin(across * (number + 1) / 9 + down / (number + 2))
        pixels = np.stack([wave, wave[::-1], wave[:, ::-1]], 2).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def recipes(tmp_path_factory, oblong) -> dict[str, Path]:
    """Files by kind; the prior's tokenizer has seen hardly anything."""
    home = tmp_path_factory.mktemp("recipes")
    for whole in (TOKENIZER, {**PRIOR, "tokenizer": str(home / "tok")}):
        (home / f"{whole['kind']}.yaml").write_text(yaml.safe_dump(_plain(whole)))
    smalti.train(home / "tokenizer.yaml", data=oblong, out=home / "tok", steps=1)
    return {kind: home / f"{kind}.yaml" for kind in ("tokenizer", "prior")}


@pytest.fixture
def recipe(recipes, request) -> Path:
    """Of the kind that a test is parametrised with."""
    return recipes[request.param]


@pytest.fixture(scope="module")
def whole(recipes, oblong, tmp_path_factory) -> Path:
    """A run that nothing stopped."""
    return smalti.train(recipes["tokenizer"], data=oblong, out=tmp_path_factory.mktemp("whole") / "run")


TOKENIZERS = pytest.mark.parametrize("recipe", ["tokenizer"], indirect=True)


def _plain(mapping: dict) -> dict:
    return json.loads(json.dumps(mapping))


def record(run: Path) -> tuple[list[list[tuple]], dict[str, bytes]]:
    """All lines with their names in order, but for clocks; and the bytes of the sample sheets."""
    lines = [
        [(name, value) for name, value in line.items() if name not in CLOCKS]
        for line in log.read(run / "log.jsonl")
    ]
    return lines, {path.name: path.read_bytes() for path in (run / "samples").iterdir()}


def kill(monkeypatch, owner, name: str, when) -> None:
    """End the program where a function is called with arguments of which `when` is true."""
    real = getattr(owner, name)

    def deadly(*args, **options):
        if when(*args, **options):
            raise Killed
        return real(*args, **options)

    monkeypatch.setattr(owner, name, deadly)


def terminate_in(step: int, monkeypatch) -> None:
    """SIGTERM in the middle of a step, after which a checkpoint is written and the run ends."""

    def is_it(self, parts, number) -> bool:
        if number == step - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return False

    for task in (TokenizerTask, PriorTask):
        kill(monkeypatch, task, "after_step", is_it)


@pytest.mark.parametrize(
    ("recipe", "val_share"), [("tokenizer", 0.0), ("tokenizer", 0.2), ("prior", 0.2)], indirect=["recipe"]
)
def test_9_a_stopped_runs_log_and_sheets_go_on_to_the_digit(recipe, val_share, oblong, tmp_path, monkeypatch):
    """Stopped between two log lines; usage, perplexity and means take in the steps before the stop."""
    every = {"steps": 6, "log_every": 4, "validate_every": 3, "sample_every": 6, "data.val_share": val_share}
    whole = smalti.train(recipe, data=oblong, out=tmp_path / "whole", **every)
    with monkeypatch.context() as patched:
        terminate_in(5, patched)
        with pytest.raises(SystemExit):
            smalti.train(recipe, data=oblong, out=tmp_path / "parts", **every)
    smalti.train(recipe, out=tmp_path / "parts", resume=True)
    assert record(whole) == record(tmp_path / "parts")
    lines = [line for line in log.read(whole / "log.jsonl") if line["kind"] == "train"]
    assert [line["step"] for line in lines] == [4, 6]
    if "recent_codes" in lines[0]:  # 8 x 12 cells of 4 images a step
        assert [line["recent_codes"] for line in lines] == [4 * 96 * step for step in (4, 6)]


PLACES = {
    "before the checkpoint": (checkpoints, "finish"),
    "before the model": (library, "save"),
    "before the sheet": (imaging, "save_png"),
    "in the validation": (TokenizerTask, "validate"),
}


@TOKENIZERS
@pytest.mark.parametrize(("place", "call"), [*((place, 1) for place in PLACES), ("in the validation", 2)])
def test_9_a_kill_anywhere_around_a_checkpoint_loses_no_line_and_no_sheet(
    recipe, oblong, whole, tmp_path, monkeypatch, place, call
):
    """At the first checkpoint, in the middle of the run; and at the last, after which no step comes."""
    calls: list[int] = []
    with monkeypatch.context() as patched:
        kill(patched, *PLACES[place], lambda *_, **__: calls.append(1) or len(calls) == call)
        with pytest.raises(Killed):
            smalti.train(recipe, data=oblong, out=tmp_path / "parts")
    smalti.train(recipe, out=tmp_path / "parts", resume=True)
    lines, sheets = record(tmp_path / "parts")
    assert (lines, sheets) == record(whole)
    assert list(sorted(sheets)) == ["step-00000002.png", "step-00000004.png"]
    assert [line[0][1] for line in lines if ("kind", "validation") in line] == [2, 4]
    assert library.read_config(tmp_path / "parts" / "model")["provenance"]["steps"] == 4
    assert library.fingerprint(smalti.load(tmp_path / "parts")) == library.fingerprint(smalti.load(whole))


@TOKENIZERS
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_9_a_real_kill_in_the_validation(recipe, oblong, whole, tmp_path, monkeypatch):
    child = os.fork()
    if not child:  # nothing is cleaned up, nothing is flushed
        monkeypatch.setattr(TokenizerTask, "validate", lambda *_: os._exit(9))
        try:
            smalti.train(recipe, data=oblong, out=tmp_path / "parts")
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    smalti.train(recipe, out=tmp_path / "parts", resume=True)
    assert record(tmp_path / "parts") == record(whole)


@TOKENIZERS
def test_9_an_alarm_that_stands_is_not_said_again(recipe, oblong, tmp_path, monkeypatch):
    stands = Alarm(name="tired", finding="steps 2 to 4", remedy="wait")
    monkeypatch.setattr(health, "examine", lambda lines: [stands] if 2 <= lines[-1]["step"] <= 4 else [])
    with monkeypatch.context() as patched:
        terminate_in(3, patched)
        with pytest.raises(SystemExit):
            smalti.train(recipe, data=oblong, out=tmp_path / "parts")
    smalti.train(recipe, out=tmp_path / "parts", resume=True)
    lines = log.read(tmp_path / "parts" / "log.jsonl")
    assert [line["step"] for line in lines if line["kind"] == "train"] == [1, 2, 3, 4]
    assert [line["step"] for line in lines if line["kind"] == "alarm"] == [2]


@TOKENIZERS
def test_9_skipped_steps_in_a_row_are_counted_over_a_stop(recipe, oblong, tmp_path, monkeypatch):
    """Three steps without a number end this run, two before the stop and one after it."""
    real = TokenizerTask.losses

    def losses(self, batch, step, part=0):
        found = real(self, batch, step, part)
        return found if step < 1 else _worthless(found)

    monkeypatch.setattr(TokenizerTask, "losses", losses)
    how = {"losses.adversarial": None, "patience": 3}
    with monkeypatch.context() as patched:
        kill(patched, fit.Loop, "_moved", lambda loop, _: loop.step == 3 and os.kill(os.getpid(), 15))
        with pytest.raises(SystemExit):
            smalti.train(recipe, data=oblong, out=tmp_path / "run", **how)
    with pytest.raises(smalti.UserError, match="3 steps in a row"):
        smalti.train(recipe, out=tmp_path / "run", resume=True)
    lines = log.read(tmp_path / "run" / "log.jsonl")
    assert [line["step"] for line in lines if line["kind"] == "skipped"] == [2, 3, 4]


def _worthless(losses):
    wrong = {name: loss * float("nan") for name, loss in losses.minimise.items()}
    return type(losses)(
        minimise=wrong, statistics=losses.statistics, codes=losses.codes, latents=losses.latents
    )


@TOKENIZERS
def test_9_a_checkpoint_of_before_still_goes_on(recipe, oblong, tmp_path):
    """What it does not hold begins anew, as it did."""
    out = smalti.train(recipe, data=oblong, out=tmp_path / "run", steps=2)
    (path,) = (out / "checkpoints").iterdir()
    held = load_file(path / "tensors.safetensors")
    young = [name for name in held if name == "recent" or name.startswith("since/")]
    assert young == ["recent"]
    save_file({name: held[name] for name in held if name not in young}, path / "tensors.safetensors")
    state = json.loads((path / "state.json").read_text())
    numbers = {name: state["numbers"][name] for name in ("skipped", "scaler", "ema_updates")}
    (path / "state.json").write_text(json.dumps({"format": 1, "step": 2, "numbers": numbers}))
    smalti.train(recipe, out=out, resume=True, steps=3)
    assert [line["step"] for line in log.read(out / "log.jsonl") if line["kind"] == "train"] == [1, 2, 3]


def test_9_a_kill_while_the_log_is_taken_up_leaves_it_as_it_was(tmp_path, monkeypatch):
    first = log.Log(tmp_path / "log.jsonl")
    for step in (1, 2):
        first.write(step, "train", loss=0.5)
    first.close()
    before = (tmp_path / "log.jsonl").read_text()
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        log.Log(tmp_path / "log.jsonl", resumed=1)
    assert (tmp_path / "log.jsonl").read_text() == before


def test_9_each_process_goes_on_with_its_own_numbers(monkeypatch):
    """Of as many processes as before; else with the mean of them all."""
    rows = {"loss": torch.tensor([[1.0, 2.0, 3.0], [5.0, 7.0, 9.0]])}
    for rank, world, expected in ((1, 2, [5.0, 7.0, 9.0]), (0, 2, [1.0, 2.0, 3.0]), (0, 1, [3.0, 4.5, 6.0])):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(world))
        recorder = Recorder(None, tqdm(disable=True))
        recorder.restore(rows, [])
        monkeypatch.setattr(strategy.DataParallel, "gather", lambda self, own: own)
        assert recorder.since()["loss"].tolist() == [expected]


def test_9_recent_codes_go_on_where_they_were():
    from smalti.quantizers.usage import RecentCodes

    whole, parts = (RecentCodes(codebook_size=40, num=10) for _ in range(2))
    for codes in torch.arange(16).split(4)[:3]:
        whole.add(codes)
    held, seen = whole.state()
    assert (seen, sorted(held.tolist())) == (12, list(range(2, 12)))
    parts.restore(held.to(torch.uint16), seen)
    for recent in (whole, parts):
        recent.add(torch.arange(12, 16))
        assert sorted(recent.codes().tolist()) == list(range(6, 16))


@pytest.mark.parametrize(
    "line", ["{", "[1]", "7", '{"step": "1", "kind": "train"}', '{"kind": "train"}', "\xff"]
)
def test_a_line_of_the_log_that_is_none_is_named(line, tmp_path):
    (tmp_path / "log.jsonl").write_text(f'{{"step": 1, "kind": "train"}}\n{line}\nhalf', encoding="latin-1")
    with pytest.raises(smalti.UserError, match=r"line 2 of .*log\.jsonl") as caught:
        log.read(tmp_path / "log.jsonl")
    assert "take it out" in caught.value.remedy


@pytest.mark.parametrize("text", ["{", "[]", '{"colour": 1}'])
def test_a_damaged_origin_is_named(text, tmp_path):
    (tmp_path / "origin.json").write_text(text)
    with pytest.raises(smalti.UserError, match=r"origin\.json") as caught:
        origin.read(tmp_path / "origin.json")
    assert "delete it" in caught.value.remedy
