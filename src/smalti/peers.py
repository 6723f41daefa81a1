"""Processes that work together: one that is gone is one line in the others, not a traceback."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from smalti import strategy
from smalti.errors import UserError

_GONE = re.compile(  # what gloo, NCCL and the store of torch say
    r"Connection (closed|reset|refused)[a-z ]*|Broken pipe|[Tt]imed out[a-z ]*|Socket ?[Tt]imeout"
    r"|remote process exited|NCCL (communicator was aborted|error)"
)
_TALK = re.compile(r"gloo|NCCL|TCPStore|ProcessGroup|torch/csrc/distributed")


@contextmanager
def needed(remedy: str) -> Iterator[None]:
    """Within, that another process of this work is gone is a UserError. remedy: what goes on with it."""
    try:
        yield
    except RuntimeError as problem:  # torch has kinds of its own for some, all below this one
        text = str(problem)
        found = _GONE.search(text)
        if found is None or not _TALK.search(text):
            raise
        got = f"one that is gone ({found[0].strip().lower()})"
        remedy = f"see what it says, or why the system ended it; go on with: {remedy}"
        raise UserError(f"all {strategy.current().count} processes at work", got, remedy) from None
