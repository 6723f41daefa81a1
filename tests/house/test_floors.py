"""The house is as drawn: which room may import from which."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "smalti"

# A room imports from groups before its own and from itself, never sideways or from a later one.
FLOORS = [
    {"errors", "exif", "hints", "old_names", "schema"},
    {"mistakes", "opening", "devices"},
    {"config", "disk", "files", "imaging", "leftovers", "locks", "memory", "precision", "strategy"},
    {"reading", "user_images", "masks", "pretrained", "weights", "sizes", "sharded", "rounds", "peers"},
    {"tokens", "orders", "features"},  # features: a condition may be told by those of sentences
    {"quantizers", "conditions", "heads"},
    {"drawing"},  # below the priors, each of which says how it is drawn from
    {"losses", "priors", "scenes"},
    {"tokenizer", "data"},
    {"samples", "from_image", "grids"},
    {"upscaling"},
    {"pipeline"},
    {"about", "shipped"},
    {"library"},
    {"metrics", "formats", "doctor"},
    {"judging", "training"},
    {"evaluation", "planning"},
    {"demo", "studio"},
    {"cli"},
    {"__main__"},
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def imported(tree: ast.AST) -> list[str]:
    """Every module that a file imports, inside functions and under TYPE_CHECKING too."""
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"a relative import in line {node.lineno}"
            module = node.module or ""
            names += [f"{module}.{alias.name}" if module == "smalti" else module for alias in node.names]
    return names


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_room_imports_only_from_lower_floors(path):
    room = room_of(path)
    assert room in FLOOR, f"{room} has no floor: write it into FLOORS and docs/design.md"
    for name in imported(ast.parse(path.read_text())):
        parts = name.split(".")
        if parts[0] != "smalti" or len(parts) == 1 or parts[1] not in FLOOR:
            continue  # another package, or a public name of smalti itself
        other = parts[1]
        assert other == room or FLOOR[other] < FLOOR[room], f"{room} must not import {name}"


def test_public_names_are_imported_by_commands_and_the_demo_only():
    for path in FILES:
        bare = "smalti" in imported(ast.parse(path.read_text()))
        assert not bare or room_of(path) in {"cli", "demo"}, f"{path} imports the package's top"


def test_one_room_alone_imports_upwards_by_name():
    """A module imported by its name escapes the arrows above: models ask the library for their folders."""
    calls = [
        (path.name, ast.unparse(node.args[0]))
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module")
    ]
    ours = [(file, name) for file, name in calls if name.startswith(("'smalti", "f'smalti"))]
    assert ours == [("main.py", "f'smalti.cli.{name}'"), ("pretrained.py", "'smalti.library'")]


def test_modules_do_not_import_in_rings():
    graph = {}
    for path in SOURCE.rglob("*.py"):
        name = ".".join(["smalti", *path.relative_to(SOURCE).with_suffix("").parts]).removesuffix(".__init__")
        graph[name] = imported(ast.parse(path.read_text()))
    known = set(graph) - {"smalti"}  # the top imports lazily
    reach = {name: {other for other in graph[name] if other in known} for name in known}
    for _ in range(len(known)):
        grown = {name: others.union(*(reach[other] for other in others)) for name, others in reach.items()}
        if grown == reach:
            break
        reach = grown
    rings = sorted(name for name, others in reach.items() if name in others)
    assert not rings, f"modules that import one another: {rings}"
