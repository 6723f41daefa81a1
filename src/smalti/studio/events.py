"""What happens to a job, told by one thread to any number of pages, early or late."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Hashable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Event:
    """One thing that happened."""

    number: int  # from 1, in the order of happening
    name: str
    data: Mapping[str, Any]  # plain values

    def sent(self) -> dict[str, str]:
        """Return it as the library of server-sent events takes it."""
        return {"id": str(self.number), "event": self.name, "data": json.dumps(self.data)}


class Channel:
    """Keeps of each thing the newest word, so that a late listener hears all that still counts.

    A preview is of no use once there is a later one: what is kept does not grow with the time of a drawing.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[Hashable, Event] = {}  # in the order of happening
        self._number = 0
        self._is_over = False
        self._listeners: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    @property
    def listeners(self) -> int:
        """Return how many listen now."""
        return len(self._listeners)

    def post(self, about: Hashable, name: str, data: Mapping[str, Any], *, last: bool = False) -> None:
        """Tell an event; what was told about the same before counts no more. last: nothing follows."""
        with self._lock:
            if self._is_over:
                return
            self._number += 1
            self._kept.pop(about, None)
            self._kept[about] = Event(self._number, name, data)
            self._is_over = last
            for loop, flag in self._listeners:
                loop.call_soon_threadsafe(flag.set)

    def drop(self, about: Hashable) -> None:
        """Forget what was told about something."""
        with self._lock:
            self._kept.pop(about, None)

    def after(self, number: int) -> tuple[list[Event], bool]:
        """Return what was told after an event, and whether nothing follows."""
        with self._lock:
            return [event for event in self._kept.values() if event.number > number], self._is_over

    async def listen(self, number: int = 0) -> AsyncIterator[Event]:
        """Give the events after one of that number, as they come, until the last."""
        mine = asyncio.get_running_loop(), asyncio.Event()
        self._listeners.append(mine)
        try:
            while True:
                mine[1].clear()
                fresh, is_over = self.after(number)
                for event in fresh:
                    number = event.number
                    yield event
                if is_over:
                    return
                await mine[1].wait()
        finally:
            self._listeners.remove(mine)
