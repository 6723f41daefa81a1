"""A person's folder, and the command as the shell would run it."""

import sys
from pathlib import Path

import pytest

from smalti.cli.main import main


@pytest.fixture
def smalti_command(monkeypatch, capsys):
    """Run a command as the shell would: gives (exit status, what it printed, what it complained)."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["smalti", *map(str, words)])
        status = 0
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def browser():
    from browsing import launched  # others wait for no browser's driver

    with launched() as found:
        yield found


@pytest.fixture
def opened(browser, address):
    """The page of the studio at an address, at a tab."""
    from browsing import visiting

    return lambda tab="sample", **more: visiting(browser, address, tab, **more)
