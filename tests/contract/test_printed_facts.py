"""What commands print for programs, and what they offer to a shell that completes words."""

import json

import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner

from smalti import config, shipped
from smalti.cli.main import group


def said(*words) -> str:
    result = CliRunner().invoke(group, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def facts(*words):
    return json.loads(said(*words, "--json"))


def test_models():
    (one,) = facts("models")
    assert one["name"] == "emoji"
    assert said("models") == f"emoji  {one['about']} ({one['bytes'] / 1e6:.1f} MB)\n"


def test_recipes():
    found = facts("recipes")
    assert list(found) == list(config.recipes())
    lines = said("recipes").splitlines()
    assert [line.split(maxsplit=1) for line in lines] == [[name, what] for name, what in found.items()]


def test_weights():
    found = facts("weights")
    assert list(found) == [line.split(":")[0] for line in said("weights").splitlines() if line[0] != " "]
    assert found["lpips_vgg"]["command"] in said("weights")


def test_a_model():
    found, told = facts("info", "emoji"), said("info", "emoji")
    assert told.startswith(f"{found['path']}: generator {found['fingerprint']}\n")
    assert (found["tokenizer"]["factor"], found["tokenizer"]["codes"]) == (8, 1024)
    assert (
        f"prior: modern, {found['prior']['parameters'] / 1e6:.2f} M parameters, crop 64 x 64 pixels" in told
    )
    assert found["prior"]["sizes"] == [[64, 64]]
    assert found["conditions"] == {"text": {"kind": "text", "names": []}}
    assert found["settings"]["prior"]["layers"] == 5


def test_a_file_of_others(tmp_path):
    import torch
    from safetensors.torch import save_file

    path = tmp_path / "some.safetensors"
    save_file({"weight": torch.zeros(2, 3)}, path)
    result = CliRunner().invoke(group, ["info", str(path), "--json"])
    assert "a model of a known format" in str(result.exception)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("info emo", ["plain,emoji"]),
        ("info runs/pho", ["file,runs/pho"]),
        ("train prior_segmentation_m", ["plain,prior_segmentation_minutes"]),
        ("train tokenizer_hour --data sc", ["plain,scenes"]),
        ("train tokenizer_hour --init-from em", ["plain,emoji"]),
        ("sample emoji images --te", ["plain,--text", "plain,--temperature"]),
        ("complete emoji --mask im", ["file,im"]),
    ],
)
def test_a_shell_is_offered_names_and_files(words, offered):
    *before, last = words.split()
    shell = BashComplete(group, {}, "smalti", "_SMALTI_COMPLETE")
    found = [shell.format_completion(item) for item in shell.get_completions(before, last)]
    assert found == offered


def test_names_that_are_offered_are_all_there_are():
    shell = BashComplete(group, {}, "smalti", "_SMALTI_COMPLETE")
    assert {item.value for item in shell.get_completions(["info"], "")} == set(shipped.models())
