"""Jobs: drawings that were asked for, by turns."""

import secrets
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from smalti import memory
from smalti.errors import UserError
from smalti.studio.events import Channel
from smalti.studio.limits import Limits
from smalti.studio.turns import Turns

State = Literal["queued", "running", "done", "failed", "cancelled"]
AT_ONCE = 8  # jobs that take turns; the others wait: each holds keys and values in memory
KEPT = 30 * 60.0  # seconds for which images of a finished job are there
KEPT_BYTES = 256 * 2**20  # of all finished jobs' images together, and how many of them:
KEPT_JOBS = 200
FEWER = "ask for fewer images or a smaller size"


class Full(UserError):
    """More is asked for than waits here."""


@dataclass(frozen=True)
class Drawn:
    """An image of a job."""

    png: bytes
    codes: Any  # h w
    told: Mapping[str, Any]  # what the event says of it


@dataclass(eq=False)
class Job:
    """One request for images. What works for it calls `show` and `add`, and yields between cells."""

    client: str
    model: str
    num: int
    work: Callable[["Job"], Iterator[object]]
    limits: Limits
    dies_alone: bool = False  # cancelled as soon as the last page that listened is gone
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    state: State = "queued"
    images: list[Drawn] = field(default_factory=list)
    channel: Channel = field(default_factory=Channel)
    ended: float | None = None
    spent: float = 0.0  # seconds of its own turns, without the present piece
    _lock: Any = field(default_factory=threading.Lock)

    def told(self) -> dict[str, Any]:
        """Return the job in plain values."""
        images = [one.told for one in self.images]
        return {"job": self.id, "model": self.model, "state": self.state, "num": self.num, "images": images}

    def show(self, index: int, told: Mapping[str, Any]) -> None:
        """Tell how far image `index` is."""
        self.channel.post(("progress", index), "progress", {"index": index, **told})

    def add(self, png: bytes, codes: Any, told: Mapping[str, Any]) -> None:
        """Hand over the next image."""
        index = len(self.images)
        one = {"index": index, "url": f"/api/jobs/{self.id}/images/{index}.png", **told}
        self.images.append(Drawn(png, codes, one))
        self.channel.drop(("progress", index))
        self.channel.post(("image", index), "image", one)

    def pieces(self) -> Iterator[object]:
        """Do the work, piece by piece; whatever goes wrong ends this job alone, and cancelling it does."""
        begun = time.monotonic()
        try:
            with memory.needed("this drawing", FEWER):
                yield from self._measured(self.work(self))
            self.end("done", {"seconds": round(time.monotonic() - begun, 3)})
        except UserError as mistake:
            self.end("failed", said(mistake))
        except Exception as problem:  # noqa: BLE001  a job that breaks must not take the others with it
            traceback.print_exception(problem)  # for whoever runs the studio
            self.end("failed", broken(problem))

    def _measured(self, work: Iterator[object]) -> Iterator[object]:
        """Give the pieces of work while nobody cancelled it; UserError when it has had all its time."""
        while self.state == "running":
            begun = time.monotonic()
            try:
                piece = next(work)
            except StopIteration:
                return
            self.spent += time.monotonic() - begun
            if self.spent > self.limits.seconds:
                got = f"more, after {len(self.images)} of {self.num} images"
                raise UserError(f"at most {self.limits.seconds:g} seconds of drawing", got, FEWER)
            yield piece

    def end(self, state: State, told: Mapping[str, Any]) -> None:
        """Note how it ended; the first end counts."""
        with self._lock:
            if self.ended is None:
                self.state, self.ended, self.work = state, time.monotonic(), _nothing
                self.channel.post("end", state, told, last=True)


def said(mistake: UserError) -> dict[str, str]:
    """Return a mistake in plain values."""
    return {"expected": mistake.expected, "got": mistake.got, "remedy": mistake.remedy}


def broken(problem: Exception) -> dict[str, str]:
    """Return what a person is told of an error that is ours."""
    got = f"{type(problem).__name__}: {problem}"[:200]
    return {"expected": "a request that succeeds", "got": got, "remedy": "the studio's terminal says more"}


class Jobs:
    """All jobs: those that wait, those that take turns, and for a while those that ended."""

    def __init__(self, limits: Limits, turns: Turns) -> None:
        self.limits, self.turns = limits, turns
        self._lock = threading.RLock()
        self._all: dict[str, Job] = {}  # by id, in the order of coming
        self._served: dict[str, float] = {}  # of each client with jobs here, when one of them last began

    def check_room(self, client: str) -> None:
        """Raise Full where as many jobs wait as may."""
        with self._lock:
            waiting = [job for job in self._all.values() if job.state == "queued"]
            own = sum(job.client == client for job in waiting)
        if len(waiting) >= self.limits.queue or own >= self.limits.queue_of_one:
            got = f"{len(waiting)}, {own} of them yours"
            expected = f"at most {self.limits.queue} jobs that wait, {self.limits.queue_of_one} of one client"
            raise Full(expected, got, "wait until some are done, or cancel them")

    def add(
        self, client: str, model: str, num: int, work: Callable[[Job], Iterator[object]], *, dies_alone: bool
    ) -> Job:
        """Take a job in; it begins as soon as there is room.

        work: is given the job, and yields between cells.
        """
        with self._lock:
            self.check_room(client)
            self._forget()
            job = Job(client, model, num, work, self.limits, dies_alone)
            self._all[job.id] = job
            self._begin()
        return job

    def find(self, id: str) -> Job | None:
        """Return a job; None where there is none, or no longer."""
        return self._all.get(id)

    def cancel(self, job: Job) -> None:
        """End a job; what it drew so far stays."""
        with self._lock:
            job.end("cancelled", {})
            self._begin()

    def close(self) -> None:
        """End all jobs."""
        for job in list(self._all.values()):
            job.end("cancelled", {})

    def _begin(self) -> None:
        """Let jobs begin while there is room: one a client, the client first that waited longest."""
        busy = {job.client for job in self._all.values() if job.state == "running"}
        waiting = [job for job in self._all.values() if job.state == "queued"]
        while len(busy) < AT_ONCE:
            free = [job for job in waiting if job.client not in busy]
            if not free:
                break
            job = min(free, key=lambda one: self._served.get(one.client, 0.0))
            waiting.remove(job)
            busy.add(job.client)
            self._served[job.client] = time.monotonic()
            job.state = "running"
            self.turns.begin(job.client, self._run(job))
        for place, job in enumerate(waiting, 1):
            job.channel.post("queued", "queued", {"place": place})

    def _run(self, job: Job) -> Iterator[object]:
        yield from job.pieces()
        with self._lock:
            self._begin()

    def _forget(self) -> None:
        """Let go of the oldest jobs that ended: by age, and while they hold too much."""
        ended = [job for job in self._all.values() if job.ended is not None]
        held = sum(len(one.png) for job in ended for one in job.images)
        for job in ended:
            age = time.monotonic() - (job.ended or 0.0)
            if age > KEPT or held > KEPT_BYTES or len(self._all) > KEPT_JOBS:
                held -= sum(len(one.png) for one in job.images)
                del self._all[job.id]
        clients = {job.client for job in self._all.values()}
        self._served = {client: at for client, at in self._served.items() if client in clients}


def _nothing(job: Job) -> Iterator[object]:
    """Stand in for work that is done, so that what it held can go."""
    return iter(())
