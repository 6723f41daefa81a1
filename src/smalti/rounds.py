"""Long work that several processes share by turns: item i by process i mod n, and all hear of all of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from smalti import devices, strategy
from smalti.errors import UserError

T = TypeVar("T")


@contextmanager
def together(device: str) -> Iterator[torch.device]:
    """Within, the processes of a command can talk; gives the device of this one, see `strategy.choose`.

    Raises UserError for one that torch cannot use here, in each process that has none: how they talk depends
    on the device, so before they have one they cannot.
    """
    found = devices.find(strategy.choose(device))
    with strategy.current().joined(found):
        yield found


@contextmanager
def agreed() -> Iterator[None]:
    """Within, each process prepares the same work, and none begins with it before all are done.

    A mistake of one ends all: process 0 says it.
    """
    mistake = None
    try:
        yield
    except UserError as problem:
        mistake = problem
    for one in _heard(mistake):
        _end_with(one)


def in_order(own: Iterator[T]) -> Iterator[T]:
    """Give what all processes make, one after the other and the same in each: item i by process i mod n.

    own: makes the items of this process, one when it is asked for one. What it gives must pickle, and be
    small. All see the same items, so what they decide by them they decide alike. A mistake ends all at its
    turn, as it would end one process: what comes before it is given.
    """
    while True:
        made: tuple[T] | UserError | None = None  # none are left
        try:
            made = (next(own),)
        except StopIteration:
            pass
        except UserError as problem:
            made = problem
        for item in _heard(made):
            if item is None:
                return
            if isinstance(item, UserError):
                _end_with(item)
            else:
                yield item[0]


def _heard(said: T) -> list[T]:
    """Return what each process says. Where one of them is gone, all end."""
    way = strategy.current()
    try:
        return way.collect(said)
    except RuntimeError as problem:
        reason = str(problem).strip().splitlines()[-1]
        gone = UserError("an answer of every process", reason, "see which one ended, and go on with --resume")
        if way.rank == 0:
            raise gone from None
        raise SystemExit(2) from None


def _end_with(mistake: UserError | None) -> None:
    """Raise a mistake that all have heard of in process 0, which says it; the others end when it has."""
    if mistake is None:
        return
    if strategy.current().rank == 0:
        raise mistake
    _heard(None)  # until process 0 leaves: whoever ends first makes torchrun end the others
    raise SystemExit(2)
