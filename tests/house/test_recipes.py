"""Every recipe that ships is a complete page that the settings accept."""

from pathlib import Path

import pytest

from smalti import config
from smalti.training.settings import PriorTraining, TokenizerTraining, TrainingSettings

RECIPES = config.recipes()


def test_recipes_are_counted():
    folder = Path(__file__).parents[2] / "src" / "smalti" / "recipes"
    assert len(RECIPES) == len(list(folder.rglob("*.yaml"))) == 32


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_parses_and_says_what_it_is(name):
    mapping = config.read(name, {"data.root": "images"})
    if mapping.get("condition", {}).get("kind") in ("label", "boxes", "points"):
        mapping["condition"] = {**mapping["condition"], "classes": 10}  # otherwise the data's
    training = config.parse(mapping, TrainingSettings)
    assert isinstance(training, TokenizerTraining | PriorTraining)
    lines = RECIPES[name].read_text().splitlines()
    assert lines[0].startswith("# ")
    assert any("#   smalti " in line for line in lines[1:5]), "the command that uses it"
    assert max(map(len, lines)) <= 120
