"""Token shards and model folders of ours that are damaged or hostile: read, or refused in one line."""

import json
import shutil
import struct
from functools import partial
from pathlib import Path
from random import Random

import mutations
import pytest
import torch
import trials
from tiny import generator
from trials import refused

import smalti
from smalti import library
from smalti.conditions.box_tokens import Object, Scene
from smalti.conditions.coordinates import Part
from smalti.conditions.pose import Joint, Pose
from smalti.data.captions import captions_of
from smalti.data.protocol import Sample
from smalti.data.shards import ShardMetadata, ShardsSettings, ShardWriter, TokenShards
from smalti.files import read_json
from smalti.formats import importing
from smalti.training import checkpoints

Files = dict[str, bytes]
METADATA = ShardMetadata(
    tokenizer="0123456789abcdef",
    codebook_size=12,
    factor=2,
    classes=("a", "b"),
    holds=("label", "part", "scene", "pose", "text"),
    joints=("nose", "tail"),
    conditions={"map depth": {"vocabulary": 12, "tokens": 4}},
    made={"images": "x"},
)


def files_of(folder: Path) -> Files:
    """All files below a folder by their names."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def put(files: Files, folder: Path) -> None:
    """Write them."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def tensors_changed(rng: Random, given: bytes) -> bytes:
    """A safetensors file of which the bytes or the header say something else."""
    if rng.random() < 0.5:
        return mutations.changed_bytes(rng, given)
    length = int.from_bytes(given[:8], "little")
    text = mutations.as_json(rng, json.loads(given[8 : 8 + length]))
    return struct.pack("<Q", len(text)) + text + given[8 + length :]


def changed(rng: Random, files: Files) -> Files:
    """The files with one of them changed, or gone."""
    name = rng.choice(list(files))
    if rng.random() < 0.02:
        return {other: data for other, data in files.items() if other != name}
    if name.endswith(".json"):
        return {**files, name: mutations.as_json(rng, json.loads(files[name]))}
    if name.endswith(".safetensors"):
        return {**files, name: tensors_changed(rng, files[name])}
    return {**files, name: mutations.changed_bytes(rng, files[name])}


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Files:
    """Shards with everything that shards can hold."""
    folder = tmp_path_factory.mktemp("shards") / "tokens"
    with ShardWriter(folder, METADATA) as writer:
        for split, count in (("train", 3), ("val", 2)):
            writer.add(split, [_sample(number) for number in range(count)])
        writer.close()
    return files_of(folder)


def _sample(number: int) -> Sample:
    figure = (Joint(0.5, 0.25, 2), Joint(0.1, 0.2, 1))
    return Sample(
        codes=torch.arange(6).view(2, 3) + number,
        precomputed={"map depth": torch.arange(4)},
        label=number % 2,
        part=Part(0, 2, 4, 6),
        scene=Scene((Object(number, 0.0, 0.0, 0.5, 1.0),) * number),
        pose=Pose(("nose", "tail"), (figure,) * number),
        texts=("a tree", "a häuschen"),
    )


def take_shards(folder: Path) -> None:
    """Read shards as a training does, each row; go on writing them."""
    for split in ("train", "val"):
        refused(partial(_rows, folder, split))
    refused(partial(_resumed, folder))


def _rows(folder: Path, split: str) -> None:
    reader = TokenShards(ShardsSettings(root=folder), split)
    refused(partial(reader.check, "0123456789abcdef"))
    reader.summary()
    reader.most_objects()
    list(reader.sides())
    for index in range(len(reader)):
        refused(partial(reader.__getitem__, index))


def _resumed(folder: Path) -> None:
    ShardWriter(folder, METADATA, resume=True)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> list[Files]:
    """Model folders: a tokenizer and a generator."""
    root, model = tmp_path_factory.mktemp("models"), generator()
    library.save(model, root / "generator")
    library.save(model.tokenizer, root / "tokenizer")
    return [files_of(root / "generator"), files_of(root / "tokenizer")]


