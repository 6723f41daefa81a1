"""Whose turn it is: of the threads that work for several people one works at a time, each for a moment.

One at a time, since a drawing has all cores that torch uses: two at once would share them, and Python's lock,
so that both took longer; and images would be drawn with fewer threads than the commands have, which rounds
otherwise.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count

MOMENT = 0.1  # seconds after which a thread lets others in where some wait
_REMEMBERED = 1000  # clients of whom it is known when they had their last turn


@dataclass(eq=False, frozen=True)
class Place:
    """A thread that works or waits."""

    client: str
    number: int  # in the order of coming


class Turns:
    """Turns go round by client; of one client's threads the one that came first has all of them."""

    def __init__(self, moment: float = MOMENT, clock: Callable[[], float] = time.monotonic) -> None:
        self._moment, self._clock = moment, clock
        self._changed = threading.Condition()
        self._waiting: list[Place] = []
        self._works: Place | None = None
        self._until = 0.0  # the end of the moment of the one that works
        self._numbers, self._rounds = count(), count(1)
        self._last: dict[str, int] = {}  # of each client, when it had its last turn

    @property
    def waiting(self) -> int:
        """Return how many threads wait now."""
        return len(self._waiting)

    @contextmanager
    def taken(self, client: str) -> Iterator[Callable[[], None]]:
        """Wait for a turn; within, nobody else works. Gives what is called between two pieces of the work.

        It lets others in where the moment is over and some wait, and comes back at the next turn.
        """
        mine = Place(client, next(self._numbers))
        self._wait(mine)
        try:
            yield partial(self._pause, mine)
        finally:
            with self._changed:
                self._works = None
                self._hand_over()

    def _pause(self, mine: Place) -> None:
        if self._waiting and self._clock() >= self._until:
            with self._changed:
                self._works = None
            self._wait(mine)

    def _wait(self, mine: Place) -> None:
        with self._changed:
            self._waiting.append(mine)
            self._hand_over()
            self._changed.wait_for(lambda: self._works is mine)

    def _hand_over(self) -> None:
        """Choose who works next, unless one does: whose client's last turn is longest ago."""
        if self._works is not None or not self._waiting:
            return
        chosen = min(self._waiting, key=lambda one: (self._last.get(one.client, 0), one.number))
        self._waiting.remove(chosen)
        self._last.pop(chosen.client, None)
        self._last[chosen.client] = next(self._rounds)
        if len(self._last) > _REMEMBERED:
            del self._last[next(iter(self._last))]
        self._works, self._until = chosen, self._clock() + self._moment
        self._changed.notify_all()
