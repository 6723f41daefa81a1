"""Commands that work for hours: what is done is on disk, can be interrupted, and goes on."""

import os
import signal
from itertools import chain
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tiny import generator

import smalti
from smalti import imaging, library
from smalti import pipeline as pipeline_module
from smalti.data import shards
from smalti.tokenizer import Tokenizer


@pytest.fixture
def model(home) -> Path:
    smalti.save(generator(), home / "model", {"size": (8, 8)})
    return home / "model"


def interrupt(monkeypatch, owner, name: str, call: int, action) -> None:
    """The call of that number (from 1) does something else before its work."""
    real, calls = getattr(owner, name), []

    def watched(*args, **options):
        calls.append(1)
        if len(calls) == call:
            action()
        return real(*args, **options)

    monkeypatch.setattr(owner, name, watched)


def ctrl_c() -> None:
    raise KeyboardInterrupt


def pixels(folder: Path) -> list[bytes]:
    return [imaging.open_rgb(path).numpy().tobytes() for path in imaging.find_images(folder)]


@pytest.mark.parametrize(
    "command", [("sample",), ("complete", "photos/lying/0.png")], ids=lambda words: words[0]
)
def test_images_are_written_as_they_are_drawn(home, model, photos, smalti_command, monkeypatch, command):
    verb, *given = command[0], *command[1:]
    options = ("--label", "moon", "--micro-batch", 2)
    status, told, err = smalti_command(verb, model, *given, "whole", *options, "--num", 7, "--seed", 3)
    assert (status, err) == (0, "")
    assert told.split() == [f"whole/{index:05}.png" for index in range(7)]
    assert [imaging.read_metadata(path)["seed"] for path in told.split()] == list(range(3, 10))

    with monkeypatch.context() as patched:
        interrupt(patched, pipeline_module, "passes", 3, ctrl_c)
        status, told, err = smalti_command(verb, model, *given, "part", *options, "--num", 7, "--seed", 3)
    assert status == 130
    assert told.split() == [f"part/{index:05}.png" for index in range(4)]
    assert "4 of 7 images are in part" in err
    assert "the same command with --resume draws the others" in err
    assert "Traceback" not in err
    assert sorted(path.name for path in Path("part").iterdir()) == [f"{index:05}.png" for index in range(4)]

    Path("part/.00004.png.999999999").touch()  # of a process that was killed inside an image
    asked = (*options, "--num", 7, "--seed", 3, "--resume")
    status, told, err = smalti_command(verb, model, *given, "part", *asked)
    assert (status, told.split()) == (0, [f"part/{index:05}.png" for index in range(4, 7)])
    assert "4 of 7 images are there" in err
    assert encoded(Path("part")) == encoded(Path("whole"))

    Path("part/00002.png").unlink()  # one of a batch: the batch is drawn as before, the other one stays
    before = Path("part/00003.png").stat().st_mtime_ns
    status, told, _ = smalti_command(verb, model, *given, "part", *asked)
    assert (status, told.split()) == (0, ["part/00002.png"])
    assert Path("part/00003.png").stat().st_mtime_ns == before
    assert encoded(Path("part")) == encoded(Path("whole"))


def test_images_of_another_command_are_not_gone_on_with(home, model, photos, smalti_command):
    asked = ("sample", model, "out", "--num", 2, "--label", 0)
    assert smalti_command(*asked)[0] == 0
    before = encoded(Path("out"))
    for more, said in (
        (("--seed", 1), "got seed=1, and out/00000.png of seed=0"),
        (("--top-k", 3), "got top_k=3"),
        (("--size", "8x10"), "got width=10"),
        (("--reject", 2, "--judge", model), "got rejection="),
    ):
        status, told, err = smalti_command(*asked, *more, "--resume")
        assert (status, told, said in err) == (2, "", True), err
        assert err.count("\n") == 1
    assert encoded(Path("out")) == before
    rebuild = ("reconstruct", model, photos / "lying", "rebuilt")
    assert smalti_command(*rebuild)[0] == 0
    Path("rebuilt/00003-3.png").unlink()
    before = encoded(Path("rebuilt"))
    status, _, err = smalti_command("reconstruct", model, photos, "rebuilt", "--resume")
    assert (status, "got source=lying/0.png, and rebuilt/00000-0.png of source=0.png" in err) == (2, True)
    assert encoded(Path("rebuilt")) == before
    status, told, err = smalti_command(*rebuild, "--resume")
    assert (status, told.split()[0], "7 of 8 images are there" in err) == (0, "rebuilt/00003-3.png", True)
    assert encoded(Path("rebuilt")).items() > before.items()


