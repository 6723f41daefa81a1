"""One command at a time writes into a folder: a lock that the system takes back, whatever ends its holder."""

import errno
import json
import os
import platform
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from smalti.errors import UserError

NAME = ".smalti.lock"  # it holds who has it; what a killed process leaves is locked by nobody
_CLOSED = {errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP}
_UNKNOWN = {errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK}  # file systems without locks


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Within, no other command writes into a folder; of several processes of a command the first holds it.

    The folder is made where there is none, and taken away where it is left empty. UserError that names the
    process which writes there already. Where the file system has no locks there is none.
    """
    if os.environ.get("RANK", "0") != "0":  # as strategy.py has it, which waits for torch
        yield
        return
    # a lock by the mere existence of a file would stay after a kill
    lock = FileLock(folder / NAME, fallback_to_soft=False)
    try:
        if folder.exists() and not folder.is_dir():
            raise UserError("a folder to write into", f"{folder}, which is none", "choose another")
        made = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except Timeout:
        raise _taken(folder) from None
    except OSError as problem:
        if problem.errno in _CLOSED:
            got, remedy = f"{folder} ({problem.strerror})", "choose another, or see to its rights"
            raise UserError("a folder that can be written into", got, remedy) from None
        if problem.errno not in _UNKNOWN:
            raise
    try:
        _sign(folder / NAME)
        yield
    finally:
        with suppress(OSError):  # where the disk is gone
            (folder / NAME).unlink(missing_ok=True)  # while it is held: who waits for it sees that it is gone
        lock.release()
        with suppress(OSError):  # from where on they are not empty
            for path in made:
                path.rmdir()


def is_free(folder: Path) -> bool:
    """Return whether a path can be written into as a new folder: nothing is there, or at most a lock."""
    return not folder.exists() or (folder.is_dir() and all(path.name == NAME for path in folder.iterdir()))


def _sign(path: Path) -> None:
    """Write down who holds a lock, for the one that finds it taken."""
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    since = datetime.now().astimezone().isoformat(" ", "minutes")
    holder = {"process": os.getpid(), "host": platform.node(), "command": command, "since": since}
    with suppress(OSError):  # a full disk, or a system on which a locked file is closed to all
        path.write_text(json.dumps(holder), encoding="utf-8")


def _taken(folder: Path) -> UserError:
    expected, other = f"{folder} for this command alone", "another process"
    with suppress(OSError, ValueError, KeyError, TypeError):
        holder = json.loads((folder / NAME).read_text(encoding="utf-8"))
        command = " ".join(str(holder["command"]).split())
        command = command if len(command) <= 120 else f"{command[:117]}..."
        other = f"process {holder['process']} on {holder['host']}"
        other += f" ({command}, since {holder['since']})"
    return UserError(
        expected, f"{other}, which writes there", "wait until it ends, end it, or choose another folder"
    )
