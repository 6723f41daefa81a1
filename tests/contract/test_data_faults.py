"""What befalls data while a training reads them costs time and nothing else: the same bits come out."""

import json
import os
import shutil
import signal
import threading
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import forked
import kills
import pytest
import torch
from tiny import TOKENIZER_TRAINING, generator
from torch.utils.data import get_worker_info

import smalti
from smalti.data import faults
from smalti.data.folder import Folder, FolderSettings
from smalti.data.loader import Loader
from smalti.data.transforms import CropSettings
from smalti.errors import UserError
from smalti.training import log
from smalti.training.tokenizer_task import TokenizerTask

RECIPE = {**TOKENIZER_TRAINING, "size": [16, 24], "steps": 6, "validate_every": 3, "checkpoint_every": 3}


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    found = tmp_path_factory.mktemp("faults")
    (found / "recipe.yaml").write_text(json.dumps(RECIPE))  # which is YAML too
    kills.images(found)
    return found


@pytest.fixture
def folder(home) -> Folder:
    return Folder(FolderSettings(root=home / "images", val_share=0.0), "train")


def loader(folder: Folder, **more) -> Loader:
    return Loader(folder, size=(16, 24), crop=CropSettings(resize="none"), batch=4, seed=0, **more)


def images(batches, count: int) -> torch.Tensor:
    return torch.stack([batch.images for batch in islice(batches, count)])


@dataclass(frozen=True)
class Deadly:
    """Processes that open images are killed where one of two images is opened: the first time, or always."""

    marks: Path
    always: bool = False

    def __call__(self, rank: int = 0) -> None:
        real = Folder.__getitem__

        def opened(folder, index: int):
            mark = self.marks / f"{index}"
            if index in (2, 7) and get_worker_info() and (self.always or not mark.exists()):
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return real(folder, index)

        Folder.__getitem__ = opened


@pytest.fixture
def torn(monkeypatch) -> list[int]:
    """Loaders over processes that die after 2, 0, 1, 2 ... batches; the list says how often they began."""
    begun: list[int] = []

    def fake(dataset, batch_sampler, **_):
        begun.append(1)
        for _, places in zip(range((2, 0, 1)[(len(begun) - 1) % 3]), batch_sampler, strict=False):
            yield [dataset[place] for place in places]
        raise (RuntimeError("DataLoader worker (pid(s) 12) exited unexpectedly"), ConnectionResetError())[
            len(begun) % 2
        ]

    monkeypatch.setattr(faults, "DataLoader", fake)
    return begun


def test_where_processes_die_they_begin_again_at_the_missing_batch(folder, torn):
    said: list[str] = []
    found = images(loader(folder, workers=2, skipped=said.append).batches(3), 6)
    assert torch.equal(found, images(loader(folder).batches(3), 6))
    assert said == ["a process that opens samples died: all are begun again where they were"] * 5
    assert len(torn) == 6


def test_processes_that_die_again_and_again_end_the_run_in_one_line(folder, torn, monkeypatch):
    monkeypatch.setattr(faults, "NEAR", 3)
    images(loader(folder, workers=2).batches(), 12)  # seldom enough
    monkeypatch.setattr(faults, "NEAR", 9)
    with pytest.raises(UserError, match="got 6 that died within 9 batches; fewer workers"):
        images(loader(folder, workers=2).batches(), 12)


@pytest.mark.parametrize(
    "problem", [RuntimeError("shapes differ"), ConnectionError("Caught ConnectionError in DataLoader worker")]
)
def test_what_is_no_death_is_raised(folder, monkeypatch, problem):
    def fake(*_, **__):
        raise problem
        yield

    monkeypatch.setattr(faults, "DataLoader", fake)
    with pytest.raises(type(problem), match=str(problem)):
        images(loader(folder, workers=2).batches(), 1)


@pytest.mark.slow
def test_processes_that_are_killed(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(Folder, "__getitem__", Folder.__getitem__)  # and so as it was in the end
    Deadly(tmp_path)()
    said: list[str] = []
    found = images(loader(folder, workers=2, skipped=said.append).batches(1), 6)
    assert torch.equal(found, images(loader(folder).batches(1), 6))
    assert len(said) in (1, 2), "one may take the other with it"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "7"]
    assert not callable(signal.getsignal(signal.SIGCHLD)), "nothing raises in the middle of a step"


@pytest.fixture(scope="module")
def server() -> forked.Server:
    return forked.Server()


