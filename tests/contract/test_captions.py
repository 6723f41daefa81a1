"""Captions: from names, side-car files and tables, through readers, batches and shards."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from smalti.data.folder import Folder, FolderSettings
from smalti.data.loader import Loader, in_order, mix
from smalti.data.pairs import Pairs, PairsSettings
from smalti.data.protocol import Sample
from smalti.data.shards import ShardMetadata, ShardsSettings, ShardWriter, TokenShards
from smalti.data.transforms import CropSettings
from smalti.errors import UserError

NAMES = ("red_car-001", "red_car-002", "green.tree", "small blue house 7", "007", "two words")


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    (folder / "deep").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        pixels = np.full((12, 18, 3), 40 * number, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / ("deep" if number == 2 else ".") / f"{name}.png")
    return folder


def texts(root, how, split="train", **more):
    reader = Folder(FolderSettings(root=root, captions=how, val_share=0.0, **more), split)
    assert "text" in reader.gives
    found = {path.stem: reader[index].texts for index, path in enumerate(reader.paths)}
    assert [*reader.captions()] == [text for one in found.values() for text in one]
    return found


def write(images, rows, header="file,caption", name="captions.csv"):
    (images / name).write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return name


def full(**changes):
    """A row for each image."""
    place = {"green.tree": "deep/green.tree"}
    return [f"{place.get(name, name)}.png,{changes.get(name, 'a ' + name)}" for name in NAMES]


def test_names_of_files(images):
    found = texts(images, "names")
    assert found["red_car-001"] == found["red_car-002"] == ("red car",)
    assert found["green.tree"] == ("green tree",)
    assert found["small blue house 7"] == ("small blue house",)
    assert found["007"] == ("007",)


def test_files_beside_the_images(images):
    for path in images.rglob("*.png"):
        path.with_suffix(".txt").write_text(f"\n {path.stem}  twice\nÅland, naïve\n\n", encoding="utf-8")
    found = texts(images, "sidecar")
    assert found["two words"] == ("two words twice", "Åland, naïve")


def test_a_table_with_splits_and_classes(images):
    rows = [
        f"{row},{'val' if 'tree' in row or '007' in row else 'train'},{'xy'['car' in row]}" for row in full()
    ]
    rows += ['red_car-001.png,"another, of it",train,y', "gone.png,not there,train,x"]
    name = write(images, rows, "file,caption,split,group")
    assert set(texts(images, name)) == {*NAMES} - {"green.tree", "007"}
    assert texts(images, name)["red_car-001"] == ("a red_car-001", "another, of it")
    assert set(texts(images, name, "val")) == {"green.tree", "007"}
    reader = Folder(FolderSettings(root=images, captions=name), "val")
    assert reader.classes == ("x", "y")
    assert [reader[index].label for index in range(2)] == [0, 0]
    assert "1 rows of files that are not there" in reader.summary().note
    assert "captions.csv says what is held out" in reader.summary().note
    assert Folder(FolderSettings(root=images, captions=name, classes="none"), "train").classes == ()


@pytest.mark.parametrize("name", ["a.tsv", "a.jsonl", "b.csv"])
def test_other_forms_of_a_table(images, name, tmp_path):
    rows = [row.split(",") for row in full()]
    if name.endswith("jsonl"):
        lines = [json.dumps({"file_name": file, "text": [text, "more"]}) for file, text in rows]
        (images / name).write_text("\n".join(lines))
        assert texts(images, name)["007"] == ("a 007", "more")
        return
    mark = "\t" if name.endswith("tsv") else ","
    (tmp_path / name).write_text("\n".join(mark.join(row) for row in [["path", "Caption"], *rows]))
    assert texts(images, str(tmp_path / name))["007"] == ("a 007",)


@pytest.mark.parametrize(
    ("rows", "header", "words"),
    [
        (
            full()[1:],
            "file,caption",
            "a caption of each image, by .*captions.csv, got 1 of 6 images without one",
        ),
        (
            full(**{"007": "  "}),
            "file,caption",
            "a caption in each row, got an empty one for 007.png in row 5",
        ),
        (full(), "file,words", "a column caption in .*, got file, words; call the column caption or text"),
        (full(), "name,caption", "a column file in .*, got name, caption"),
        ([f"{row},often" for row in full()], "file,caption,split", "as train and val, got 'often'"),
    ],
)
def test_what_a_table_lacks_is_one_line(images, rows, header, words):
    with pytest.raises(UserError, match=words) as caught:
        texts(images, write(images, rows, header))
    assert "\n" not in str(caught.value)


def test_what_is_not_there_is_one_line(images):
    with pytest.raises(UserError, match=r"names, sidecar, or a .csv.* got other.csv, which is not there"):
        texts(images, "other.csv")
    with pytest.raises(UserError, match=r"by data.captions=sidecar, got 6 of 6 images without one"):
        texts(images, "sidecar")
    with pytest.raises(UserError, match="save it as one of them"):
        texts(images, write(images, full(), name="a.xlsx"))
    (images / "a.jsonl").write_text("{")
    with pytest.raises(UserError, match="mend the file"):
        texts(images, "a.jsonl")
    (images / "b.csv").write_bytes(b"file,caption\n007.png,\xff\xfe\n")
    with pytest.raises(UserError, match="a table in UTF-8"):
        texts(images, "b.csv")


def test_held_out_images_of_another_folder_have_captions_too(images, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (images / "007.png").rename(other / "007.png")
    assert texts(images, "names", "val", val=other) == {"007": ("007",)}


def test_pairs_have_captions(paired):
    settings = PairsSettings(
        root=paired / "images", maps=paired / "depth", content="depth", captions="names", val_share=0.0
    )
    reader = Pairs(settings, "train")
    assert reader.gives == {"image", "map", "text"}
    assert reader[3].texts == (reader.files.paths[3].stem,)
    assert [*reader.captions()] == [path.stem for path in reader.files.paths]


def test_captions_tell_data_apart(images):
    before = Folder(FolderSettings(root=images), "train").summary().fingerprint()
    named = Folder(FolderSettings(root=images, captions="names"), "train").summary().fingerprint()
    table = write(images, full())
    written = Folder(FolderSettings(root=images, captions=table), "train").summary().fingerprint()
    assert len({before, named, written}) == 3


def test_which_caption_is_shown_belongs_to_seed_and_number(images):
    rows = [f"{row} {number}" for row in full() for number in range(3)]
    reader = Folder(FolderSettings(root=images, captions=write(images, rows), val_share=0.0), "train")
    how = {"size": (12, 18), "crop": CropSettings(flip=0.0), "batch": 6}

    def passes(seed, workers=0, start=0, count=4):
        batches = Loader(reader, **how, seed=seed, workers=workers).batches(start)
        return [next(batches) for _ in range(count)]

    first = passes(0)
    assert [batch.texts for batch in passes(0, start=2, count=2)] == [batch.texts for batch in first[2:]]
    assert [batch.texts for batch in passes(0, workers=1, count=2)] == [batch.texts for batch in first[:2]]
    assert [batch.texts for batch in passes(1)] != [batch.texts for batch in first]
    shown = {text for batch in first for text in batch.texts}
    assert len(shown) > 6
    assert shown <= set(reader.captions())
    (batch,) = in_order(reader, **how)
    held = [reader[index].texts for index in range(6)]
    assert {len(each) for each in held} == {3}
    assert list(batch.texts) == [each[mix(0, 0, index, 1) % 3] for index, each in enumerate(held)]


def test_shards_hold_all_captions_of_a_row(tmp_path):
    how = ShardMetadata(tokenizer="abc", codebook_size=300, factor=8, classes=(), holds=("text",))
    said = [("one",), ("zwei", 'Åland, "naïve"'), ("three", "tres", "3")]
    codes = torch.arange(18).view(3, 2, 3)
    rows = [Sample(codes=each, texts=texts) for each, texts in zip(codes, said, strict=True)]
    with ShardWriter(tmp_path / "tokens", how) as writer:
        writer.add("train", rows[:1])
    with ShardWriter(tmp_path / "tokens", how, resume=True) as writer:
        writer.add("train", rows[1:])
        writer.add("val", [Sample(codes=codes[0], texts=said[2])])
        writer.close()
    reader = TokenShards(ShardsSettings(root=tmp_path / "tokens"), "train")
    assert reader.gives == {"codes", "text"}
    assert [reader[index].texts for index in range(3)] == said
    assert [*reader.captions()] == [text for texts in said for text in texts]
    assert TokenShards(ShardsSettings(root=tmp_path / "tokens"), "val")[0].texts == said[2]
    (batch,) = in_order(reader, size=(1, 1), crop=CropSettings(), batch=3)
    assert batch.texts == tuple(said[index][mix(0, 0, index, 1) % len(said[index])] for index in range(3))
    marks = [TokenShards(ShardsSettings(root=tmp_path / "tokens"), split) for split in ("train", "val")]
    assert len({one.summary().fingerprint() for one in marks}) == 2
