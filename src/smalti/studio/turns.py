"""Whose turn it is: one thread does all work with models, for several people by turns of a moment each.

One thread, since a drawing has all cores that torch uses: two at once would share them, and Python's lock, so
that both took longer. And always the same one: OpenMP keeps helpers for each thread that computes, and with
more of them than cores it puts them to sleep after each product of matrices, which made images of a small
model take twice as long. The web server waits in a thread of its own and answers meanwhile.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

T = TypeVar("T")
MOMENT = 0.02  # seconds after which others have their turn where some wait
_REMEMBERED = 1000  # clients of whom it is known when they had their last turn
_PATIENCE = 5.0  # seconds that an end waits for the piece of work at hand


@dataclass(eq=False, frozen=True)
class Place:
    """Work that waits."""

    client: str
    number: int  # in the order of coming
    pieces: Iterator[object]


class Turns:
    """Turns go round by client; of one client's works the one that came first has all of them."""

    def __init__(self, moment: float = MOMENT, clock: Callable[[], float] = time.monotonic) -> None:
        self._moment, self._clock = moment, clock
        self._changed = threading.Condition()
        self._waiting: list[Place] = []
        self._numbers, self._rounds = count(), count(1)
        self._last: dict[str, int] = {}  # of each client, when it had its last turn
        self._is_over = False
        self._thread = threading.Thread(target=self._run, daemon=True, name="models")
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Return how many works wait now."""
        return len(self._waiting)

    def begin(self, client: str, pieces: Iterator[object]) -> None:
        """Have work done piece by piece, each of which others may come before; it raises nothing."""
        with self._changed:
            self._waiting.append(Place(client, next(self._numbers), pieces))
            self._changed.notify()

    def call(self, client: str, work: Callable[[], T]) -> "Future[T]":
        """Have work done in one piece; return what will be its result, or its error.

        Where it is cancelled before its turn the work is left.
        """
        result: Future[T] = Future()

        def pieces() -> Iterator[object]:
            if not result.set_running_or_notify_cancel():
                return
            try:
                result.set_result(work())
            except BaseException as problem:  # noqa: BLE001  it is raised where the result is asked for
                result.set_exception(problem)
            yield None

        self.begin(client, pieces())
        return result

    def close(self) -> None:
        """End after the piece that is being worked at, or while it goes on where that takes long."""
        with self._changed:
            self._is_over = True
            self._changed.notify()
        self._thread.join(_PATIENCE)

    def _run(self) -> None:
        while (place := self._next()) is not None:
            until = self._clock() + self._moment
            for _ in place.pieces:
                if self._is_over or (self._waiting and self._clock() >= until):
                    with self._changed:
                        self._waiting.append(place)
                    break

    def _next(self) -> Place | None:
        """Wait for work; return that of the client whose last turn is longest ago; None: it is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_over)
            if self._is_over:
                return None
            chosen = min(self._waiting, key=lambda one: (self._last.get(one.client, 0), one.number))
            self._waiting.remove(chosen)
            self._last.pop(chosen.client, None)
            self._last[chosen.client] = next(self._rounds)
            if len(self._last) > _REMEMBERED:
                del self._last[next(iter(self._last))]
            return chosen
