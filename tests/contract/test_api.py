"""docs/api.md is true: each of its sections runs from top to bottom, on models of its paths."""

import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny import generator, of_images

import smalti
from smalti import imaging
from smalti.conditions.computed.edges import EdgesSettings
from smalti.conditions.computed.low_resolution import LowResolutionSettings

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
SECTIONS = {part.partition("\n")[0]: part for part in PAGE.split("\n## ")[1:]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The models and files that the page names."""
    root = tmp_path_factory.mktemp("api")
    model = generator()
    smalti.save(model, root / "runs/photos-prior")
    smalti.save(model.tokenizer, root / "runs/photos-tokenizer")
    smalti.save(of_images(EdgesSettings(sigma=1.0)), root / "runs/edges-prior")
    smalti.save(of_images(LowResolutionSettings(factor=4)), root / "runs/upscale-prior")
    noise = torch.randint(256, (3, 16, 24), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    imaging.save_png(root / "photo.png", noise)
    imaging.save_png(root / "crop.png", noise[:, :8, :8])
    mask = Image.new("L", (24, 16))
    mask.paste(255, (3, 4, 12, 10))
    mask.save(root / "mask.png")
    return root


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_runs(section, folder, monkeypatch):
    monkeypatch.chdir(folder)
    blocks = re.findall(r"```python\n(.*?)```", SECTIONS[section], re.S)
    assert blocks
    tok = smalti.Tokenizer.from_pretrained("runs/photos-tokenizer")
    names = {"smalti": smalti, "tok": tok, "pipe": smalti.load("runs/photos-prior")}
    for block in blocks:
        exec(compile(block, f"docs/api.md: {section}", "exec"), names)
