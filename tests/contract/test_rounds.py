"""Commands that several processes share write what one process writes, and go on after a kill."""

import contextlib
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import generator

import smalti
from smalti import rounds
from smalti.cli.main import main
from smalti.data import shards
from smalti.errors import UserError
from smalti.tokenizer import Tokenizer

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # of forks

ENCODE = ("--size", "8x12", "--crops", "2", "--batch", "5", "--val-share", "0.2", "--seed", "3")
DRAW = ("--label", "moon", "--label", "brick", "--num", "4", "--micro-batch", "3", "--seed", "5")
COMMANDS = {  # name -> words; OUT stands for where it writes
    "encode": ("encode", "model", "images", "OUT", *ENCODE),
    "sizes": ("encode", "model", "images", "OUT", *ENCODE[2:], "--size", "12x8,8x12"),
    "sample": ("sample", "model", "OUT", *DRAW),
    "best": ("sample", "model", "OUT", *DRAW[:6], "--reject", "2", "--judge", "model"),
    "complete": ("complete", "model", "images/b/1.png", "OUT", *DRAW, "--size", "10x8"),
    "reconstruct": ("reconstruct", "model", "images", "OUT"),
}
MISTAKES = {  # words, and what is said of them
    "no folder": (("encode", "model", "nowhere", "OUT", *ENCODE), "nowhere"),
    "taken": (("sample", "model", "images", *DRAW), "a new or empty folder"),
    "no model": (("reconstruct", "nothing", "images", "OUT"), "nothing"),
    "unreadable": (("encode", "model", "broken", "OUT", *ENCODE), "broken/a/3.png"),
    "unreadable image": (("reconstruct", "model", "broken", "OUT"), "broken/a/3.png"),
    "another seed": (("sample", "model", "kept", *DRAW[:-1], "6", "--resume"), "seed=6"),
}


def called(words, folder: Path, out: str, by: str = "") -> int:
    """The status of a command, in a folder. What it says is in files: `out`, `by` and .out or .err."""
    os.chdir(folder)
    sys.argv = ["smalti", *(out if word == "OUT" else word for word in words)]
    with contextlib.ExitStack() as stack:
        for kind, way in (("out", contextlib.redirect_stdout), ("err", contextlib.redirect_stderr)):
            stack.enter_context(way(stack.enter_context(Path(f"{out}{by}.{kind}").open("w"))))
        try:
            main()
        except SystemExit as end:
            return end.code or 0
    return 0


def several(work, *given, count: int = 2, seconds: float = 120) -> list[int]:
    """Exit codes of processes, forked from this one, which do the same work as torchrun's do."""
    fork = multiprocessing.get_context("fork")
    started = [fork.Process(target=work, args=(rank, count, *given), daemon=True) for rank in range(count)]
    for process in started:
        process.start()
    for process in started:
        process.join(seconds)
    stuck = [process for process in started if process.is_alive()]
    for process in stuck:
        process.kill()
    assert not stuck, "it hangs"
    return [process.exitcode for process in started]


def ports(count: int) -> list[int]:
    """Ports that are free."""
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in found]


def joining(rank: int, count: int, port: int) -> None:
    """Be one of several processes that meet there."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def one_of_them(rank: int, count: int, folder: Path, free: list[int]) -> None:
    """All commands, one after the other; each writes its status into a file."""
    for port, (name, words) in zip(free, ALL.items(), strict=True):
        joining(rank, count, port)
        status = called(words, folder, f"{name} {count}", " of 1" if rank else "")
        (folder / f"{name} {count} of {rank}.status").write_text(str(status))


ALL = COMMANDS | {name: words for name, (words, _) in MISTAKES.items()}


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A model, oblong images of two classes, the same with one that is none, and what one process writes."""
    folder = tmp_path_factory.mktemp("home")
    smalti.save(generator(), folder / "model", {"size": (8, 8)})
    for root in ("images", "broken"):
        for number in range(12):
            path = folder / root / "ab"[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(number).integers(0, 256, (18, 26, 3), dtype=np.uint8)
            Image.fromarray(pixels if number % 3 else pixels.transpose(1, 0, 2)).save(path)
    (folder / "broken" / "a" / "3.png").write_text("no image")
    before = Path.cwd()
    try:
        with pytest.MonkeyPatch.context() as patched:
            for name, words in COMMANDS.items():
                patched.setattr(sys, "argv", [])
                assert called(words, folder, f"{name} 1") == 0, (folder / f"{name} 1.err").read_text()
            assert called(("sample", "model", "kept", *DRAW), folder, "kept") == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture(scope="module")
def two(home) -> Path:
    """The same place, after two processes have been given all commands."""
    assert several(one_of_them, home, ports(len(ALL))) == [0, 0]
    return home


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")}


@pytest.mark.parametrize("name", COMMANDS)
def test_two_processes_write_the_bytes_that_one_writes(name, two):
    statuses = [(two / f"{name} 2 of {rank}.status").read_text() for rank in range(2)]
    assert statuses == ["0", "0"], (two / f"{name} 2.err").read_text()
    assert files(two / f"{name} 2") == files(two / f"{name} 1")
    assert len(files(two / f"{name} 2")) >= 3
    told = {count: (two / f"{name} {count}.out").read_text() for count in (1, 2)}
    assert told[2].replace(f"{name} 2", f"{name} 1") == told[1]
    assert (two / f"{name} 2 of 1.out").read_text() == "", "process 0 alone says it"


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_ends_all_with_one_line(name, two):
    statuses = [(two / f"{name} 2 of {rank}.status").read_text() for rank in range(2)]
    assert statuses == ["2", "2"]
    lines = [line for line in (two / f"{name} 2.err").read_text().splitlines() if "expected" in line]
    assert len(lines) == 1
    assert lines[0].startswith("smalti: expected ")
    assert MISTAKES[name][1] in lines[0]
    assert (two / f"{name} 2 of 1.err").read_text() == ""
    assert not list(two.glob(f"{name} 2/*.safetensors"))


def test_images_of_another_command_stay(two):
    """A seed that is not theirs is refused by all before one of them draws."""
    assert files(two / "kept") == files(two / "sample 1")


def resumed(rank: int, count: int, folder: Path, port: int, out: str) -> None:
    """Go on with an encoding."""
    joining(rank, count, port)
    shards.ROWS = 7
    sys.exit(called((*COMMANDS["encode"], "--resume"), folder, out, " of 1" if rank else ""))


def killed(rank: int, count: int, folder: Path, port: int, whom: str, call: int) -> None:
    """Encode, and end without a word inside the pass of that number: one process, the other, or both."""
    joining(rank, count, port)
    shards.ROWS, shards.KEPT_EVERY = 7, -1.0  # the rows of a pass are kept at once
    real, calls = Tokenizer.encode, []

    def encode(*given, **how):
        calls.append(1)
        if len(calls) == call and str(rank) in whom:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*given, **how)

    Tokenizer.encode = encode
    sys.exit(called(COMMANDS["encode"], folder, f"killed {whom} {call}", " of 1" if rank else ""))