def test_kept_images_are_gone_on_with_lot_by_lot(home, model, smalti_command):
    """Rejection draws a lot of which an image is missing again, and no other."""
    asked = ("sample", model, "out", "--num", 2, "--label", 0, "--label", 1)
    asked += ("--reject", 2, "--judge", model)
    assert smalti_command(*asked)[0] == 0
    before = encoded(Path("out"))
    Path("out/00002.png").unlink()
    status, told, _ = smalti_command(*asked, "--resume")
    assert (status, told.split()) == (0, ["out/00002.png"])
    assert encoded(Path("out")) == before


def test_a_folder_with_images_is_refused_before_work(home, model, smalti_command, monkeypatch):
    smalti_command("sample", model, "out", "--label", 0)
    before = Path("out/00000.png").read_bytes()
    monkeypatch.setattr(library, "load", None)  # what would be called first
    status, _, err = smalti_command("sample", model, "out", "--label", 0, "--seed", 9)
    assert (status, "new or empty folder" in err) == (2, True)
    assert Path("out/00000.png").read_bytes() == before


@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_bar_is_for_terminals(home, model, photos, smalti_command, monkeypatch, is_terminal):
    monkeypatch.setattr("_pytest.capture.CaptureIO.isatty", lambda _: is_terminal)
    for words, unit in (
        (("sample", model, "drawn", "--label", 0, "--num", 2), "cells/s"),
        (("reconstruct", model, photos / "lying", "rebuilt"), "image/s"),
        (("encode", model, photos, "tokens"), "crop/s"),
    ):
        status, told, err = smalti_command(*words)
        assert status == 0
        assert (unit in err) == is_terminal, (words, err)
        assert unit not in told


def test_reconstructions_say_what_made_them(home, model, photos, smalti_command, monkeypatch):
    with monkeypatch.context() as patched:
        interrupt(patched, imaging, "open_rgb", 3, ctrl_c)
        status, _, err = smalti_command("reconstruct", model, photos, "part")
    assert (status, "Traceback" in err) == (130, False)
    assert sorted(path.name for path in Path("part").iterdir()) == ["00000-0.png", "00001-1.png"]
    made_by = library.read_config(model / "tokenizer")["fingerprint"]
    assert imaging.read_metadata("part/00001-1.png") == {
        "model": made_by,
        "source": "lying/1.png",
        "height": 40,
        "width": 40,
    }
    smalti_command("reconstruct", model, photos / "lying" / "1.png", "one")
    assert imaging.read_metadata("one/00000-1.png")["source"] == "1.png"
    status, told, _ = smalti_command("info", model / "tokenizer")
    assert made_by in told


ENCODE = ("--size", 16, "--crops", 4, "--batch", 8, "--seed", 5)


