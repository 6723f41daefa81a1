"""Fair turns, and jobs that take them: nobody starves, what breaks or is cancelled leaves the others."""

import threading
import time

import pytest

from smalti.errors import UserError
from smalti.studio import jobs as jobs_module
from smalti.studio.events import Channel
from smalti.studio.jobs import Full, Jobs
from smalti.studio.limits import Limits
from smalti.studio.turns import Turns

PATIENCE = 60.0  # seconds after which a test gives up


def until(is_so) -> None:
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.002)


def order_of(units: dict[tuple[str, int], int], **how) -> list[tuple[str, int]]:
    """Who did a piece of work, one after the other, where all wait before the first one.

    units: of each work of a client, of how many pieces it is.
    """
    turns, gate, done = Turns(**{"moment": 0, **how}), threading.Event(), []

    def work(who, count):
        for _ in range(count):
            done.append(who)
            yield

    turns.call("nobody", gate.wait)
    for who, count in units.items():
        turns.begin(who[0], work(who, count))
    gate.set()
    until(lambda: len(done) == sum(units.values()))
    turns.close()
    return done


def test_eight_people_go_round():
    people = {(f"person {n}", 0): 5 for n in range(8)}
    done = order_of(people)
    assert done == [*people] * 5
    ends = [len(done) - done[::-1].index(who) for who in people]
    assert max(ends) <= 3 * min(ends)


def test_a_long_work_does_not_hold_up_short_ones():
    done = order_of({("long", 0): 50, ("short", 0): 2, ("other", 0): 2})
    assert done.index(("short", 0)) < 3
    assert [who for who, _ in done[:6]] == ["long", "short", "other"] * 2


def test_who_asks_twice_has_no_more_turns_and_the_first_asked_comes_first():
    done = order_of({("many", 1): 3, ("many", 2): 3, ("one", 1): 3})
    assert [who for who, _ in done[:6]] == ["many", "one"] * 3
    assert [number for who, number in done if who == "many"] == [1, 1, 1, 2, 2, 2]


def test_within_a_moment_nobody_else_comes():
    now = iter(range(100))
    done = order_of({("one", 0): 4, ("other", 0): 4}, moment=2, clock=lambda: next(now))
    assert [who for who, _ in done] == ["one"] * 2 + ["other"] * 2 + ["one"] * 2 + ["other"] * 2


def test_whoever_calls_has_the_result_or_the_error_and_all_work_has_one_thread():
    turns = Turns()
    threads = {turns.call(client, threading.get_ident).result(PATIENCE) for client in ("one", "other")}
    assert len(threads) == 1
    assert threads != {threading.get_ident()}
    with pytest.raises(ZeroDivisionError):
        turns.call("one", lambda: 1 / 0).result(PATIENCE)
    assert turns.call("one", lambda: 3).result(PATIENCE) == 3, "it works on"
    turns.close()


def test_who_has_gone_before_the_turn_is_left_out():
    turns, gate, done = Turns(), threading.Event(), []
    turns.call("nobody", gate.wait)
    gone, stays = (
        turns.call(client, lambda client=client: done.append(client)) for client in ("gone", "stays")
    )
    assert gone.cancel()
    gate.set()
    stays.result(PATIENCE)
    assert done == ["stays"]
    turns.close()


class Room:
    """Jobs, and work that waits inside a turn until it is told to go on."""

    def __init__(self, **limits) -> None:
        self.turns = Turns(moment=0)
        self.jobs = Jobs(Limits(**limits), self.turns)
        self.begun, self.gates = [], {}

    def add(self, client, name=None, work=None, alone=False):
        gate = self.gates[name or client] = threading.Event()

        def waits(job):
            self.begun.append(name or client)
            while not gate.wait(0.001):
                yield

        return self.jobs.add(client, "model", 1, work or waits, dies_alone=alone)

    def close(self):
        self.jobs.close()
        self.finish(*self.gates)
        self.turns.close()

    def finish(self, *names):
        for name in names:
            self.gates[name].set()


@pytest.fixture
def room():
    made = Room()
    yield made
    made.close()


def names_of(job) -> list[str]:
    return [event.name for event in job.channel.after(0)[0]]


def test_a_client_has_one_job_at_a_time_and_others_do_not_wait_for_it(room):
    first, second = room.add("a", "a1"), room.add("a", "a2")
    other = room.add("b")
    until(lambda: room.begun == ["a1", "b"])
    assert [job.state for job in (first, second, other)] == ["running", "queued", "running"]
    assert names_of(second) == ["queued"]
    room.finish("a1")
    until(lambda: room.begun == ["a1", "b", "a2"])
    assert first.state == "done"


