"""What a command says outlives who reads it: a closed pipe, or a terminal that is gone, ends no work."""

import errno
import io
import os
import sys
from typing import Any

_GONE = {errno.EPIPE, errno.EIO}  # of pipes; of terminals


class _Lasting(io.FileIO):
    """A stream that fails once at most, and not at all where its reader is gone; then words are lost."""

    def __init__(self, number: int, forgiven: set[int] | None) -> None:
        """forgiven: errors that are not raised; None: all, as words about the work are not the work."""
        super().__init__(number, "w", closefd=False)
        self._forgiven, self._is_lost = forgiven, False

    def write(self, data: Any) -> int:
        """Write bytes; gives how many are dealt with."""
        if not self._is_lost:
            try:
                return super().write(data)
            except OSError as problem:
                self._is_lost = True
                if self._forgiven is not None and problem.errno not in self._forgiven:
                    raise
        return memoryview(data).nbytes


def outlive() -> None:
    """Let stdout and stderr of this process be such streams; what a notebook or a test put there stays."""
    if os.name == "posix":  # elsewhere consoles are no files
        sys.stdout = _lasting(sys.stdout, 1, _GONE)
        sys.stderr = _lasting(sys.stderr, 2, None)


def _lasting(stream: Any, number: int, forgiven: set[int] | None) -> Any:
    try:
        if stream is None or stream.fileno() != number:
            return stream
        stream.flush()
    except (OSError, ValueError):  # no file
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(_Lasting(number, forgiven)),
        stream.encoding,
        stream.errors,
        line_buffering=number == 2 or stream.isatty(),
    )