@pytest.mark.slow
def test_a_killed_process_costs_neither_training_nor_encoding_a_bit(server, home, tmp_path):
    smalti.save(generator(), tmp_path / "model", {"size": (8, 8)})
    of_command = {
        "train": ["train", home / "recipe.yaml", "--data", home / "images", "workers=2", "--out"],
        "encode": ["encode", tmp_path / "model", home / "images", "--size", 16, "--workers", 2],
    }
    for name, words in of_command.items():
        outs = {}
        for how in ("whole", "killed"):
            place = tmp_path / name / how
            (place / "marks").mkdir(parents=True)
            out, told = place / "run", place / "told.txt"
            prepare = [Deadly(place / "marks")] if how == "killed" else []
            given = [*words, out] if name == "train" else [*words[:3], out, *words[3:], "--batch", 2]
            assert server.run(given, told, prepare=prepare) == [0], told.read_text()
            assert ("died" in told.read_text()) == (how == "killed")
            outs[how] = out
        if name == "encode":
            files = [{path.name: path.read_bytes() for path in out.iterdir()} for out in outs.values()]
            assert files[0] == files[1]
            continue
        records = {how: kills.record(out) for how, out in outs.items()}
        found = kills.differences(records["whole"], records["killed"])
        assert found
        assert all("a process that opens samples died" in line for line in found), "a note each, and no more"
    (tmp_path / "always").mkdir()
    told = tmp_path / "always.txt"
    words = [*of_command["train"], tmp_path / "run"]
    assert server.run(words, told, prepare=[Deadly(tmp_path / "always", always=True), seldom]) == [2]
    assert "smalti: expected processes that open samples and stay alive, got 2 that died" in told.read_text()
    assert "Traceback" not in told.read_text()


def seldom(rank: int) -> None:
    """Twice is too often: each time takes the five seconds after which torch looks for those that died."""
    faults.DEATHS = 1


def trained(home: Path, out: Path) -> Path:
    return smalti.train(home / "recipe.yaml", data=home / "images", out=out)


@pytest.fixture(scope="module")
def whole(home, tmp_path_factory) -> dict:
    return kills.record(trained(home, tmp_path_factory.mktemp("whole") / "run"))


def at_step(monkeypatch, step: int, action) -> None:
    real = TokenizerTask.after_step

    def after_step(task, parts, number):
        if number == step:
            action()
        return real(task, parts, number)

    monkeypatch.setattr(TokenizerTask, "after_step", after_step)


def test_a_folder_that_is_away_for_a_moment_costs_that_moment(home, whole, tmp_path, monkeypatch, capfd):
    """Its files are gone, and an empty folder is in their place, as where a disk is unmounted."""

    def away() -> None:
        (home / "images").rename(home / "elsewhere")
        (home / "images").mkdir()
        threading.Timer(0.5, back).start()

    def back() -> None:
        (home / "images").rmdir()
        (home / "elsewhere").rename(home / "images")

    at_step(monkeypatch, 2, away)
    found = kills.record(trained(home, tmp_path / "run"))
    notes = [f"{home / 'images'} is {what}" for what in ("away; waiting 60 seconds for it", "there again")]
    lines = [json.dumps({"step": 3, "kind": "note", "text": text}) for text in notes]
    assert kills.differences(whole, found) == [f"log: {line}" for line in sorted(lines)]
    err = capfd.readouterr().err
    assert all(text in err for text in notes)
    assert "skipped" not in err


def test_a_folder_that_stays_away_ends_the_run_and_costs_nothing(home, whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(faults, "AWAY", 0.2)
        at_step(patched, 3, lambda: (home / "images").rename(home / "elsewhere"))
        with pytest.raises(UserError, match="images that can be used"):
            trained(home, tmp_path / "run")
    (home / "elsewhere").rename(home / "images")
    smalti.train(out=tmp_path / "run", resume=True)
    found = kills.differences(whole, kills.record(tmp_path / "run"))
    assert len(found) == 1
    assert "is away" in found[0]


@pytest.mark.parametrize("what", ["vanished", "no image any more", "another image"])
def test_a_file_that_changes_in_the_middle(home, tmp_path, monkeypatch, capfd, what):
    shutil.copytree(home / "images", tmp_path / "images")
    paths = [path for path in (tmp_path / "images").iterdir() if path.name != "0.png"]
    actions = {
        "vanished": lambda: [path.unlink() for path in paths[:5]],
        "no image any more": lambda: [path.write_bytes(path.read_bytes()[:-300]) for path in paths[:5]],
        "another image": lambda: [shutil.copy(tmp_path / "images/0.png", path) for path in paths[:5]],
    }
    at_step(monkeypatch, 0, actions[what])
    out = smalti.train(home / "recipe.yaml", data=tmp_path / "images", out=tmp_path / "run")
    steps = [line["step"] for line in log.read(out / "log.jsonl") if line["kind"] == "train"]
    err = capfd.readouterr().err
    assert steps == [1, 2, 3, 4, 5, 6]
    assert ("skipped: expected an image" in err) == (what != "another image")
    assert "Traceback" not in err
