"""What ends commands from outside, other than kill -9: signals, terminals and pipes that close."""

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import forked
import kills
import pytest
import tqdm.std
from tiny import TOKENIZER_TRAINING, generator

import smalti
from smalti.training import log

RECIPE = {**TOKENIZER_TRAINING, "size": [16, 24], "steps": 4, "sample_every": 2, "checkpoint_every": 2}
STEP = 2  # before the end of which signals come: between two checkpoints


@dataclass(frozen=True)
class Sent:
    """Signals that a training gets in the middle of a step, one right after the other."""

    numbers: tuple[int, ...]
    to_group: bool = False  # as from a terminal: the processes that open images get them too

    def __call__(self, rank: int) -> None:
        from smalti.training.tokenizer_task import TokenizerTask

        real: Callable = TokenizerTask.after_step
        if self.to_group:
            os.setpgrp()

        def after_step(task, parts, step):
            for number in self.numbers if step == STEP else ():
                os.killpg(0, number) if self.to_group else os.kill(os.getpid(), number)
            return real(task, parts, step)

        TokenizerTask.after_step = after_step


def ignoring_hangups(rank: int) -> None:
    """As nohup does."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def clock_going_back(rank: int) -> None:
    """By an hour each time that somebody looks."""
    hours = iter(range(10**6))
    time.time = tqdm.std.time = lambda: 2e9 - 3600.0 * next(hours)


@pytest.fixture(scope="module")
def server() -> forked.Server:
    return forked.Server()


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("ended")


@pytest.fixture(scope="module")
def begin(home) -> list[object]:
    (home / "recipe.yaml").write_text(json.dumps(RECIPE))  # which is YAML too
    return ["train", home / "recipe.yaml", "--data", kills.images(home)]


@pytest.fixture(scope="module")
def whole(server, home, begin) -> dict:
    """What a run gives that nothing disturbed."""
    (home / "whole").mkdir()
    assert server.run([*begin, "--out", home / "whole" / "run"], home / "whole" / "told.txt") == [0]
    return kills.record(home / "whole" / "run")


STOPPED = "stopped after step 3; go on with: smalti train --resume"
SIGNALS = [
    pytest.param((signal.SIGHUP,), 129, STOPPED, id="hangup"),
    pytest.param((signal.SIGINT,), 130, STOPPED, id="ctrl-c", marks=pytest.mark.slow),
    pytest.param((signal.SIGINT, signal.SIGINT), 130, "", id="ctrl-c twice"),
    pytest.param((signal.SIGINT, signal.SIGTERM), -signal.SIGTERM, "", id="both", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("numbers", "status", "said"), SIGNALS)
def test_a_signal_costs_nothing(server, home, begin, whole, tmp_path, numbers, status, said):
    out, told = tmp_path / "run", tmp_path / "told.txt"
    assert server.run([*begin, "--out", out], told, prepare=[Sent(numbers)]) == [status]
    assert said in told.read_text()
    assert "stopped after" in said or "stopped after" not in told.read_text(), "it acts at once"
    assert server.run(["train", "--resume", "--out", out], told) == [0]
    assert "Traceback" not in told.read_text()
    assert not kills.differences(whole, kills.record(out))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("numbers", "status"), [((signal.SIGINT,), 130), ((signal.SIGINT, signal.SIGINT), 130)]
)
def test_a_terminals_signals_reach_the_processes_that_open_images(
    server, home, begin, whole, tmp_path, numbers, status
):
    out, told = tmp_path / "run", tmp_path / "told.txt"
    sent = Sent(numbers, to_group=True)
    assert server.run([*begin, "--out", out, "workers=2"], told, prepare=[sent]) == [status]
    assert server.run(["train", "--resume", "--out", out], told) == [0]
    assert "Traceback" not in told.read_text()
    assert not kills.differences(whole, kills.record(out))


@pytest.mark.slow
def test_nohup_is_heeded(server, home, begin, whole, tmp_path):
    out, told = tmp_path / "run", tmp_path / "told.txt"
    prepare = [ignoring_hangups, Sent((signal.SIGHUP,))]
    assert server.run([*begin, "--out", out], told, prepare=prepare) == [0]
    assert not kills.differences(whole, kills.record(out))


@pytest.mark.slow
def test_a_clock_that_goes_back_changes_nothing(server, home, begin, whole, tmp_path):
    out, told = tmp_path / "run", tmp_path / "told.txt"
    assert server.run([*begin, "--out", out], told, prepare=[clock_going_back]) == [0]
    assert not kills.differences(whole, kills.record(out))
    lines = [line for line in log.read(out / "log.jsonl") if line["kind"] == "train"]
    assert all(line["images_per_second"] > 0 and 0 <= line["data_wait"] <= 1 for line in lines)


@pytest.mark.parametrize("command", ["train", "encode", "sample", "recipes"])
def test_a_closed_pipe_ends_no_work(server, home, begin, whole, tmp_path, command):
    """As of `smalti train ... 2>&1 | head -1`: all that is said goes to a reader that soon is gone."""
    out, pipe = tmp_path / "run", tmp_path / "pipe"
    smalti.save(generator(), tmp_path / "model", {"size": (8, 8)})
    words = {
        "train": [*begin, "--out", out],
        "encode": ["encode", tmp_path / "model", begin[-1], out, "--size", 16],
        "sample": ["sample", tmp_path / "model", out, "--label", "moon", "--num", 40, "--micro-batch", 1],
        "recipes": ["recipes"],
    }
    os.mkfifo(pipe)
    processes = server.start(words[command], pipe)
    with pipe.open() as reader:
        assert reader.readline()
    assert forked.finish(processes) == [0]
    if command == "train":
        assert not kills.differences(whole, kills.record(out))
        assert [line["step"] for line in log.read(out / "log.jsonl") if line["kind"] == "train"] == [
            1,
            2,
            3,
            4,
        ]
    elif command == "encode":
        assert json.loads((out / "index.json").read_text())["complete"]
    elif command == "sample":
        assert len(list(out.iterdir())) == 40
