"""Runs many bad inputs: each works or is refused in one line; nothing is executed, none takes for ever."""

import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from smalti.errors import UserError

CORPUS = Path(__file__).parent / "corpus"  # inputs that once failed, a folder a subject
TOLD = "bad inputs"  # the name of the property by which a test tells of them: see conftest.py

_LONGEST = 60.0  # seconds for one input: far from what any needs; beyond, it hangs
_SHOWN = 12  # failures of one test
# what a program does that starts another, loads code, or speaks to another machine
_FORBIDDEN = {
    *("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.startfile", "subprocess.Popen", "pty.spawn"),
    *("socket.connect", "pickle.find_class", "ctypes.dlopen"),
}
_watched: list[list[str]] = []


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched and event in _FORBIDDEN:
        _watched[-1].append(f"{event} {arguments!r:.100}")


sys.addaudithook(_audit)


def counts(quick: int, slow: int) -> pytest.MarkDecorator:
    """How many inputs: few in `make test`, many in `make test-slow`."""
    many = pytest.param(slow, marks=[pytest.mark.slow, pytest.mark.timeout(900)], id="slow")
    return pytest.mark.parametrize("count", [pytest.param(quick, id="quick"), many])


def corpus(subject: str) -> pytest.MarkDecorator:
    """Every input of a subject that once failed."""
    paths = sorted(path for path in (CORPUS / subject).iterdir() if not path.name.startswith("."))
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.name)


def refused(work: Callable[[], object]) -> UserError | None:
    """The mistake by which work was refused, in one line; None: it was done."""
    try:
        work()
        return None
    except UserError as problem:
        mistake = problem
    text = str(mistake)
    assert "\n" not in text, f"more than a line: {text!r:.300}"
    assert len(text) < 3100, f"a line of {len(text)} characters: {text:.300}"
    assert all(mistake.args), f"a part of it is empty: {text!r:.300}"
    return mistake


@contextmanager
def harmless() -> Iterator[None]:
    """Within, nothing is executed and nobody is called."""
    _watched.append([])
    try:
        yield
    finally:
        seen = _watched.pop()
    assert not seen, f"it did {seen[0]}"


def survive(
    subject: str, inputs: Iterator[Callable[[], object]] | Sequence[Any], record: Callable[..., Any]
) -> None:
    """Take every input; all failures are told at once, by their numbers.

    inputs: pieces of work, one an input. record: pytest's `record_property`.
    """
    failures, slowest, count = [], 0.0, 0
    began, worked = time.perf_counter(), time.process_time()
    for number, work in enumerate(inputs):
        since = time.perf_counter()
        try:
            with warnings.catch_warnings(), harmless():
                warnings.simplefilter("ignore")
                refused(work)
        except Exception as problem:  # noqa: BLE001  all of them are told, with their numbers
            failures.append(
                f"{subject} {number}: {type(problem).__name__}: {problem}"[:400] + _where(problem)
            )
        took = time.perf_counter() - since
        if took > _LONGEST:
            failures.append(f"{subject} {number}: took {took:.0f} s")
        slowest, count = max(slowest, took), count + 1
        if len(failures) >= _SHOWN:
            break
    assert not failures, f"{len(failures)} of {count}:\n" + "\n".join(failures)
    record(TOLD, [subject, count, slowest, time.perf_counter() - began, time.process_time() - worked])


def in_words(told: Sequence[Sequence[Any]]) -> str:
    """One line of what `survive` has recorded in several tests."""
    subjects = ", ".join(f"{one[1]} {one[0]}" for one in told)
    inputs, seconds, worked = (sum(one[at] for one in told) for at in (1, 3, 4))
    times = f"{seconds:.0f} s ({worked:.0f} s of the processor)"
    slowest = max(one[2] for one in told)
    return f"{inputs} bad inputs in {times}, the slowest in {slowest:.1f} s: {subjects}"


def _where(problem: BaseException) -> str:
    """The lines that led there, the last first."""
    found, trace = [], problem.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        found.append(f"{Path(code.co_filename).name}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return "\n    " + " < ".join(reversed(found[-7:]))
