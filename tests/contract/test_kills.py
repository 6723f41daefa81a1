"""kill -9 at any moment, of all processes or of one alone: the resumed run ends with the same bits."""

import json
import random
import signal
import time
from itertools import count as count_up
from pathlib import Path

import forked
import kills
import pytest

from smalti import schema
from smalti.training.settings import TrainingSettings

KILLS = 30
# by which strategies a training can be run
STRATEGIES = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            name == "fsdp" and "strategy" not in schema.keys(TrainingSettings), reason="no such setting yet"
        ),
    )
    for name in kills.PROCESSES
]


@pytest.fixture(scope="module")
def server() -> forked.Server:
    return forked.Server()


@pytest.fixture(scope="module")
def begin(tmp_path_factory) -> list[object]:
    """The words that begin a run."""
    home = tmp_path_factory.mktemp("given")
    (home / "recipe.yaml").write_text(json.dumps(kills.RECIPE))  # which is YAML too
    return ["train", home / "recipe.yaml", "--data", kills.images(home)]


def survive(server, begin, home: Path, strategy: str, tries: int, seed: int) -> str:
    """Kill so many trainings, each at a moment of its own; gives a line that sums up."""
    count, begun = kills.PROCESSES[strategy], time.monotonic()
    begin = [*begin, "strategy=fsdp"] if strategy == "fsdp" else begin

    def words(out: Path) -> list[object]:
        going_on = ["train", "--resume", "--out", out]
        return going_on if (out / "settings.yaml").is_file() else [*begin, "--out", out]

    def folder(name: str) -> tuple[Path, Path]:
        (home / name).mkdir()
        return home / name / "run", home / name / "told.txt"

    for name in ("warm", "whole"):  # the first one warms up
        (whole, told), started = folder(name), time.monotonic()
        ended = server.run(words(whole), told, count=count, prepare=[kills.Writes(whole)])
        assert ended == [0] * count, told.read_text()
        seconds = time.monotonic() - started
    expected = kills.record(whole)
    assert not kills.differences(expected, kills.record(home / "warm" / "run")), "not even without a kill"
    writes = len(kills.writes(told.read_text()))
    done = killed = 0
    for number in count_up():
        (out, told), chance = folder(f"{number}"), random.Random(f"{seed} {strategy} {number}")
        moments: list[kills.Moment] = []
        before = killed
        while not moments or chance.random() < 0.3:  # what goes on after a kill is killed sometimes too
            moments.append(kills.Moment.draw(chance, count, seconds, writes))
            deadly = kills.Writes(out, moments[-1].write)
            processes = server.start(words(out), told, count=count, prepare=[deadly])
            killed += -signal.SIGKILL in kills.kill(processes, moments[-1])
        ended = server.run(words(out), told, count=count)
        why = (moments, told.read_text())
        assert ended == [0] * count, why
        assert not kills.differences(expected, kills.record(out)), why
        assert "Traceback" not in told.read_text(), why
        done += killed > before  # a run that had ended before its moment came says nothing
        if done == tries:
            break
    took = time.monotonic() - begun
    return f"{strategy}: {done} of {tries} runs equal to the bit after {killed} kills, {took:.0f} s"


def test_runs_survive_kills(server, begin, tmp_path):
    survive(server, begin, tmp_path, "single", 2, seed=0)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_thirty_runs_survive_kills(server, begin, tmp_path, capsys, strategy):
    line = survive(server, begin, tmp_path, strategy, KILLS, seed=1)
    with capsys.disabled():
        print(f"\nkills: {line}")
