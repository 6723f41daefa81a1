"""Damaged and hostile checkpoints of others: imported, or refused in one line; nothing in them runs."""

import io
import json
import pickle
import re
import shutil
import struct
import warnings
import zipfile
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any

import msgpack
import mutations
import numpy as np
import pytest
import torch
import trials
import yaml
from safetensors.torch import save
from tiny import CODEBOOK
from trials import refused

from smalti.conditions.label import LabelSettings
from smalti.formats import exporting, importing, unpickle
from smalti.library import save as save_model
from smalti.pipeline import Pipeline, PipelineSettings
from smalti.priors.gpt import GPTSettings
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings
from smalti.weights.reading import read_arrays, read_tensors

_PACKED = {"encoder": {"conv_in": {"kernel": (1, 1, 3, 4), "bias": (4,)}}, "step": ()}
_BIG = (2**31, 2**40, 2**62, 2**63 - 1)


class Canary:
    """Pickles as a call that makes a file, which is all that it does."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def tensors() -> dict[str, torch.Tensor]:
    """Tensors of several kinds, some of one storage."""
    whole = torch.arange(24.0)
    kinds = {kind: torch.arange(3).to(kind) for kind in (torch.half, torch.bfloat16, torch.int64, torch.bool)}
    named = {"model.decoder.conv_out.weight": whole.view(2, 3, 2, 2), "model.part": whole[3:7]}
    return named | {f"model.{str(kind).rpartition('.')[2]}": value for kind, value in kinds.items()}


@cache
def files() -> dict[str, bytes]:
    """Files of one kind each, by their names; small, so that changes meet what is read."""
    found = {"zip.ckpt": _saved(tensors(), True)}
    of_one = {name: one for name, one in tensors().items() if one.dtype == torch.float32}
    key = rb"X.\0\0\0\d{9,}"  # of a storage: its address, another one in each process
    found["legacy.ckpt"] = re.sub(
        key, lambda found: b"X\1\0\0\0" + b"0", _saved(of_one, False), flags=re.DOTALL
    )
    arrays = {"params": {"conv": {"w": np.arange(6.0).reshape(2, 3), "b": np.zeros(2, np.int32)}}}
    for version in (0, 2, 4):
        found[f"pickle{version}.pt"] = pickle.dumps(arrays, version)
    found["some.safetensors"] = save({name: one.clone() for name, one in tensors().items()})
    found["flax_model.msgpack"] = msgpack.packb(_packed(_PACKED))
    return found


def _saved(named: dict[str, torch.Tensor], zipped: bool) -> bytes:
    data = io.BytesIO()
    contents = {"state_dict": named, "epoch": 3, "optimizer": [{"lr": 0.5, "betas": (0.9, 0.99)}]}
    torch.save(contents, data, _use_new_zipfile_serialization=zipped)
    return data.getvalue()


def _packed(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: _packed(one) for name, one in tree.items()}
    array = np.ones(tree, np.float32)
    return msgpack.ExtType(1, msgpack.packb((array.shape, "float32", array.tobytes())))


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, dict[str, bytes]]:
    """Whole models in others' formats: the files of a folder by their names."""
    root, found = tmp_path_factory.mktemp("models"), {}
    network = NetworkSettings(
        width=32, multipliers=(1, 1), blocks=1, attention_levels=(), latent_channels=4, code_dim=4
    )
    tokenizer = Tokenizer(TokenizerSettings(network=network, quantizer=CODEBOOK))
    prior = GPTSettings(layers=1, heads=2, width=8)
    model = Pipeline(
        PipelineSettings(prior=prior, condition=LabelSettings(classes=3), grid=(2, 3)), tokenizer
    ).eval()
    save_model(model, root / "generator")
    save_model(model.tokenizer, root / "tokenizer")
    for kind, name in (("generator", "compvis"), ("tokenizer", "compvis"), ("tokenizer", "diffusers")):
        out = root / f"{kind} as {name}"
        exporting.convert(root / kind, out, name)
        paths = [path for path in out.rglob("*") if path.is_file()]
        found[out.name] = {str(path.relative_to(out)): path.read_bytes() for path in paths}
    return found


def program(rng: Random) -> bytes:
    """A pickle of any instructions."""
    words = (
        lambda rng: rng.choice(
            (b"(", b"t", b"l", b"d", b"]", b"}", b")", b"0", b"1", b"2", b"N", b"\x88", b"\x8f")
        ),
        lambda rng: rng.choice(
            (b"a", b"e", b"s", b"u", b"R", b"b", b"\x81", b"\x92", b"\x93", b"\x94", b"Q", b"o")
        ),
        lambda rng: b"K" + bytes([rng.randrange(4)]),
        lambda rng: b"\x8a\x08" + rng.choice(_BIG).to_bytes(8, "little"),
        lambda rng: b"h" + bytes([rng.randrange(4)]),
        lambda rng: b"q" + bytes([rng.randrange(4)]),
        lambda rng: b"c" + rng.choice(NAMES) + b"\n",
        lambda rng: b"\x8c" + bytes([3]) + rng.choice((b"cpu", b"f4\x00", b"abc", b"<f4")),
        lambda rng: b"\x85",
        lambda rng: b"\x87",
        lambda rng: b"C\x04\x00\x00\x80?",
    )
    return b"\x80\x02" + mutations.soup(rng, words, 60) + b"."


NAMES = (
    *(
        b"pathlib\nPath.touch",
        b"builtins\nexec",
        b"posix\nsystem",
        b"collections\nOrderedDict",
        b"builtins\nset",
    ),
    *(b"torch._utils\n_rebuild_tensor_v2", b"torch\nFloatStorage", b"torch._utils\n_rebuild_parameter"),
    *(
        b"numpy.core.multiarray\n_reconstruct",
        b"numpy\ndtype",
        b"numpy.core.multiarray\nscalar",
        b"numpy\nndarray",
    ),
    *(b"torch\nSize", b"_codecs\nencode", b"collections\ndefaultdict", b"builtins\nlist", b"builtins\ndict"),
)


