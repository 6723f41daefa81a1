"""A shelf's `__init__` names its members in one plain dict and holds nothing else."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

from smalti.conditions import CONDITIONS
from smalti.priors import PRIORS
from smalti.priors.protocol import NoOptions
from smalti.schema import Members

SOURCE = Path(__file__).parents[2] / "src" / "smalti"
SHELVES = {"quantizers": "QUANTIZERS", "conditions": "CONDITIONS", "priors": "PRIORS", "data": "READERS"}


@pytest.mark.parametrize("shelf", SHELVES)
def test_init_holds_nothing_else(shelf):
    tree = ast.parse((SOURCE / shelf / "__init__.py").read_text())
    allowed = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.Expr)
    others = [type(node).__name__ for node in tree.body if not isinstance(node, allowed)]
    assert not others


@pytest.mark.parametrize(
    ("kind", "shelf", "file"), [("fsq", "quantizers", "fsq.py"), ("pixelsnail", "priors", "pixelsnail.py")]
)
def test_a_new_member_is_one_file_its_line_and_its_recipes(kind, shelf, file):
    """Nothing else in the package knows of it; the others have settings that formats and recipes name."""
    naming = {path.relative_to(SOURCE) for path in SOURCE.rglob("*.py") if kind in path.read_text().lower()}
    assert naming == {Path(shelf, "__init__.py"), Path(shelf, file)}
    lines = (SOURCE / shelf / "__init__.py").read_text().splitlines()
    wanted = 1 if isinstance(getattr(import_module(f"smalti.{shelf}"), SHELVES[shelf]), Members) else 2
    assert sum(kind in line for line in lines) == wanted, "its place, and its import where it has one"
    assert any(f"kind: {kind}" in path.read_text() for path in (SOURCE / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("shelf", SHELVES)
def test_members_are_filed_under_the_kind_of_their_settings(shelf):
    members = getattr(import_module(f"smalti.{shelf}"), SHELVES[shelf])
    assert members
    for kind, (settings, member) in members.items():
        assert settings.__dataclass_fields__["kind"].default == kind
        assert settings.__module__ == member.__module__


def test_commands_are_offered_what_members_take():
    """Lines say it so that nothing need be imported; who draws asks the member."""
    for kind, (_, member) in PRIORS.items():
        assert PRIORS.offers.get(kind, NoOptions) is member.options
    assert CONDITIONS.offers
    for kind in CONDITIONS.offers:
        assert CONDITIONS[kind][1].argument == kind
