"""Types of words that are paths or names, so that a shell completes them."""

from collections.abc import Callable, Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem


class NamedPath(click.Path):
    """A path, or one of some names: those that begin so are offered, where there are none files are."""

    def __init__(self, names: Callable[[], Iterable[str]] = tuple, kind: type[str | Path] = Path) -> None:
        """names: called when a shell asks. kind: of the value."""
        super().__init__(path_type=kind, readable=False)  # who opens it says better what is wrong
        self.names = names

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return names, or the mark that asks the shell for files."""
        found = [CompletionItem(name) for name in self.names() if name.startswith(incomplete)]
        return found or super().shell_complete(ctx, param, incomplete)


def _models() -> Iterable[str]:
    from smalti import shipped  # here: who does not ask does not wait

    return shipped.models()


def _recipes() -> Iterable[str]:
    from smalti import config

    return config.recipes()


def _data() -> Iterable[str]:
    return ("scenes",)


PATH, MODEL, DATA, RECIPE = NamedPath(), NamedPath(_models), NamedPath(_data), NamedPath(_recipes, str)
