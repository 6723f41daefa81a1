"""Images that commands write one by one, by all processes of torchrun, and go on writing after a kill."""

import json
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from smalti import locks
from smalti.cli.options import clear, new_folder
from smalti.errors import UserError

if TYPE_CHECKING:
    from smalti.drawing.request import Made
    from smalti.samples import Samples

SUFFIXES = (".png", ".tif")
RESUME = click.option(
    "--resume", is_flag=True, help="Keep the images that are in OUT, which the same command wrote."
)
_REMEDY = "choose another OUT, or go on with --resume where the same command was interrupted"


def prepare(out: Path, *, resume: bool) -> None:
    """Settle what OUT may hold before anything is loaded: nothing, or with resume what is gone on with.

    All processes call it together, and process 0 looks.
    """
    from smalti import rounds, strategy

    with rounds.agreed():
        if strategy.current().rank == 0:
            _look(out, resume=resume)


def _look(out: Path, *, resume: bool) -> None:
    if not resume:
        new_folder(out, _REMEDY)
    elif out.is_file():
        raise UserError(
            "a folder to go on with", str(out), "give the OUT of the command that was interrupted"
        )
    else:
        click.get_current_context().with_resource(locks.held(out))
        clear(out)


class Numbered:
    """The images of one drawing in a folder, 00000.png (or .tif) ...: those there, those of this process.

    Says it of each batch to `Pipeline.iter_batches`, as its `wanted`.
    """

    def __init__(self, out: Path, *, resume: bool) -> None:
        """All processes make it together, before one of them draws: what is there by then counts."""
        from smalti.strategy import current

        self._out, self._way = out, current()
        prepare(out, resume=resume)
        self._there = self._way.collect(self._found())[0]
        self._batches, self._own = 0, deque[range]()  # batches that are not all there; those of this process

    def __call__(self, images: range, made: "Made") -> bool:
        """Return whether this process draws a batch; UserError where another command wrote images of it."""
        for number in images:
            if number in self._there and self._way.rank == 0:
                compare(self._there[number], made(number))
        if all(number in self._there for number in images):
            return False
        self._batches += 1
        is_own = (self._batches - 1) % self._way.count == self._way.rank
        if is_own:
            self._own.append(images)
        return is_own

    def write(self, batches: "Iterator[Samples]", num: int) -> None:
        """Save images as soon as they are drawn, together with the other processes; says where it stopped.

        batches: what `Pipeline.iter_batches` gives with this as `wanted`.
        """
        from tqdm import tqdm

        from smalti import rounds

        kept = sum(number < num for number in self._there)
        if kept:
            self._way.say(f"{kept} of {num} images are there")
        try:
            for paths in rounds.in_order(self._saved(batches)):
                for path in paths if self._way.rank == 0 else ():
                    tqdm.write(path)  # above the progress bar
        finally:
            done = sum(number < num for number in self._found())
            if done < num:
                rest = "the same command with --resume draws the others"
                self._way.say(f"stopped: {done} of {num} images are in {self._out}; {rest}")

    def _found(self) -> dict[int, Path]:
        """Return the images that are in the folder, by number."""
        paths = self._out.iterdir() if self._out.is_dir() else ()
        return {int(path.stem): path for path in paths if path.stem.isdigit() and path.suffix in SUFFIXES}

    def _saved(self, batches: "Iterator[Samples]") -> Iterator[list[str]]:
        for batch in batches:
            yield [str(path) for path in batch.save(self._out, self._own.popleft()[0], keep=True)]


def compare(path: Path, made: Mapping[str, Any]) -> None:
    """UserError for an image that was made otherwise than it would be now."""
    from smalti import imaging

    found = imaging.read_metadata(path)
    differs = _differs(found, json.loads(json.dumps(dict(made), default=str)))
    if differs is not None:
        name, was, now = differs
        got = f"{name}={now}, and {path} of {name}={was}"
        raise UserError("the images of the same command, to go on with", got, "give another OUT")


def _differs(found: Mapping[str, Any], made: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """Return the first thing that is known of an image and that its file says otherwise, if there is one."""
    for name, now in made.items():
        was = found.get(name)
        if isinstance(now, dict) and isinstance(was, dict):
            within = _differs(was, now)
            if within is not None:
                return within
        elif was != now:
            return name, was, now
    return None
