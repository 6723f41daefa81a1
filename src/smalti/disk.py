"""Writing: a disk that is full, or that takes nothing, is one line, and what was there before stays good.

Imports nothing heavy: the command line uses it before torch is there.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from smalti.errors import UserError

_REASONS = {  # what a person can do something about, in words
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.EFBIG: "larger than files may be here",
    errno.EROFS: "the disk can only be read",
    errno.EIO: "the disk fails",
}


def refused(problem: BaseException) -> str | None:
    """Return which file could not be written and why, where this is the problem; None: it is another one."""
    if isinstance(problem, FileNotFoundError) and "temporary directory" in str(problem):  # as Python says it
        return f"none for temporary files: {problem.strerror}"
    if not isinstance(problem, OSError) or problem.errno not in _REASONS:
        return None
    where = "" if problem.filename is None else f" for {os.fsdecode(problem.filename)}"
    return f"none{where}: {_REASONS[problem.errno]}"


def mistake(got: str, remedy: str) -> UserError:
    """Return the one line."""
    return UserError("room to write", got, remedy)


@contextmanager
def needed(remedy: Callable[[], str]) -> Iterator[None]:
    """Within, that nothing more can be written is a UserError. remedy: gives what to do then."""
    try:
        yield
    except OSError as problem:
        got = refused(problem)
        if got is None:
            raise
        raise mistake(got, remedy()) from None