@pytest.mark.parametrize(
    ("whom", "call"),
    [
        ("1", 2),
        *[pytest.param(whom, call, marks=pytest.mark.slow) for whom in ("0", "1", "01") for call in (1, 3)],
    ],
)
def test_what_a_kill_left_is_gone_on_with_by_any_number_of_processes(home, monkeypatch, whom, call):
    codes = several(killed, home, *ports(1), whom, call)
    assert [code for rank, code in enumerate(codes) if str(rank) in whom] == [-signal.SIGKILL] * len(whom)
    out = home / f"killed {whom} {call}"
    if whom == "1":
        assert codes[0] == 2
        said = Path(f"{out}.err").read_text().splitlines()[-1]
        assert said.startswith("smalti: expected an answer of every process, got ")
    assert 'complete": false' in (out / "index.json").read_text()
    monkeypatch.setattr(shards, "ROWS", 7)
    monkeypatch.chdir(home)
    monkeypatch.setattr(sys, "argv", [])
    encoded, real = [], Tokenizer.encode
    monkeypatch.setattr(Tokenizer, "encode", lambda *given, **how: encoded.append(1) or real(*given, **how))
    words = COMMANDS["encode"]
    copy = shutil.copytree(out, home / f"{out.name} by three")
    assert called((*words, "--resume"), home, out.name) == 0
    by_one = len(encoded)
    assert called(words, home, f"{out.name} whole") == 0
    whole = files(home / f"{out.name} whole")
    assert files(out) == whole
    assert len(encoded) == 2 * by_one + 2 * (call - 1), "rounds of two passes before the kill are kept"
    if call == 3:
        assert several(resumed, home, *ports(1), copy.name, count=3) == [0] * 3
        assert files(copy) == whole


def stopped(rank: int, count: int, folder: Path, port: int, number: int) -> None:
    """Encode; process 1 alone gets a signal."""
    joining(rank, count, port)
    real, calls = Tokenizer.encode, []

    def encode(*given, **how):
        calls.append(1)
        if len(calls) == 2 and rank == 1:
            os.kill(os.getpid(), number)
        return real(*given, **how)

    Tokenizer.encode = encode
    sys.exit(called(COMMANDS["encode"], folder, f"stopped {int(number)}", " of 1" if rank else ""))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_one_process_stops_all_and_nothing_is_lost(home, monkeypatch, number):
    status = {signal.SIGTERM: 128 + signal.SIGTERM, signal.SIGINT: 130}[number]
    assert several(stopped, home, *ports(1), number) == [status] * 2
    out = f"stopped {int(number)}"
    assert "stopped after 20 of " in (home / f"{out}.err").read_text()
    monkeypatch.chdir(home)
    monkeypatch.setattr(sys, "argv", [])
    assert called((*COMMANDS["encode"], "--resume"), home, out) == 0
    assert files(home / out) == files(home / "encode 1")


@pytest.mark.slow
def test_torchrun_starts_it(home):
    """As a person does: three processes, one line of ours for a mistake, and theirs."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=3", "-m", "--"]
    for words, out in ((COMMANDS["encode"], "by torchrun"), (MISTAKES["unreadable"][0], "mistaken")):
        words = [out if word == "OUT" else word for word in words]
        done = subprocess.run(
            [*launch, "smalti", *words], cwd=home, capture_output=True, text=True, timeout=200
        )
        if out == "by torchrun":
            assert done.returncode == 0, done.stderr
            assert files(home / out) == files(home / "encode 1")
            assert done.stdout == "by torchrun\n"
        else:
            assert done.returncode != 0
            assert sum(line.startswith("smalti: expected") for line in done.stderr.splitlines()) == 1


def test_one_process_gives_its_items_and_raises_its_mistakes():
    def made():
        yield 1
        yield 2
        raise UserError("more", "none", "stop")

    found = []
    with pytest.raises(UserError, match="expected more"):
        found += [found.append(one) for one in rounds.in_order(made())]
    assert found == [1, 2]
    with pytest.raises(UserError, match="a device that torch can use"), rounds.together("nothing"):
        raise AssertionError("it cannot be used")
    with rounds.together("cpu") as device, rounds.agreed():
        assert device == torch.device("cpu")
        assert not torch.distributed.is_initialized()
