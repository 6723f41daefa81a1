"""Images in parquet and Arrow files, as Hugging Face's datasets write them."""

import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import CODEBOOK, NETWORK

from smalti.data import columnar
from smalti.data.arrow import Arrow, ArrowSettings
from smalti.data.kinds import kind_of
from smalti.data.loader import Loader
from smalti.data.parquet import Parquet, ParquetSettings
from smalti.data.report import inspect
from smalti.data.shards import ShardsSettings, TokenShards
from smalti.data.transforms import CropSettings
from smalti.errors import UserError
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings
from smalti.training.precompute import encode
from smalti.training.train import begin

arrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

NAMES = ["cat", "dog"]


def pixels(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (24, 36, 3), np.uint8)


def png(number: int) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels(number)).save(data, "PNG")
    return data.getvalue()


def rows(first: int, end: int):
    """A table as `datasets` writes it: what columns are stands in the metadata."""
    numbers = range(first, end)
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": NAMES}}
    table = arrow.table(
        {
            "image": [{"bytes": png(number), "path": f"{number}.png"} for number in numbers],
            "label": arrow.array([number % 2 for number in numbers], arrow.int64()),
            "text": [f"thing {number}" for number in numbers],
        }
    )
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


@pytest.fixture
def hub(tmp_path) -> Path:
    """A folder as it comes from the hub: two files to train on, one to test by, four rows a group."""
    for name, first, end in (
        ("train-00000-of-00002", 0, 10),
        ("train-00001-of-00002", 10, 20),
        ("test-00000-of-00001", 20, 25),
    ):
        path = tmp_path / "hub" / "data" / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(rows(first, end), path, row_group_size=4)
    return tmp_path / "hub"


