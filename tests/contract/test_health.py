"""A run says what goes wrong, once, with something to do about it; and its log survives."""

import os
import signal

import pytest
import torch
from tqdm import tqdm

from smalti.quantizers.usage import perplexity, usage
from smalti.training import health, log
from smalti.training.interrupts import Interrupts, stop
from smalti.training.log import Log
from smalti.training.recorder import Recorder

GOOD = {
    "skipped": 0,
    "codebook_usage": 0.9,
    "codebook_perplexity": 500.0,
    "codebook_size": 1024,
    "recent_codes": 65536,
    "loss/discriminator": 0.8,
    "logits_real": 0.4,
    "logits_fake": -0.3,
}


def steps(lines, every=100):
    """The lines, one every so many steps."""
    return [{"step": every * number, **line} for number, line in enumerate(lines, start=1)]


BAD = {
    "non_finite": [GOOD, {**GOOD, "skipped": 3}],
    "codebook_collapse": [{**GOOD, "codebook_usage": 0.03}] * 3,
    "discriminator_saturated": [{**GOOD, "loss/discriminator": 0.001}] * 10,
}
FINE = {
    "nothing": [GOOD] * 10,
    "a few skipped steps": [GOOD, {**GOOD, "skipped": 2}],
    "skipped long ago": [{**GOOD, "skipped": 50}] * 3,
    "a codebook that recovers": [{**GOOD, "codebook_usage": 0.01}] * 2 + [GOOD],
    "a discriminator that wins for a moment": [{**GOOD, "loss/discriminator": 0.001}] * 9,
    "no discriminator and no codebook": [{"loss/prior": 3.0, "codebook_usage": 0.01}] * 10,
}


@pytest.mark.parametrize("name", BAD)
def test_each_alarm_is_raised_alone_and_with_a_remedy(name):
    (alarm,) = health.examine(steps(BAD[name]))
    assert alarm.name == name
    assert alarm.finding
    assert alarm.remedy


def test_uneven_use_and_far_apart_scores_are_alarms_too():
    uneven = [{**GOOD, "codebook_perplexity": 15.0}] * 3
    far = [{**GOOD, "logits_real": 5.0, "logits_fake": -5.0}] * 10
    assert [alarm.name for alarm in health.examine(steps(uneven))] == ["codebook_collapse"]
    assert [alarm.name for alarm in health.examine(steps(far))] == ["discriminator_saturated"]


POOR = {"codebook_size": 256, "codebook_usage": 0.18, "codebook_perplexity": 22.0, "recent_codes": 65536}


