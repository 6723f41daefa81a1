"""What befalls the data of a run: said at the terminal, and kept for the log."""

import sys

from tqdm import tqdm

from smalti.data import faults
from smalti.errors import UserError

NAMED = 20  # samples that are skipped; the data report names as many


class Mishaps:
    """Is told of them: names each sample that cannot be used once, of very many the first ones."""

    def __init__(self) -> None:
        self._told: set[str] = set()
        self.notes: list[str] = []  # what else was said

    def __call__(self, mishap: UserError | str) -> None:
        """Say, on stderr, that a sample is skipped, or in words what else happened, which is kept."""
        if isinstance(mishap, str):
            faults.say(mishap)
            self.notes.append(mishap)
        else:
            self._skip(mishap)

    def _skip(self, mistake: UserError) -> None:
        if mistake.got in self._told or len(self._told) > NAMED:
            return
        self._told.add(mistake.got)
        more = f"skipped: more than these {NAMED}, which are not named"
        tqdm.write(f"skipped: {mistake}" if len(self._told) <= NAMED else more, file=sys.stderr)
