"""kill -9 at any moment, of all processes or of one alone: the resumed run ends with the same bits."""

import json
import random
import re
import time
from pathlib import Path

import kills
import numpy as np
import pytest
import yaml
from PIL import Image

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
def server() -> kills.Server:
    return kills.Server()


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> dict[str, Path]:
    """A recipe, and twelve images of 20 x 30 pixels, each a wave of its own."""
    home = tmp_path_factory.mktemp("given")
    across, down = np.meshgrid(np.arange(30), np.arange(20))
    (home / "images").mkdir()
    for number in range(12):
        wave = 127 + 120 * np.sin(across * (number + 1) / 9 + down / (number + 2))
        pixels = np.stack([wave, wave[::-1], wave[:, ::-1]], 2).astype(np.uint8)
        Image.fromarray(pixels).save(home / "images" / f"{number}.png")
    (home / "recipe.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(kills.RECIPE))))
    return {"recipe": home / "recipe.yaml", "data": home / "images"}


def survive(server, given, home: Path, strategy: str, tries: int, seed: int) -> str:
    """Kill so many trainings, each at a moment of its own; gives a line that sums up."""
    count, begun = kills.PROCESSES[strategy], time.monotonic()
    given = {**given, "strategy": "fsdp"} if strategy == "fsdp" else given
    whole = home / "whole" / "run"
    for _ in range(2):  # the first one warms up
        started = time.monotonic()
        assert kills.finish(server.start(whole, strategy, None, **given)) == [0] * count, kills.told(whole)
        seconds = time.monotonic() - started
        whole = home / "again" / "run"
    expected = kills.record(whole)
    assert not kills.differences(expected, kills.record(home / "whole" / "run")), "not even without a kill"
    writes = int(re.findall(rf"{kills.WRITES}(\d+)", kills.told(whole))[0])
    done = killed = 0
    while done < tries:
        out = home / f"{done}" / "run"
        chance = random.Random(f"{seed} {strategy} {done}")
        moments = []
        while not moments or (chance.random() < 0.3):  # what goes on after a kill is killed sometimes too
            moment = kills.Moment.draw(chance, count, seconds, writes)
            moments.append(moment)
            again = {"resume": True} if (out / "settings.yaml").is_file() else given
            killed += -9 in kills.kill(server.start(out, strategy, moment.event, **again), moment)
        again = {"resume": True} if (out / "settings.yaml").is_file() else given
        ended = kills.finish(server.start(out, strategy, None, **again))
        said = kills.told(out)
        assert ended == [0] * count, (moments, said)
        assert not kills.differences(expected, kills.record(out)), (moments, said)
        assert "Traceback" not in said, (moments, said)
        done += 1
    took = time.monotonic() - begun
    return f"{strategy}: {done} of {tries} runs equal to the bit after {killed} kills, {took:.0f} s"


def test_runs_survive_kills(server, given, tmp_path):
    survive(server, given, tmp_path, "single", 2, seed=0)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_thirty_runs_survive_kills(server, given, tmp_path, capsys, strategy):
    line = survive(server, given, tmp_path, strategy, KILLS, seed=1)
    with capsys.disabled():
        print(f"\nkills: {line}")