@pytest.mark.parametrize("every", [1, 20, 50, 500])
def test_a_codebook_used_badly_for_long_is_told_however_often_lines_are_written(every):
    count = max(3, 200 // every + 1)
    (alarm,) = health.examine(steps([POOR] * count, every))
    assert "18.0 %" in alarm.finding
    assert "22.0 of 256" in alarm.finding
    assert "revive_below" in alarm.remedy
    assert health.examine(steps([POOR] * (count - 1), every)) == [], "too early to say"


@pytest.mark.parametrize("codes", [16, 64, 256])
def test_few_recent_codes_cannot_use_many_entries(codes):
    """What so many codes show of a codebook of 4,096 that is used evenly is no collapse."""
    drawn = torch.randint(4096, (codes,), generator=torch.Generator().manual_seed(0))
    sound = {"codebook_usage": usage(drawn, 4096), "codebook_perplexity": perplexity(drawn, 4096)}
    line = {**sound, "codebook_size": 4096, "recent_codes": codes}
    assert line["codebook_usage"] < 0.07
    assert health.examine(steps([line] * 5)) == []
    (alarm,) = health.examine(steps([{**line, "codebook_perplexity": codes / 20}] * 5))
    assert alarm.name == "codebook_collapse"


def test_a_codebook_that_gets_better_is_left_alone():
    rising = [{**POOR, "codebook_perplexity": 10.0 * 1.15**number} for number in range(5)]
    assert health.examine(steps(rising)) == []
    assert health.examine(steps(rising[::-1]))


@pytest.mark.parametrize("name", FINE)
def test_no_alarm_without_a_reason(name):
    assert health.examine(steps(FINE[name])) == []


def test_an_alarm_is_said_once_and_again_after_it_was_gone(tmp_path, capsys):
    journal = Log(tmp_path / "log.jsonl")
    with tqdm(total=10, disable=True) as bar:
        recorder = Recorder(journal, bar)
        for step, skipped in enumerate([0, 5, 10, 10, 15], start=1):
            recorder.line(step, {"skipped": skipped})
    journal.close()
    alarms = [line for line in log.read(tmp_path / "log.jsonl") if line["kind"] == "alarm"]
    assert [line["step"] for line in alarms] == [2, 5]
    assert all(line["remedy"] for line in alarms)
    said = capsys.readouterr()
    assert (said.out, said.err.count("not finite")) == ("", 2)


def test_a_recorder_remembers_long_enough_with_a_line_a_step(tmp_path):
    journal = Log(tmp_path / "log.jsonl")
    with tqdm(total=300, disable=True) as bar:
        recorder = Recorder(journal, bar)
        for step in range(1, 301):
            recorder.line(step, POOR)
    journal.close()
    alarms = [line for line in log.read(tmp_path / "log.jsonl") if line["kind"] == "alarm"]
    assert [(line["step"], line["name"]) for line in alarms] == [(201, "codebook_collapse")]


def test_a_line_holds_means_over_the_steps_that_have_the_number(tmp_path):
    journal = Log(tmp_path / "log.jsonl")
    with tqdm(total=10, disable=True) as bar:
        recorder = Recorder(journal, bar)
        recorder.collect({"loss/one": torch.tensor(1.0)})
        recorder.collect({"loss/one": torch.tensor(2.0), "late": torch.tensor(7.0)})
        recorder.line(2, {"rate": 0.5})
        recorder.collect({"loss/one": torch.tensor(5.0)})
        recorder.line(3, {})
        recorder.line(4, {})
    journal.close()
    lines = [line for line in log.read(tmp_path / "log.jsonl") if line["kind"] == "train"]
    assert lines == [
        {"step": 2, "kind": "train", "loss/one": 1.5, "late": 7.0, "rate": 0.5},
        {"step": 3, "kind": "train", "loss/one": 5.0},
        {"step": 4, "kind": "train"},
    ]


def test_a_resumed_log_goes_on_where_the_checkpoint_was(tmp_path):
    path = tmp_path / "log.jsonl"
    first = Log(path)
    for step in (1, 2, 3):
        first.write(step, "train", loss=1.0 / step)
    first.close()
    with path.open("a") as file:
        file.write('{"step": 4, "ki')  # killed while it wrote
    second = Log(path, resumed=2)
    second.write(3, "train", loss=9.0)
    second.close()
    lines = [line for line in log.read(path) if line["kind"] == "train"]
    assert [(line["step"], line["loss"]) for line in lines] == [(1, 1.0), (2, 0.5), (3, 9.0)]
    Log(path).close()  # a run from the beginning: nothing of the old one stays
    assert [line for line in log.read(path) if line["kind"] == "train"] == []


def test_a_number_that_is_none_is_valid_json(tmp_path):
    journal = Log(tmp_path / "log.jsonl")
    journal.write(1, "train", loss=float("nan"), other=float("inf"))
    journal.close()
    line = log.read(tmp_path / "log.jsonl")[-1]
    assert (line["loss"], line["other"]) == ("nan", "inf")


def test_the_log_says_once_that_there_is_no_tensorboard(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorboard", None)
    Log(tmp_path / "log.jsonl").close()
    Log(tmp_path / "log.jsonl", resumed=1).close()
    (note,) = log.read(tmp_path / "log.jsonl")
    assert note["kind"] == "note"
    assert "smalti[train]" in note["text"]


def test_tensorboard_files_where_it_is_installed(tmp_path):
    pytest.importorskip("tensorboard")
    journal = Log(tmp_path / "log.jsonl")
    journal.write(1, "train", loss=1.0)
    journal.close()
    assert list((tmp_path / "tensorboard").iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_and_a_second_one_does_not(number):
    before = signal.getsignal(number)
    caught = []
    signal.signal(number, lambda *_: caught.append(number))
    try:
        with Interrupts() as interrupts:
            assert interrupts.received is None
            os.kill(os.getpid(), number)
            assert (interrupts.received, caught) == (number, [])
            os.kill(os.getpid(), number)
            assert caught == [number]
        os.kill(os.getpid(), number)
        assert caught == [number, number]
    finally:
        signal.signal(number, before)


def test_the_program_ends_as_a_signal_ends_programs():
    with pytest.raises(KeyboardInterrupt):
        stop(signal.SIGINT)
    with pytest.raises(SystemExit) as caught:
        stop(signal.SIGTERM)
    assert caught.value.code == 143