def zipped(program: bytes) -> bytes:
    """A checkpoint with a pickle of our own and one storage."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("a/data.pkl", program)
        archive.writestr("a/data/0", bytes(32))
    return data.getvalue()


def safetensors(rng: Random) -> bytes:
    """A header that says other things than the bytes behind it."""
    given = files()["some.safetensors"]
    length = int.from_bytes(given[:8], "little")
    text = mutations.as_json(rng, json.loads(given[8 : 8 + length]))
    return struct.pack("<Q", len(text)) + text + given[8 + length :]


def flax(rng: Random) -> bytes:
    """A tree of which a part is something else."""
    shape = mutations.changed_value(rng, [[2, 3], "float32", "data"])
    odd = msgpack.ExtType(rng.choice((0, 1, 2, 3, 99)), _pack(shape))
    return _pack(mutations.changed_value(rng, {"a": {"kernel": None, "b": [1]}, "c": {"d": {}}}), odd)


def _pack(value: Any, odd: Any = b"\x00" * 24) -> bytes:
    def plain(one: Any) -> Any:
        if isinstance(one, dict):
            return {str(key): plain(below) for key, below in one.items()}
        if isinstance(one, list):
            return [plain(below) for below in one]
        if one is None or one == "data":
            return odd
        return one if not isinstance(one, int) or abs(one) < 2**63 else float(one)

    return msgpack.packb(plain(value), unicode_errors="surrogatepass")


def one_file(rng: Random, folder: Path) -> Path:
    """A file whose bytes were changed, or that was made of nothing but nonsense."""
    known = files()
    name = rng.choice(list(known))
    data = mutations.changed_bytes(rng, known[name], list(known.values()))
    made = {"program.ckpt": program, "zipped.ckpt": lambda rng: zipped(program(rng))}
    made |= {"other.safetensors": safetensors, "flax_model.msgpack": flax}
    if rng.random() < 0.5:
        name = rng.choice(list(made))
        data = made[name](rng)
    path = folder / name
    path.write_bytes(data)
    return path


def one_folder(rng: Random, folder: Path, models: dict[str, dict[str, bytes]]) -> Path:
    """A model of which the settings or the weights were changed."""
    kept = dict(models[rng.choice(list(models))])
    name = rng.choice(list(kept))
    if name.endswith(".json"):
        kept[name] = mutations.as_json(rng, json.loads(kept[name]))
    elif name.endswith(".yaml") and rng.random() < 0.8:
        changed = mutations.changed_value(rng, yaml.safe_load(kept[name]))
        kept[name] = yaml.safe_dump(changed).encode("utf-8", "surrogatepass")
    else:
        kept[name] = mutations.changed_bytes(rng, kept[name])
    for name, data in kept.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def take(path: Path, out: Path) -> None:
    """Read a file or a folder in every way in which the house reads one; its tensors can be used."""
    refused(partial(importing.describe, path))
    refused(partial(importing.convert, path, out))
    shutil.rmtree(out, ignore_errors=True)
    if path.is_file():
        refused(partial(_use, unpickle.read, path))
        refused(partial(_use, read_tensors, path, "somebody"))
        refused(partial(_use, read_arrays, path, "somebody"))


def _use(read: Any, *arguments: Any) -> None:
    for value in read(*arguments).values():
        if isinstance(value, torch.Tensor):
            value.sum()


@trials.counts(quick=200, slow=4000)
def test_damaged_files(count, tmp_path, record_property):
    def work(number: int) -> None:
        folder = tmp_path / "in"
        folder.mkdir()
        try:
            take(one_file(mutations.chance("files", number), folder), tmp_path / "out")
        finally:
            shutil.rmtree(folder)

    trials.survive("files of weights", (partial(work, number) for number in range(count)), record_property)


@trials.counts(quick=25, slow=600)
def test_damaged_folders(count, models, tmp_path, record_property):
    def work(number: int) -> None:
        folder = tmp_path / "in"
        folder.mkdir()
        try:
            take(one_folder(mutations.chance("folders", number), folder, models), tmp_path / "out")
        finally:
            shutil.rmtree(folder)

    trials.survive("folders of others", (partial(work, number) for number in range(count)), record_property)


def test_the_sound_ones_are_read(tmp_path):
    for name, data in files().items():
        (tmp_path / name).write_bytes(data)
        if name.endswith(("ckpt", "pt")) and name != "pickle0.pt":  # older than torch
            assert unpickle.read(tmp_path / name)
    found = unpickle.read(tmp_path / "legacy.ckpt")["state_dict"]
    assert torch.equal(found["model.part"], torch.arange(3.0, 7.0))


@trials.corpus("files")
def test_what_once_failed(path, tmp_path):
    with warnings.catch_warnings(action="ignore"), trials.harmless():
        take(path, tmp_path / "out")


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle", "in tensors"])
def test_a_canary_is_not_called(kind, tmp_path):
    canary = tmp_path / "canary"
    held = {"state_dict": {**tensors(), "model.x": Canary(canary)}, Canary(canary): 1}
    path = tmp_path / "a.ckpt"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(held))
    else:
        torch.save(held, path, _use_new_zipfile_serialization=kind != "legacy")
    with warnings.catch_warnings(action="ignore"), trials.harmless():
        take(path, tmp_path / "out")
    assert not canary.exists()
    pickle.loads(pickle.dumps(Canary(canary)))  # the house's own: it would have been seen
    assert canary.exists()
