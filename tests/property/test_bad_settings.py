"""Recipes and key=value words with anything in them: settings, or one line; no name in them is looked up."""

from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any

import mutations
import trials
import yaml
from trials import refused

from smalti import config
from smalti.training.settings import TrainingSettings

# YAML's way of naming Python's functions
CALLS = "a: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path [{path}]]\n"
_ALIASES = "a: &a\n  - x\n  - *a\n"


@cache
def recipes() -> list[tuple[str, Any]]:
    """All recipes that ship: text and value."""
    texts = [path.read_text() for path in config.recipes().values()]
    return [(text, yaml.safe_load(text)) for text in texts]


def keys(value: Any, above: str = "") -> list[str]:
    """All keys of a recipe, with dots."""
    found = []
    for key, below in value.items() if isinstance(value, dict) else ():
        found += [f"{above}{key}", *keys(below, f"{above}{key}.")]
    return found


def recipe(rng: Random) -> str:
    """A recipe changed in its values or in its text."""
    text, value = rng.choice(recipes())
    if rng.random() < 0.5:
        return mutations.changed_text(rng, text)
    if rng.random() < 0.03:
        return rng.choice(
            (_ALIASES, "a: &a\n  b: *a\n", "[" * 3000, "{" * 3000, "a: " * 500, "- " * 3000, "")
        )
    return yaml.safe_dump(mutations.changed_value(rng, value), sort_keys=False)


def words(rng: Random) -> list[str]:
    """Some key=value words."""
    _, value = rng.choice(recipes())
    known = [*keys(value), "data.range", "data.bands", "crop.resize", "condition", "losses", "a.b.c", ""]
    found = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        key, given = rng.choice(known), mutations.odd(rng)
        said = given if isinstance(given, str) else yaml.safe_dump(given, default_flow_style=True).strip()
        found.append(f"{key}={said.removesuffix('...').strip()}")
    return [mutations.changed_text(rng, word) if rng.random() < 0.4 else word for word in found]


def take(path: Path, typed: list[str] | None = None) -> None:
    """Read a recipe as the commands do; what is read can be written and is the same."""
    changes = {"data.root": "images"} | config.overrides(typed or [], TrainingSettings)
    found = config.parse(config.read(path, changes, TrainingSettings), TrainingSettings)
    assert config.parse(config.dump(found), TrainingSettings) == found


@trials.counts(quick=60, slow=1200)
def test_changed_recipes(count, tmp_path, record_property):
    path = tmp_path / "recipe.yaml"

    def work(number: int) -> None:
        path.write_bytes(recipe(mutations.chance("recipes", number)).encode("utf-8", "surrogatepass"))
        take(path)

    trials.survive("recipes", (partial(work, number) for number in range(count)), record_property)


@trials.counts(quick=80, slow=1500)
def test_changed_words(count, tmp_path, record_property):
    path = tmp_path / "recipe.yaml"

    def work(number: int) -> None:
        rng = mutations.chance("words", number)
        path.write_text(rng.choice(recipes())[0])
        take(path, words(rng))

    trials.survive("words", (partial(work, number) for number in range(count)), record_property)


def test_a_canary_is_not_called(tmp_path):
    canary, path = tmp_path / "canary", tmp_path / "recipe.yaml"
    path.write_text(CALLS.format(path=canary))
    with trials.harmless():
        assert refused(partial(take, path)) is not None
        assert refused(
            partial(config.overrides, [CALLS.format(path=canary).replace(": ", "=", 1)], TrainingSettings)
        )
    assert not canary.exists()


@trials.corpus("recipes")
def test_what_once_failed(path):
    if path.suffix == ".yaml":
        assert refused(partial(take, path)) is not None
        return
    for word in path.read_text().splitlines():
        assert refused(lambda: config.parse(config.overrides([word], TrainingSettings), TrainingSettings))  # noqa: B023
