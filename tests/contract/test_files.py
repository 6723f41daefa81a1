"""What is written can be read by whom the umask lets read: another user, a web server."""

import ast
import json
import os
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny import NETWORK, TOKENIZER_TRAINING, generator

import smalti
from smalti.formats import exporting
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings
from smalti.training.precompute import encode

SOURCE = Path(__file__).parents[2] / "src" / "smalti"


@pytest.fixture(params=[0o022, 0o027, 0o002])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.skipif(sys.platform == "win32", reason="files have no such rights")
def test_files_follow_the_umask(umask, tmp_path, photos):
    network = {**NETWORK, "width": 32, "groups": 32, "mid_attention": True, "multipliers": (1, 1)}
    tokenizer = Tokenizer(
        TokenizerSettings(
            network=NetworkSettings(**network), quantizer=VectorQuantizerSettings(codebook_size=8)
        )
    )
    smalti.save(tokenizer, tmp_path / "tokenizer")
    smalti.save(tokenizer, tmp_path / "trained", discriminator={"main.weight": torch.zeros(2, 3)})
    smalti.save(generator(), tmp_path / "model")
    encode(tokenizer, photos, tmp_path / "shards", size=(16, 24))
    for name in ("diffusers", "compvis"):
        exporting.convert(tmp_path / "tokenizer", tmp_path / name, name)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        json.dumps({**TOKENIZER_TRAINING, "steps": 1, "checkpoint_every": 1, "sample_every": 1})
    )
    smalti.train(recipe, data=photos, out=tmp_path / "run")
    smalti.save_all([Image.new("RGB", (3, 2))], tmp_path / "images")
    (tmp_path / "plain").write_text("as open gives it")
    expected = (tmp_path / "plain").stat().st_mode
    assert expected & 0o777 == 0o666 & ~umask
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.parent.parent != photos]
    tensors = sorted({path.name for path in files if path.suffix == ".safetensors"})
    assert len(tensors) >= 6, tensors
    assert {path.suffix for path in files} >= {".safetensors", ".json", ".yaml", ".png", ".jsonl", ".ckpt"}
    others = {str(path): oct(path.stat().st_mode) for path in files if path.stat().st_mode != expected}
    assert not others
    folders = [path for path in (tmp_path / "run").rglob("*") if path.is_dir()]
    assert {path.stat().st_mode & 0o777 for path in folders} == {0o777 & ~umask}


def test_nothing_else_writes_tensors():
    for path in SOURCE.rglob("*.py"):
        names = {
            alias.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom) and node.module == "safetensors.torch"
            for alias in node.names
        }
        assert "save_file" not in names or path.name == "files.py", f"{path}: use files.save_tensors"
