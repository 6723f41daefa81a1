"""Every recipe that ships is a complete page that the settings accept."""

from pathlib import Path

import pytest

from smalti import config
from smalti.conditions import CONDITIONS
from smalti.training.settings import PriorTraining, TokenizerTraining, TrainingSettings

RECIPES = config.recipes()


def test_recipes_are_counted():
    folder = Path(__file__).parents[2] / "src" / "smalti" / "recipes"
    assert len(RECIPES) == len(list(folder.rglob("*.yaml"))) == 54


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_parses_and_says_what_it_is(name):
    made = config.read(name)["data"]["kind"] == "scenes"  # which are made, not read
    mapping = config.read(name, {} if made else {"data.root": "images"}, TrainingSettings)
    if kind := mapping.get("condition", {}).get("kind"):
        classes = [f"class {number}" for number in range(10)]  # otherwise the data's
        mapping["condition"] = CONDITIONS[kind][1].settle(mapping["condition"], classes, "images")
    training = config.parse(mapping, TrainingSettings)
    assert isinstance(training, TokenizerTraining | PriorTraining)
    lines = RECIPES[name].read_text().splitlines()
    assert lines[0].startswith("# ")
    assert any("#   smalti " in line for line in lines[1:5]), "the command that uses it"
    assert max(map(len, lines)) <= 120
