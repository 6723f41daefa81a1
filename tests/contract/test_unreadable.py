"""Images that cannot be read cost a run nothing but themselves."""

from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tiny import TOKENIZER_TRAINING

import smalti
from smalti.data import faults
from smalti.data.folder import Folder, FolderSettings
from smalti.errors import UserError
from smalti.training import log
from smalti.training.tokenizer_task import TokenizerTask

RECIPE = {
    **TOKENIZER_TRAINING,
    "sample_every": 4,
    "validate_every": 4,
    "checkpoint_every": 100,
    "keep": 9,
}


@pytest.fixture
def recipe(tmp_path) -> Path:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(RECIPE))
    return tmp_path / "tiny.yaml"


def paths(photos: Path, split: str) -> list[Path]:
    return Folder(FolderSettings(root=photos, val_share=0.2), split).paths


def damage(path: Path) -> None:
    """The end of the file is gone, its header is sound: no report can see it."""
    path.write_bytes(path.read_bytes()[:-300])


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / "step-00000008" / "tensors.safetensors")


def same(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_skips_them_by_name_and_says_so_once(recipe, photos, tmp_path, capfd, workers):
    bad = [paths(photos, "train")[3], paths(photos, "val")[0]]
    for path in bad:
        damage(path)
    no_header = paths(photos, "train")[0]
    no_header.write_bytes(b"no image")
    out = smalti.train(recipe, data=photos, out=tmp_path / "run", steps=8, workers=workers)
    told = capfd.readouterr()
    assert told.out == ""
    skipped = [line for line in told.err.splitlines() if line.startswith("skipped: expected an image")]
    assert (
        sorted(str(path) in line for path in (*bad, no_header) for line in skipped)
        == [False] * 6 + [True] * 3
    )
    assert f"unreadable: {no_header}" in told.err
    measured = [line["step"] for line in log.read(out / "log.jsonl") if line["kind"] == "validation"]
    assert measured == [4, 8]


def test_a_resumed_run_skips_the_same_ones(recipe, photos, tmp_path):
    for path in paths(photos, "train")[2:6]:
        damage(path)
    smalti.train(recipe, data=photos, out=tmp_path / "whole")
    smalti.train(recipe, data=photos, out=tmp_path / "parts", steps=5)
    smalti.train(recipe, out=tmp_path / "parts", resume=True, steps=8)
    assert same(tmp_path / "whole", tmp_path / "parts")


def test_a_run_without_one_held_out_image_to_look_at(recipe, photos, tmp_path):
    for path in paths(photos, "val"):
        damage(path)
    out = smalti.train(recipe, data=photos, out=tmp_path / "run", steps=4)
    lines = log.read(out / "log.jsonl")
    assert [line["step"] for line in lines if line["kind"] == "train"] == [1, 2, 3, 4]
    assert not [line for line in lines if line["kind"] == "validation"]
    assert len(list((out / "samples").iterdir())) == 1


def test_a_folder_of_nothing_else_is_refused(recipe, photos, tmp_path):
    for path in paths(photos, "train"):
        path.write_bytes(b"no image")
    with pytest.raises(UserError, match="that can be read") as caught:
        smalti.train(recipe, data=photos, out=tmp_path / "run")
    assert str(paths(photos, "train")[0]) in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_run_whose_images_vanish_is_kept_and_goes_on_when_they_are_back(
    recipe, photos, tmp_path, monkeypatch
):
    monkeypatch.setattr(faults, "AWAY", 0.1)
    smalti.train(recipe, data=photos, out=tmp_path / "whole")
    real = TokenizerTask.after_step

    def after_step(self, parts, step):
        if step == 4:
            photos.rename(tmp_path / "away")
        return real(self, parts, step)

    with monkeypatch.context() as patched:
        patched.setattr(TokenizerTask, "after_step", after_step)
        with pytest.raises(UserError, match="images that can be used"):
            smalti.train(recipe, data=photos, out=tmp_path / "parts")
    assert [path.name for path in (tmp_path / "parts" / "checkpoints").iterdir()] == ["step-00000005"]
    (tmp_path / "away").rename(photos)
    smalti.train(recipe, out=tmp_path / "parts", resume=True)
    assert same(tmp_path / "whole", tmp_path / "parts")