def take_model(folder: Path) -> None:
    """Load a model folder in every way, and draw with what comes."""
    refused(partial(library.outline, folder))
    refused(partial(library.trained_sizes, folder))
    model = smalti.load(folder)
    if isinstance(model, smalti.Pipeline):
        model.sample(1, label=0)
    else:
        sides = 8 * model.factor, 12 * model.factor
        model.reconstruct(torch.zeros(1, model.settings.network.in_channels, *sides))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Files:
    """A checkpoint of a run of ours, as the run's own code writes it."""
    folder = tmp_path_factory.mktemp("run")
    named = {"network/autoencoder/a": torch.arange(6.0).view(2, 3), "ema/a": torch.zeros(3)}
    numbers = {"since": ["loss/total"], "seconds": 1.5, "best": None}
    checkpoints.write(folder, checkpoints.Checkpoint(step=7, tensors=named, numbers=numbers), keep=2)
    return files_of(folder)


def take_run(folder: Path) -> None:
    """Read the newest checkpoint."""
    newest = checkpoints.latest(folder)
    if newest is not None:
        found = checkpoints.read(newest)
        assert all(isinstance(one, torch.Tensor) for one in found.tensors.values())


@trials.counts(quick=100, slow=1500)
def test_changed_shards(count, shards, tmp_path, record_property):
    _survive("shards", count, [shards], take_shards, tmp_path, record_property)


@trials.counts(quick=20, slow=400)
def test_changed_models(count, models, tmp_path, record_property):
    _survive("models", count, models, take_model, tmp_path, record_property)


@trials.counts(quick=60, slow=1000)
def test_changed_checkpoints(count, run, tmp_path, record_property):
    _survive("checkpoints", count, [run], take_run, tmp_path, record_property)


def _survive(subject, count, sound, take, tmp_path, record_property) -> None:
    folder = tmp_path / "folder"

    def work(number: int) -> None:
        rng = mutations.chance(subject, number)
        put(changed(rng, rng.choice(sound)), folder)
        try:
            take(folder)
        finally:
            shutil.rmtree(folder)

    trials.survive(subject, (partial(work, number) for number in range(count)), record_property)


@trials.corpus("index")
def test_what_once_failed(path, shards, tmp_path):
    """An index, beside sound rows."""
    put({**shards, "index.json": path.read_bytes()}, tmp_path)
    assert refused(lambda: TokenShards(ShardsSettings(root=tmp_path), "train")[2]) is not None
    take_shards(tmp_path)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"format": ' + "9" * 5000 + "}", "\ud800", ""])
def test_json_that_python_itself_gives_up_on(text, shards, models, tmp_path):
    data = text.encode("utf-8", "surrogatepass")
    put({**shards, "index.json": data}, tmp_path / "shards")
    put({**models[0], "config.json": data}, tmp_path / "model")
    put({"config.json": data, "a.safetensors": models[0]["model.safetensors"]}, tmp_path / "theirs")
    put({"captions.jsonl": data}, tmp_path)
    (tmp_path / "box.json").write_bytes(data)
    for work in (
        partial(TokenShards, ShardsSettings(root=tmp_path / "shards"), "train"),
        partial(smalti.load, tmp_path / "model"),
        partial(importing.describe, tmp_path / "theirs"),
        partial(read_json, tmp_path / "box.json", list, "boxes", "write some"),
        partial(captions_of, "captions.jsonl", tmp_path, [tmp_path / "a.png"]),
    ):
        assert refused(work) is not None


def test_all_of_it_is_sound_unchanged(shards, models, run, tmp_path):
    put(shards, tmp_path / "shards")
    for split, count in (("train", 3), ("val", 2)):
        reader = TokenShards(ShardsSettings(root=tmp_path / "shards"), split)
        assert [reader[row].label for row in range(count)] == [row % 2 for row in range(count)]
        assert len(reader[count - 1].scene.objects) == count - 1
    for number, files in enumerate(models):
        put(files, tmp_path / f"model {number}")
        take_model(tmp_path / f"model {number}")
    put(run, tmp_path / "run")
    take_run(tmp_path / "run")
