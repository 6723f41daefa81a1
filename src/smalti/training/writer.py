"""Files written while training goes on: in one thread, one piece of work after the other."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

LOOKED = 0.02  # seconds between two looks whether another process has written its part
ENDED = 20.0  # seconds for which a run that fails waits for what is being written


class Writer:
    """Does what it is given in the background. What fails there is raised by the next `wait`."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._problem: BaseException | None = None
        self._given_up = threading.Event()

    def begin(self, work: Callable[[], None]) -> None:
        """Begin a piece of work, once the one before is done."""
        self.wait()
        # a daemon: a second Ctrl-C ends the program at once, and what is half written is never used
        self._thread = threading.Thread(target=self._do, args=(work,), daemon=True)
        self._thread.start()

    def has_failed(self, *, now: bool = True) -> bool:
        """Return whether the work ended with an error. now: as far as it has come, else once it is done."""
        if not now and self._thread is not None:
            self._thread.join()
        return self._problem is not None

    def wait(self) -> None:
        """Return once nothing is left to be written; raises what failed, as OSError what the disk refused."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        problem, self._problem = self._problem, None
        if problem is not None:
            raise problem

    def give_up(self) -> None:
        """Wait for no other process any more."""
        self._given_up.set()

    def close(self) -> None:
        """End the work where the run ends otherwise than it should: what is nearly done is not lost."""
        self.give_up()
        if self._thread is not None:
            self._thread.join(ENDED)

    def await_all(self, paths: Sequence[Path]) -> bool:
        """Return, within the work, once all these are there, which other processes write; false: given up."""
        while not all(path.exists() for path in paths):
            if self._given_up.wait(LOOKED):
                return False
        return True

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as problem:  # noqa: BLE001  # raised by the thread that trains
            self._problem = problem
