"""A disk that is full at any write: one line, what was there is good, more room goes on to the same bits."""

import json
import os
import re
import resource
import threading
from dataclasses import dataclass
from pathlib import Path

import forked
import kills
import pytest
from tiny import generator

import smalti
from smalti.training.log import Log

RECIPE = {**kills.RECIPE, "steps": 4, "checkpoint_every": 2}


@dataclass(frozen=True)
class Limit:
    """No file may grow beyond so many bytes."""

    most: int

    def __call__(self, rank: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.most, self.most))


@pytest.fixture(scope="module")
def server() -> forked.Server:
    return forked.Server()


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    found = tmp_path_factory.mktemp("full")
    (found / "recipe.yaml").write_text(json.dumps(RECIPE))  # which is YAML too
    kills.images(found)
    smalti.save(generator(), found / "model", {"size": (8, 8)})
    return found


@pytest.fixture(scope="module")
def begin(home) -> list[object]:
    return ["train", home / "recipe.yaml", "--data", home / "images"]


@pytest.fixture(scope="module")
def whole(server, home, begin) -> tuple[dict, list[str]]:
    """What a run gives that nothing disturbed, and its writes."""
    out, told = home / "whole" / "run", home / "whole.txt"
    out.parent.mkdir()
    assert server.run([*begin, "--out", out], told, prepare=[kills.Writes(out)]) == [0]
    return kills.record(out), kills.writes(told.read_text())


def piped(server, words, place: Path, prepare) -> tuple[list[int], str]:
    """Run a command of which what it says goes through a pipe, which no limit of files holds for."""
    pipe, heard = place / "pipe", []
    if not pipe.exists():
        os.mkfifo(pipe)
    listener = threading.Thread(target=lambda: heard.append(pipe.read_text()))
    listener.start()
    status = server.run(words, pipe, prepare=prepare)
    listener.join()
    return status, heard[0]


def kinds(writes: list[str]) -> dict[str, list[int]]:
    """Return the numbers, from 1, of the writes of each kind."""
    found: dict[str, list[int]] = {}
    for number, write in enumerate(writes, 1):
        found.setdefault(re.sub(r"\d+", "#", write), []).append(number)
    return found


def survives(server, begin, expected: dict, place: Path, prepare) -> str:
    """A run that is stopped so goes on, once there is room, to what it would have come to; gives its line."""
    out = place / "run"
    status, told = piped(server, [*begin, "--out", out], place, prepare)
    assert status == [2], told
    assert "Traceback" not in told
    (line,) = (line for line in told.splitlines() if line.startswith("smalti: "))
    assert line.startswith("smalti: expected room to write, got none")
    going_on = "go on with: smalti train --resume --out" in line
    assert going_on == (out / "settings.yaml").is_file()
    again = ["train", "--resume", "--out", out] if going_on else [*begin, "--out", out]
    status, told = piped(server, again, place, [])
    assert status == [0], told
    assert not kills.differences(expected, kills.record(out))
    return line


@pytest.mark.parametrize("part", ["checkpoints", pytest.param("model", marks=pytest.mark.slow)])
def test_a_disk_that_is_full_in_the_middle_of_a_run(server, begin, whole, tmp_path, part):
    expected, writes = whole
    number = next(
        number for number, write in enumerate(writes, 1) if "safetensors" in write and part in write
    )
    line = survives(server, begin, expected, tmp_path, [kills.Writes(tmp_path / "run", full=number)])
    assert ": the disk is full; free some space; " in line


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_disk_that_is_full_at_every_kind_of_write(server, begin, whole, tmp_path, capsys):
    expected, writes = whole
    tried = []
    for kind, numbers in kinds(writes).items():
        making = kind.split()[0] in kills.Writes.MAKING and "tensorboard" not in kind and ".lock" not in kind
        for number in {numbers[0], numbers[-1]} if making else ():
            place = tmp_path / f"{number}"
            place.mkdir()
            survives(server, begin, expected, place, [kills.Writes(place / "run", full=number)])
            tried.append(kind)
    with capsys.disabled():
        print(f"\nfull disks: {len(tried)} of {len(tried)} writes of {len(set(tried))} kinds survived")
    assert len(set(tried)) > 20


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_files_that_may_not_grow(server, begin, whole, tmp_path, capsys):
    """Each file breaks off in its middle: the smallest first, then larger ones."""
    lines = []
    for most in (0, 40, 300, 600, 1000, 1500, 2500, 4000, 8000, 16000, 30000, 60000, 90000):
        place = tmp_path / f"{most}"
        place.mkdir()
        lines.append(survives(server, begin, whole[0], place, [Limit(most)]))
    with capsys.disabled():
        print(f"\nlimited files: {len(lines)} of {len(lines)} limits survived")


@pytest.mark.slow
@pytest.mark.parametrize("most", [0, 100, 500, 900])
def test_encoding_and_drawing_where_files_may_not_grow(server, home, tmp_path, most):
    model, images = home / "model", home / "images"
    words = ["encode", model, images, tmp_path / "whole", "--size", 16, "--crops", 8]
    assert piped(server, words, tmp_path, [])[0] == [0]
    words[3] = tmp_path / "tokens"
    status, told = piped(server, words, tmp_path, [Limit(most)])
    assert (status, "Traceback" in told) == ([2], False), told
    assert "smalti: expected room to write, got none" in told
    begun = (tmp_path / "tokens" / "index.json").is_file()
    status, told = piped(server, [*words, *["--resume"] * begun], tmp_path, [])
    assert status == [0], told
    files = [
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("whole", "tokens")
    ]
    assert files[0] == files[1]

    draw = ["sample", model, tmp_path / "drawn", "--label", "moon", "--num", 3]
    status, told = piped(server, draw, tmp_path, [Limit(min(most, 300))])
    assert (status, "Traceback" in told) == ([2], False), told
    assert "smalti: expected room to write, got none" in told
    left = list((tmp_path / "drawn").iterdir()) if (tmp_path / "drawn").exists() else []
    assert not left, "half an image"


def test_tensorboard_may_fail_and_the_run_goes_on(tmp_path):
    journal = Log(tmp_path / "log.jsonl")

    class Full:
        def add_scalar(self, *_):
            raise OSError(28, "No space left on device")

    journal.board = Full()
    for step in (1, 2):
        journal.write(step, "train", loss=0.5)
    journal.close()
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["kind"] for line in lines[-3:]] == ["train", "note", "train"]
    assert "TensorBoard files end here: [Errno 28] No space left" in lines[-2]