@pytest.fixture
def disk(tmp_path) -> Path:
    """What save_to_disk leaves of two splits."""
    for name, first, end in (("train", 0, 12), ("test", 12, 15)):
        folder = tmp_path / "disk" / name
        folder.mkdir(parents=True)
        with arrow.ipc.new_stream(folder / "data-00000-of-00001.arrow", rows(0, 1).schema) as stream:
            for at in range(first, end, 4):
                stream.write_table(rows(at, min(at + 4, end)))
        (folder / "state.json").write_text(json.dumps({"_indices_files": None}))
    (tmp_path / "disk" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    return tmp_path / "disk"


def test_what_the_hub_has_is_known_by_itself(hub, disk):
    assert (kind_of(hub), kind_of(disk)) == ("parquet", "arrow")
    train, val = (Parquet(ParquetSettings(root=hub), split) for split in ("train", "val"))
    assert (len(train), len(val)) == (20, 5)
    assert train.classes == val.classes == ("cat", "dog")
    assert train.counts() == {"cat": 10, "dog": 10}
    assert train.gives == {"image", "label", "text"}
    for reader, first in ((train, 0), (val, 20)):
        for index, sample in enumerate(reader):
            number = first + index
            assert (sample.label, sample.texts) == (number % 2, (f"thing {number}",))
            assert torch.equal(sample.image, torch.from_numpy(pixels(number)).permute(2, 0, 1))
    assert str(train[13].path) == f"{hub}/data/train-00001-of-00002.parquet: row 3"
    assert list(val.captions()) == [f"thing {number}" for number in range(20, 25)]
    assert list(val.sides()) == [(24, 36)] * 5
    assert "data/train trained on, data/test held out" in inspect(train).text()
    on_disk = [Arrow(ArrowSettings(root=disk), split) for split in ("train", "val")]
    assert [len(reader) for reader in on_disk] == [12, 3]
    assert all(torch.equal(on_disk[0][number].image, train[number].image) for number in range(12))
    assert (on_disk[1][2].texts, on_disk[1][2].label) == (("thing 14",), 0)


def test_rows_are_shuffled_within_windows_of_row_groups(hub, monkeypatch):
    """Each pass shows all; as many groups as are held are open at once, and each is read once a pass."""
    reader = Parquet(ParquetSettings(root=hub), "train")
    size = max(block.size for block in reader._blocks)
    monkeypatch.setattr(columnar, "HELD", 2 * size)
    reader = Parquet(ParquetSettings(root=hub), "train")
    orders = [reader.order(range(20), seed).tolist() for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == list(range(20))
    read: list[int] = []
    whole = Parquet.read

    def counted(self, block, columns):
        read.append(block.number)
        return whole(self, block, columns)

    monkeypatch.setattr(Parquet, "read", counted)
    for row in orders[0]:
        reader[row]
        assert len(reader._cache) <= 2
    assert len(read) == 6, "of ten rows in groups of four, two times"


def batches(reader, start: int, count: int, **more) -> list[torch.Tensor]:
    loader = Loader(reader, size=(8, 12), crop=CropSettings(), batch=4, seed=3, **more).batches(start)
    return [next(loader).images for _ in range(count)]


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_batches_from_step_n_are_those_without_a_break(kind, hub, disk):
    def opened():
        if kind == "parquet":
            return Parquet(ParquetSettings(root=hub), "train")
        return Arrow(ArrowSettings(root=disk), "train")

    whole = batches(opened(), 0, 9)
    assert all(map(torch.equal, batches(opened(), 4, 5), whole[4:]))
    assert all(map(torch.equal, batches(opened(), 0, 4, workers=1), whole))
    shares = [batches(opened(), 0, 4, share=(rank, 2)) for rank in range(2)]
    assert all(
        torch.equal(torch.cat(pair), one) for pair, one in zip(zip(*shares, strict=True), whole, strict=False)
    )
    reader = opened()
    reader[0]
    assert torch.equal(pickle.loads(pickle.dumps(reader))[3].image, reader[3].image)


def test_a_share_is_held_out_of_files_that_are_no_splits(hub):
    (hub / "data" / "test-00000-of-00001.parquet").unlink()
    train, val = (Parquet(ParquetSettings(root=hub, val_share=0.3), split) for split in ("train", "val"))
    assert (len(train), len(val)) == (15, 5)
    assert not {*train.rows} & {*val.rows}
    assert train.summary().fingerprint() != val.summary().fingerprint()


@pytest.mark.parametrize("labels", [["b", "a", None, "b"], [3, 0, 1, 1]])
def test_columns_without_words_on_them(labels, tmp_path):
    """Bytes alone; classes as words or as numbers; what has no class is refused when its turn comes."""
    table = arrow.table({"picture": [png(at) for at in range(4)], "label": labels})
    parquet.write_table(table, tmp_path / "a.parquet")
    reader = Parquet(ParquetSettings(root=tmp_path / "a.parquet", val_share=0.0), "train")
    assert reader.classes == (("a", "b") if None in labels else ("0", "1", "2", "3"))
    assert reader[0].label == (1 if None in labels else 3)
    if None in labels:
        with pytest.raises(UserError, match=r"a class of each image, got none of .*a\.parquet: row 2"):
            reader[2]
    named = Parquet(ParquetSettings(root=tmp_path, val_share=0.0, image="picture", classes="none"), "train")
    assert named[2].label is None
    with pytest.raises(
        UserError, match=r"a column of labels in .*got picture \(binary\), .*data\.label=COLUMN"
    ):
        Parquet(ParquetSettings(root=tmp_path, label="klass"), "train")


def test_what_is_no_such_file_is_one_line(hub, disk, tmp_path, monkeypatch):
    path = hub / "data" / "train-00001-of-00002.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"a whole parquet file, got .*00001-of-00002\.parquet \("):
        Parquet(ParquetSettings(root=hub), "train")
    with pytest.raises(UserError, match=r"a \.arrow file, or a folder of such"):
        Arrow(ArrowSettings(root=hub), "train")
    (disk / "test" / "state.json").write_text(json.dumps({"_indices_files": [{"filename": "indices.arrow"}]}))
    with pytest.raises(UserError, match=r"got .*test, with indices; dataset\.flatten_indices\(\)"):
        Arrow(ArrowSettings(root=disk), "train")
    (disk / "test" / "state.json").unlink()
    file = disk / "train" / "data-00000-of-00001.arrow"
    file.write_bytes(b"\x10" * 99)
    with pytest.raises(UserError, match="a whole Arrow file"):
        Arrow(ArrowSettings(root=disk), "train")
    parquet.write_table(arrow.table({"a": [1]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a column of images in .*got a \(int64\)"):
        Parquet(ParquetSettings(root=tmp_path / "a.parquet"), "train")
    parquet.write_table(arrow.table({"image": [b"none", png(1), None]}), tmp_path / "a.parquet")
    reader = Parquet(ParquetSettings(root=tmp_path / "a.parquet", val_share=0.0), "train")
    for row, why in ((0, "no format that Pillow knows"), (2, "no bytes of an image")):
        with pytest.raises(UserError, match=rf"a\.parquet: row {row} \({why}"):
            reader[row]
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"smalti\[parquet\]"):
        Parquet(ParquetSettings(root=hub), "train")


def test_a_run_finds_kind_and_splits_and_its_images_become_codes(hub, disk, tmp_path):
    begun = begin("tokenizer_300", hub, {})
    assert (begun.training.data.kind, begun.training.data.splits.val) == ("parquet", ("data/test",))
    assert begun.training.data.val_share == 0.05
    assert begin("tokenizer_300", disk, {}).training.data.splits.train == ("train",)
    tokenizer = TokenizerSettings(network=NetworkSettings(**NETWORK, multipliers=(1, 2)), quantizer=CODEBOOK)
    encode(Tokenizer(tokenizer), hub, tmp_path / "tokens", size=8, batch=3)
    train, val = (TokenShards(ShardsSettings(root=tmp_path / "tokens"), split) for split in ("train", "val"))
    assert [len(reader) for reader in (train, val)] == [20, 5]
    assert train.classes == ("cat", "dog")
    assert list(val.captions()) == [f"thing {number}" for number in range(20, 25)]
    with pytest.raises(UserError, match="data of kind parquet without --captions"):
        encode(Tokenizer(tokenizer), hub, tmp_path / "others", size=8, captions="names")