def encoded(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(shards, "ROWS", 20)  # so that some are whole and one is begun, wherever it ends


@pytest.fixture(scope="module")
def at_one_go() -> dict[str, bytes]:
    """Filled by the first that needs it: it is the same for every test."""
    return {}


@pytest.fixture
def whole(home, model, photos, smalti_command, small_shards, at_one_go) -> dict[str, bytes]:
    """What encoding 15 images four times, and one once, gives at one go: 8 batches, then one image."""
    if at_one_go:
        return at_one_go
    status, _, err = smalti_command("encode", model, photos, "whole", *ENCODE)
    assert status == 0, err
    rows = [len(load_file(path)["codes"]) for path in sorted(Path("whole").glob("*.safetensors"))]
    assert rows == [24, 24, 12, 1]
    at_one_go.update(encoded(Path("whole")))
    return at_one_go


@pytest.mark.parametrize("call", [1, 2, 4, 6, 8, 9])
@pytest.mark.parametrize("way", ["signal", "ctrl_c", "error"])
def test_encoding_goes_on_where_it_was_interrupted(
    home, model, photos, smalti_command, monkeypatch, whole, call, way
):
    words = ("encode", model, photos, "tokens", *ENCODE)
    actions = {
        "signal": lambda: os.kill(os.getpid(), signal.SIGTERM),
        "ctrl_c": lambda: os.kill(os.getpid(), signal.SIGINT),
        "error": lambda: (_ for _ in ()).throw(ArithmeticError),
    }
    with monkeypatch.context() as patched:
        interrupt(patched, Tokenizer, "encode", call, actions[way])
        if way == "error":
            with pytest.raises(ArithmeticError):
                smalti_command(*words)
        else:
            status, told, err = smalti_command(*words)
            assert status == {"signal": 128 + signal.SIGTERM, "ctrl_c": 130}[way]
            rows = min(8 * call, 60) + (call == 9)
            assert f"stopped after {rows} of 61 crops; go on with --resume" in err
            assert told == ""
    status, _, err = smalti_command(*words)
    assert (status, "--resume" in err) == (2, True)
    status, _, err = smalti_command("train", "prior_300", "--data", "tokens", f"tokenizer={model}", "size=16")
    assert (status, "encode with --resume" in err) == (2, True)
    done = []
    interrupt(monkeypatch, Tokenizer, "encode", 1, lambda: None)
    real = Tokenizer.encode
    monkeypatch.setattr(Tokenizer, "encode", lambda *args, **how: done.append(1) or real(*args, **how))
    status, told, err = smalti_command(*words, "--resume")
    assert (status, told) == (0, "tokens\n"), err
    assert len(done) == 9 - call + (way == "error"), "work was done again, or left out"
    assert encoded(Path("tokens")) == whole


def test_encoding_goes_on_after_a_kill(home, model, photos, smalti_command, monkeypatch, whole):
    """Nothing can be done at the end: what is there is what was written on the way."""
    words = ("encode", model, photos, "tokens", *ENCODE)
    for kept_every, lost in ((1e9, 2), (-1.0, 0)):
        with monkeypatch.context() as patched:
            patched.setattr(shards, "KEPT_EVERY", kept_every)
            patched.setattr(shards.ShardWriter, "__exit__", lambda *_: None)
            interrupt(patched, Tokenizer, "encode", 6, lambda: (_ for _ in ()).throw(ArithmeticError))
            with pytest.raises(ArithmeticError):
                smalti_command(*words)
        Path("tokens/.train-00001.partial.new").write_bytes(b"half a file")
        again = []
        with monkeypatch.context() as patched:
            real = Tokenizer.encode
            counted = lambda *args, **how: again.append(1) or real(*args, **how)  # noqa: B023, E731
            patched.setattr(Tokenizer, "encode", counted)
            assert smalti_command(*words, "--resume")[0] == 0
        assert len(again) == 4 + lost, "4 and 5 fill no shard, 6 to 9 were not done"
        assert encoded(Path("tokens")) == whole
        Path("tokens").rename(f"after-{lost}")


def test_what_a_resumed_encoding_refuses(home, model, photos, smalti_command, monkeypatch, small_shards):
    words = ("encode", model, photos, "tokens", *ENCODE)
    status, _, err = smalti_command(*words, "--resume")
    assert (status, "leave out --resume" in err) == (2, True)
    with monkeypatch.context() as patched:
        interrupt(patched, Tokenizer, "encode", 4, ctrl_c)
        smalti_command(*words)
    before = encoded(Path("tokens"))
    same, other = generator("modern"), generator()
    same.tokenizer.load_state_dict(other.tokenizer.state_dict())
    smalti.save(same, "prior")  # another prior, the same tokenizer
    other.tokenizer.encoder.conv_in.weight.data[0, 0, 0, 0] += 1e-3
    smalti.save(other, "other")

    def refuse(hint: str, *changed: object) -> None:
        status, _, err = smalti_command("encode", *changed, "--resume")
        assert (status, hint in err, len(err.splitlines())) == (2, True, 1), err
        assert encoded(Path("tokens")) == before

    refuse("expected tokenizer ", "other", photos, "tokens", *ENCODE)
    for hint, *change in (
        ("expected size [16, 16], with which tokens was begun, got [8, 8]", "--size", 8),
        ("expected crops 4, ", "--crops", 3),
        ("expected batch 8, ", "--batch", 4),
        ("expected seed 5, ", "--seed", 6),
        ("expected crop ", "--scale", 1, 1.5),
    ):
        others = [pair for pair in zip(ENCODE[::2], ENCODE[1::2], strict=True) if pair[0] != change[0]]
        refuse(hint, model, photos, "tokens", *chain(*others), *change)
    (photos / "standing" / "0.png").rename(photos / "standing" / "zero.png")
    refuse("expected images 16 files ", model, photos, "tokens", *ENCODE)
    (photos / "standing" / "zero.png").rename(photos / "standing" / "0.png")
    moved = photos.rename(home / "moved")
    status, _, err = smalti_command("encode", "prior", moved, "tokens", *ENCODE, "--workers", 1, "--resume")
    assert status == 0, err
    finished = encoded(Path("tokens"))
    assert smalti_command("encode", "prior", moved, "tokens", *ENCODE, "--resume")[:2] == (0, "tokens\n")
    assert encoded(Path("tokens")) == finished
