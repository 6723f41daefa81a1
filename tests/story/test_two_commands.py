"""Two commands that would write into one folder: the second is told of the first, and nothing is touched."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import TOKENIZER_TRAINING, generator

import smalti
from smalti import locks
from smalti.errors import UserError

# holds a folder, as does a worker process of its own, which outlives it
HOLDER = """
import os, sys, time
from pathlib import Path
from smalti import locks
with locks.held(Path(sys.argv[1])):
    if not os.fork():  # said by the child, which has let go of the lock by then
        print(os.getpid(), flush=True)
    time.sleep(60)
"""


@pytest.fixture
def commands(home, photos) -> dict[str, tuple]:
    """Words by command, each of which writes into the folder out/one."""
    smalti.save(generator(), home / "model", {"size": (8, 8)})
    (home / "tiny.yaml").write_text(json.dumps({**TOKENIZER_TRAINING, "steps": 1}))  # which is YAML too
    return {
        "train": ("train", "tiny.yaml", "--data", photos, "--out", "out/one"),
        "encode": ("encode", "model", photos, "out/one", "--size", 16),
        "sample": ("sample", "model", "out/one", "--label", "moon"),
        "complete": ("complete", "model", photos / "lying/0.png", "out/one", "--label", "moon"),
        "reconstruct": ("reconstruct", "model", photos / "lying", "out/one"),
        "evaluate": ("evaluate", "model/tokenizer", photos, "--size", "8x8", "--num", 2, "--out", "out/one"),
    }


@pytest.mark.parametrize("name", ["train", "encode", "sample", "complete", "reconstruct", "evaluate"])
def test_the_second_command_is_told_of_the_first(home, commands, smalti_command, monkeypatch, name):
    out = Path("out/one")
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/smalti", "sample", "a model", "out/one"])
    with locks.held(out):
        before = [(path.name, path.read_bytes()) for path in out.iterdir()]
        status, told, err = smalti_command(*commands[name])
        assert (status, told) == (2, "")
        assert err.startswith(
            f"smalti: expected out/one for this command alone, got process {os.getpid()} on "
        )
        assert "(smalti sample 'a model' out/one, since 20" in err
        assert err.endswith("which writes there; wait until it ends, end it, or choose another folder\n")
        assert [(path.name, path.read_bytes()) for path in out.iterdir()] == before
    assert not Path("out").exists(), "it was left empty"


@pytest.mark.parametrize("name", ["train", "encode", "sample", "reconstruct", "evaluate"])
def test_a_lock_that_a_kill_left_keeps_nobody_out(home, commands, smalti_command, name):
    out = Path("out/one")
    out.mkdir(parents=True)
    (out / locks.NAME).write_text('{"process": 4194305}')
    status, _, err = smalti_command(*commands[name])
    assert status == 0, err
    left = {path.name for path in out.iterdir()}
    assert left
    assert locks.NAME not in left
    status, _, err = smalti_command(*commands[name])
    assert (status, "out/one, which" in err or "got out/one" in err) == (2, True), err


def test_a_command_that_comes_to_nothing_leaves_no_folder(home, commands, smalti_command):
    assert smalti_command(*commands["train"], "stepps=3")[0] == 2
    assert smalti_command("sample", "no such model", "out/one")[0] == 2
    assert not Path("out").exists()
    Path("out").mkdir()
    assert smalti_command("sample", "no such model", "out/one/two")[0] == 2
    assert list(Path("out").iterdir()) == []


@pytest.mark.parametrize("name", ["train", "encode", "sample"])
def test_a_place_where_no_folder_can_be_is_refused(home, commands, smalti_command, name):
    Path("out").write_text("a file")
    status, told, err = smalti_command(*commands[name])
    assert (status, told) == (2, "")
    assert "expected a folder that can be written into, got out/one (Not a directory); choose another" in err
    assert Path("out").read_text() == "a file"


def test_a_folder_is_free_as_soon_as_its_holder_is_killed(home):
    """Though a process that the holder forked, as loaders do, lives on with all that it had open."""
    words = [sys.executable, "-c", HOLDER, "held"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as holder:
        worker = int(holder.stdout.readline())
        try:
            with pytest.raises(UserError, match=f"got process {holder.pid} on "), locks.held(Path("held")):
                pass
            holder.kill()
            holder.wait()
            with locks.held(Path("held")):
                os.kill(worker, 0)
        finally:
            os.kill(worker, signal.SIGKILL)


def test_one_process_of_several_holds_the_folder(home, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with locks.held(Path("out")), locks.held(Path("out")):
        assert not Path("out").exists()
