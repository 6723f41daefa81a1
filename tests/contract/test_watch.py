"""A run that watches itself: what it waits for, by name, and steps that take far too long."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from tiny import TOKENIZER_TRAINING
from tqdm import tqdm

import smalti
from smalti.training import log, pace, recorder, watch
from smalti.training.pace import WAITS, Pace
from smalti.training.recorder import Recorder
from smalti.training.watch import Slow, Watch


@pytest.fixture
def clock(monkeypatch) -> SimpleNamespace:
    """Seconds that pass as a test says."""
    found = SimpleNamespace(now=0.0)
    for module in (pace, watch, recorder):
        fake = SimpleNamespace(perf_counter=lambda: found.now, monotonic=lambda: found.now)
        fake.process_time = lambda: found.now / 4
        monkeypatch.setattr(module, "time", fake)
    return found


@pytest.fixture
def machine(monkeypatch) -> SimpleNamespace:
    """What the system says of this process, as a test says."""
    found = SimpleNamespace(use=watch._Use(0, 0, 0.0), load=0.5)
    monkeypatch.setattr(watch, "_use", lambda: found.use)
    monkeypatch.setattr(watch, "_load", lambda: found.load)
    monkeypatch.setattr(watch.os, "cpu_count", lambda: 2)
    return found


def test_shares_of_time_are_named(clock):
    timed = Pace(4)
    for what, seconds in [("data", 1.0), (None, 5.0), ("data", 0.5), (None, 3.5), ("validation", 6.0)]:
        with timed.working() if what is None else timed.waiting(what):
            clock.now += seconds
    with timed.waiting("checkpoint"):
        clock.now += 4.0
    shares = {"data": 0.075, "log": 0.0, "checkpoint": 0.2, "sheet": 0.0, "validation": 0.3}
    found = timed.take()
    assert found == {"images_per_second": 0.8, **{f"{what}_wait": share for what, share in shares.items()}}
    assert set(timed.take().values()) == {0.0}


def test_a_step_of_five_times_the_mean_is_slow(machine):
    watched = Watch()
    for number in range(watch.SETTLED):  # the first steps are not judged
        assert watched.step(40.0 if number == 0 else 0.2, 0.0) is None
    watched = Watch()
    assert [watched.step(0.2, 0.0) for _ in range(40)] == [None] * 40
    assert watched.step(0.9, 0.0) is None, "4.5 times"
    machine.use = watch._Use(0, 0, 0.25)
    slow = watched.step(2.0, 0.0)
    assert slow is not None
    said = "took 2 s, 9 times the mean of those before, processors worked 0.25 s for it, "
    assert slow.finding == f"{said}the load of the machine was 0.5 on 2 cores"
    assert "see whether it comes back" in slow.remedy
    quick = Watch()
    assert [quick.step(0.001, 0.0) for _ in range(40)] == [None] * 40
    assert quick.step(0.4, 0.0) is None, "nobody minds"


@pytest.mark.parametrize(
    ("faults", "preempted", "load", "waited", "seen", "remedy"),
    [
        (812, 0, 0.5, 0.0, "812 pages were read from a disk", "free memory"),
        (0, 0, 0.5, 1.9, "1.9 s of them it waited for data", "more workers"),
        (0, 900, 7.5, 0.1, "others took its place 900 times", "end what else runs"),
    ],
)
def test_what_was_seen_is_said(machine, faults, preempted, load, waited, seen, remedy):
    watched = Watch()
    for _ in range(40):
        watched.step(0.2, 0.01)
    machine.use, machine.load = watch._Use(99, 99, 9.0), load
    watched.forget()  # of validation
    machine.use = watch._Use(99 + faults, 99 + preempted, 9.5)
    slow = watched.step(2.0, waited)
    assert seen in slow.finding
    assert "processors worked 0.5 s for it" in slow.finding
    assert slow.remedy.startswith(remedy)


def test_the_pace_counts_a_steps_wait_and_nothing_else(clock, machine):
    timed = Pace(4)
    for _ in range(40):
        with timed.waiting():
            clock.now += 0.1
        with timed.working():
            clock.now += 0.1
        assert timed.slow is None
        with timed.waiting("validation"):
            clock.now += 100.0
    with timed.waiting():
        clock.now += 3.0
    with timed.working():
        clock.now += 0.1
    assert timed.slow is not None
    assert "took 3.1 s, 16 times" in timed.slow.finding
    assert "3 s of them it waited for data" in timed.slow.finding


def test_it_is_said_seldom_and_written_always(clock, tmp_path, capfd):
    journal = log.Log(tmp_path / "log.jsonl")
    with tqdm(disable=True) as bar:
        told = Recorder(journal, bar)
        for step, now in enumerate((5.0, 100.0, 500.0, 700.0)):
            clock.now = now
            told.slow(step, Slow(f"took {step} s", "wait"))
            told.slow(step, None)
    lines = [line for line in log.read(tmp_path / "log.jsonl") if line["kind"] == "alarm"]
    assert [line["step"] for line in lines] == [0, 1, 2, 3]
    assert lines[1] == {
        "step": 1,
        "kind": "alarm",
        "name": "slow_step",
        "finding": "took 1 s",
        "remedy": "wait",
    }
    assert [line for line in capfd.readouterr().err.splitlines() if "Try" in line] == [
        "step 0 took 0 s. Try: wait",
        "step 3 took 3 s. Try: wait",
    ]


def test_a_training_writes_both(photos, tmp_path, monkeypatch):
    class Nervous(Watch):
        steps = 0

        def step(self, seconds: float, waited: float) -> Slow | None:
            self.steps += 1
            assert 0.0 < waited < seconds
            return Slow("took long", "wait") if self.steps == 3 else None

    monkeypatch.setattr(pace, "Watch", Nervous)
    recipe: Path = tmp_path / "tiny.yaml"
    recipe.write_text(yaml.safe_dump({**TOKENIZER_TRAINING, "network": {**TOKENIZER_TRAINING["network"]}}))
    run = smalti.train(recipe, data=photos, out=tmp_path / "run", steps=4, validate_every=2)
    lines = log.read(run / "log.jsonl")
    assert [line["step"] for line in lines if line["kind"] == "alarm"] == [3]
    shares = [[line[f"{what}_wait"] for what in WAITS] for line in lines if line["kind"] == "train"]
    assert len(shares) == 4
    assert all(0.0 <= share < 1.0 for line in shares for share in line)
    assert [line[4] > 0.0 for line in shares] == [False, False, True, False], "after the line of step 2"