def test_beyond_those_that_take_turns_the_client_that_waited_longest_is_next(room, monkeypatch):
    monkeypatch.setattr(jobs_module, "AT_ONCE", 1)
    room.add("a", "a1")
    room.add("a", "a2")
    last = room.add("b", "b1")
    assert [event.data for event in last.channel.after(0)[0]] == [{"place": 2}]
    room.finish("a1")
    until(lambda: room.begun == ["a1", "b1"])
    room.finish("b1")
    until(lambda: room.begun == ["a1", "b1", "a2"])


def test_more_than_may_wait_are_refused():
    room = Room(queue=3, queue_of_one=2)
    for number in range(3):  # the first one begins
        room.add("a", f"a{number}")
    with pytest.raises(Full, match="2 of one client"):
        room.add("a", "a3")
    room.add("b", "b0")
    room.add("b", "b1")
    with pytest.raises(Full, match="at most 3 jobs that wait"):
        room.add("c", "c0"), room.add("c", "c1")
    room.close()


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (MemoryError(), "memory for this drawing"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"),
            "memory",
        ),
        (UserError("a colour", "none", "give one"), "a colour"),
        (ZeroDivisionError("oh"), "a request that succeeds"),
    ],
)
def test_a_job_that_breaks_leaves_the_others(room, problem, expected, capsys):
    other = room.add("other")

    def breaks(job):
        yield
        raise problem

    broken = room.add("broken", work=breaks)
    until(lambda: broken.state == "failed")
    (event,) = broken.channel.after(0)[0]
    assert event.name == "failed"
    assert expected in event.data["expected"]
    assert "Traceback" not in str(event.data)
    assert ("Traceback" in capsys.readouterr().err) == isinstance(problem, ZeroDivisionError)
    assert other.state == "running"
    room.finish("other")
    until(lambda: other.state == "done")


def test_what_is_cancelled_ends_at_once_and_its_work_at_the_next_cell(room):
    job, after = room.add("a"), room.add("a", "a2")
    until(lambda: room.begun == ["a"])
    room.jobs.cancel(job)
    assert job.state == "cancelled"
    assert names_of(job) == ["cancelled"]
    until(lambda: room.begun == ["a", "a2"])
    room.jobs.cancel(job)
    room.finish("a2")
    until(lambda: after.state == "done")
    assert names_of(job) == ["cancelled"], "the first end counts"


def test_what_waits_can_be_cancelled(room):
    room.add("a")
    waits = room.add("a", "a2")
    room.jobs.cancel(waits)
    room.finish("a")
    until(lambda: not any(job.state == "running" for job in room.jobs._all.values()))
    assert room.begun == ["a"]


def test_a_job_has_so_much_time_of_its_own():
    room = Room(seconds=0.05)
    job = room.add("a")
    until(lambda: job.state == "failed")
    assert "at most 0.05 seconds" in job.channel.after(0)[0][0].data["expected"]
    room.close()


def test_old_jobs_are_forgotten_and_running_ones_never(room, monkeypatch):
    def draws(job):
        job.add(b"x" * 100, None, {})
        yield

    kept, runs = room.add("a", work=draws), room.add("b")
    until(lambda: kept.state == "done" and room.begun == ["b"])
    monkeypatch.setattr(jobs_module, "KEPT_BYTES", 150)
    later = room.add("a", "later", work=draws)
    until(lambda: later.state == "done")
    room.add("c", work=lambda job: iter(()))
    assert room.jobs.find(kept.id) is None
    assert room.jobs.find(later.id) is later
    monkeypatch.setattr(jobs_module, "KEPT", -1.0)
    room.add("d", work=lambda job: iter(()))
    assert room.jobs.find(later.id) is None
    assert room.jobs.find(runs.id) is runs


def test_a_late_listener_hears_what_still_counts():
    channel = Channel()
    for cells in range(5):
        channel.post("progress", "progress", {"cells": cells})
    channel.post("image", "image", {"index": 0})
    channel.post("progress", "progress", {"cells": 9})
    channel.post("end", "done", {}, last=True)
    channel.post("image", "image", {"index": 1})
    found, is_over = channel.after(0)
    assert [(event.number, event.name) for event in found] == [(6, "image"), (7, "progress"), (8, "done")]
    assert is_over
    assert [event.name for event in channel.after(7)[0]] == ["done"]
