"""data.range and data.bands from training to every later use: they belong to the model."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
import yaml
from PIL import Image
from test_before_the_first_step import TINY as WITH_DISCRIMINATOR
from test_before_the_first_step import WITHOUT_DISCRIMINATOR
from tiny import once

import smalti
from smalti import imaging, library
from smalti.tokenizer import Tokenizer

TINY = once(
    *WITH_DISCRIMINATOR,
    *WITHOUT_DISCRIMINATOR,
    "steps=1",
    "quantize_start=0",
    "data.val_share=0.0",
    "size=[16,24]",
)
GRAY = ("network.in_channels=1", "network.out_channels=1", "--data", "files")
PRIOR = ("train", "prior_300", "batch=2", "steps=1", "size=[16,24]", "prior.layers=1", "prior.heads=2")
PRIOR += ("prior.width=16", "condition={kind: none}", "data.val_share=0.0", "--data", "files")
BY_NUMBER = np.arange(16 * 24).reshape(16, 24)


@pytest.fixture
def files(home) -> Path:
    """Two files of gray in 12 bits, oblong; the second one is the first upside down."""
    (home / "files").mkdir()
    for number, values in enumerate((BY_NUMBER * 10, BY_NUMBER[::-1] * 10)):
        tifffile.imwrite(home / "files" / f"{number}.tif", values.astype(np.uint16), photometric="minisblack")
    return home / "files"


def test_3_a_range_goes_from_training_to_every_use(files, smalti_command, monkeypatch):
    words = (*TINY, *GRAY, "--out", "tok", "data.range={percentiles: [0, 50]}")
    status, _, said = smalti_command(*words)
    assert status == 0, said
    kept = yaml.safe_load(Path("tok/settings.yaml").read_text())["data"]
    assert (kept["range"], kept["bands"]) == ([0, 1915], "gray")
    assert "50.0% outside data.range 0 to 1915" in said
    status, _, said = smalti_command(*words, "--resume")  # the very command goes on, with the same numbers
    assert status == 0, said
    status, _, said = smalti_command(*words[:-1], "data.range=[0,9]", "--resume")
    assert status == 2
    assert "expected data.range=[0.0, 1915.0], with which the run was begun" in said
    assert smalti_command(*words[:-1], "data.range.percentiles=[0,50]", "--resume")[0] == 0
    status, _, said = smalti_command(*words[:-1], "data.range={percentiles: [5, 50]}", "--resume")
    assert (status, len(said.splitlines())) == (2, 1)
    assert "data.range=[0.0, 1915.0] by percentiles [0.0, 50.0], with which the run was begun" in said
    assert "range" in smalti_command("info", "tok")[1]

    expected = torch.from_numpy((BY_NUMBER * 10 / 1915).clip(0, 1) * 2 - 1)[None, None]
    model = smalti.load("tok")
    assert (model.images("files/0.tif") - expected).abs().max() < 1e-6
    assert (model.images(Image.open("files/0.tif")) - expected).abs().max() < 1e-6

    seen = []
    encode = Tokenizer.encode
    monkeypatch.setattr(
        Tokenizer, "encode", lambda self, given, **how: seen.append(given) or encode(self, given, **how)
    )
    monkeypatch.setattr(Tokenizer, "reconstruct", lambda self, given, **how: seen.append(given) or given)
    status, _, said = smalti_command("reconstruct", "tok", "files", "again")
    assert status == 0, said
    assert (seen.pop(0) - expected).abs().max() < 1e-6
    seen.clear()
    with Image.open("again/00000-0.png") as written:  # in 16 bits, what is above the range is cut
        assert written.mode == "I;16"
        assert np.asarray(written).tolist() == (BY_NUMBER * 10).clip(0, 1915).tolist()
    assert imaging.read_metadata("again/00000-0.png")["range"] == [0, 1915]

    status, _, said = smalti_command(
        "encode", "tok", "files", "shards", "--size", "16x24", "--val-share", "0"
    )
    assert status == 0, said
    assert {(one.min().item(), one.max().item()) for one in seen} == {(-1.0, 1.0)}  # as 8 bits -1 to -0.88

    status, _, said = smalti_command(*PRIOR, "tokenizer=tok", "--out", "prior")
    assert status == 0, said
    assert yaml.safe_load(Path("prior/settings.yaml").read_text())["data"]["range"] == [0, 1915]
    assert "train one with these settings" not in said
    status, _, said = smalti_command(*PRIOR, "tokenizer=tok", "--out", "new", "data.range=[0,4095]")
    assert (status, len(said.splitlines()), Path("new").exists()) == (2, 1, False)
    assert "leave data.range out: it is the tokenizer's" in said
    said = smalti_command(*PRIOR, "tokenizer=absent", "--out", "new", "data.range=[0,4095]")[2]
    assert "expected a trained tokenizer for the prior, got absent, which does not exist" in said
    seen.clear()
    status, _, said = smalti_command("complete", "prior", "files/0.tif", "whole", "--num", 2)
    assert status == 0, said
    assert (seen[0] - expected).abs().max() < 1e-6
    for number in range(2):
        assert imaging.read_header(f"whole/{number:05}.png").mode == "I;16"
        metadata = imaging.read_metadata(f"whole/{number:05}.png")
        assert (metadata["range"], metadata["seed"]) == ([0, 1915], number)


@pytest.mark.parametrize("many", [1, 5])
def test_3_any_number_of_channels_trains_from_a_folder(home, smalti_command, many):
    (home / "files").mkdir()
    for number in range(2):
        bands = np.dstack([BY_NUMBER % 199 + band for band in range(5)]).astype(np.uint8)
        values = bands[..., :3] if many == 1 else bands
        how = {"photometric": "rgb", "extrasamples": [0, 0]} if many == 5 else {"photometric": "rgb"}
        tifffile.imwrite(f"files/{number}.tif", values, **how)
    words = (*TINY, f"network.in_channels={many}", f"network.out_channels={many}", "--data", "files")
    status, _, said = smalti_command(*words, "--out", "tok", "sample_every=1")
    assert status == 0, said
    model = smalti.load("tok")
    assert model.channels == many
    found = (model.images("files/0.tif")[0, :, 0, 100 % 24] + 1) * 127.5
    assert [round(level) for level in found.tolist()] == ([5] if many == 1 else [4, 5, 6, 7, 8])
    sheets = list(Path("tok/samples").glob("*.png"))
    assert len(sheets) == 1
    status, _, said = smalti_command("reconstruct", "tok", "files", "again")
    assert status == 0, said
    (name,) = {path.name for path in Path("again").iterdir() if path.name.startswith("00000")}
    written = tifffile.imread(f"again/{name}") if many == 5 else np.asarray(Image.open(f"again/{name}"))
    assert written.shape == ((16, 24, 5) if many == 5 else (16, 24))
    status, _, said = smalti_command(*once(*words, "--out", "new", "losses.perceptual.weight=1.0"))
    if many == 5:
        assert (status, len(said.splitlines()), Path("new").exists()) == (2, 1, False)
        assert "losses.perceptual.weight=0.0" in said


def test_3_images_beside_maps_have_percentiles_too(files, smalti_command):
    """A tokenizer of maps keeps no range, but the images that lie beside them are opened all the same."""
    Path("maps").mkdir()
    for number in range(2):
        Image.new("L", (24, 16), number).save(f"maps/{number}.png")
    words = (*TINY, *GRAY, "content=map", "data.kind=pairs", "data.content=depth", "data.maps=maps")
    status, _, said = smalti_command(*words, "data.range={percentiles: [0, 50]}", "--out", "tok")
    assert status == 0, said
    assert yaml.safe_load(Path("tok/settings.yaml").read_text())["data"]["range"] == [0, 1915]
    assert smalti.load("tok").settings.pixels is None


def test_3_the_fingerprint_tells_ranges_apart(files, smalti_command):
    """Codes of one reading are no codes of another."""
    made = set()
    for number, words in enumerate(((), ("data.range=[0,4095]",))):
        status, _, said = smalti_command(*TINY, *GRAY, *words, "--out", f"tok{number}")
        assert status == 0, said
        made.add(json.loads((library.find(Path(f"tok{number}")) / "config.json").read_text())["fingerprint"])
    assert len(made) == 2


def test_3_a_prior_on_a_tokenizer_without_a_range_is_warned_too(files, smalti_command):
    status, _, said = smalti_command(*TINY, *GRAY, "--out", "tok")
    assert status == 0, said
    status, _, said = smalti_command(*PRIOR, "tokenizer=tok", "--out", "prior")
    assert status == 0, said
    assert "less than a tenth of the range is used" in said
    assert "a prior's images are read as its tokenizer reads them: train one with these settings" in said
