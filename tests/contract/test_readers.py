"""Readers: what they find, how they split, what they refuse."""

import json
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from smalti.data import READERS
from smalti.data.coco import Coco, CocoSettings
from smalti.data.folder import Folder, FolderSettings
from smalti.data.maps import Maps, MapsSettings
from smalti.data.open_images import OpenImages, OpenImagesSettings
from smalti.data.protocol import Sample
from smalti.data.report import inspect
from smalti.data.shards import ShardMetadata, ShardsSettings, ShardWriter, TokenShards
from smalti.errors import UserError

METADATA = ShardMetadata(
    tokenizer="abc", codebook_size=300, factor=8, classes=("lying", "standing"), holds=("label",)
)


@pytest.fixture
def shards(tmp_path):
    writer = ShardWriter(tmp_path / "tokens", METADATA)
    codes, labels = torch.arange(7 * 6).view(7, 2, 3), (0, 1, 0, 1, 1, 0, 1)
    rows = [Sample(codes=code, label=label) for code, label in zip(codes, labels, strict=True)]
    writer.add("train", rows[:3])
    writer.add("train", rows[3:5])
    writer.add("val", rows[5:])
    return writer.close()


@pytest.fixture
def maps(tmp_path):
    """Label maps: one of mode L, three with a palette whose colours are no class numbers; 255 is unknown."""
    folder = tmp_path / "maps"
    folder.mkdir()
    for number in range(4):
        labels = np.full((6, 9), number, dtype=np.uint8)
        labels[:, 4:] = 5
        labels[0, 0] = 255
        image = Image.fromarray(labels)
        if number:
            image.putpalette(np.arange(768)[::-1].astype(np.uint8).tobytes())
        image.save(folder / f"{number}.png")
    return folder


@pytest.fixture
def packed(photos, tmp_path):
    """The photographs in every kind of file that holds many, and in a table: by kind."""
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    files = {path.relative_to(photos).as_posix(): path for path in sorted(photos.rglob("*.png"))}
    names = {kind: tmp_path / f"photos.{kind}" for kind in ("tar", "zip", "parquet", "arrow")}
    with tarfile.open(names["tar"], "w") as tar, zipfile.ZipFile(names["zip"], "w") as packed:
        for name, path in files.items():
            tar.add(path, name)
            packed.write(path, name)
    labels = [name.partition("/")[0] for name in files]
    rows = arrow.table({"image": [path.read_bytes() for path in files.values()], "label": labels})
    parquet.write_table(rows, names["parquet"], row_group_size=5)
    with arrow.ipc.new_file(names["arrow"], rows.schema) as file:
        file.write_table(rows, max_chunksize=5)
    names["table"] = tmp_path / "photos.csv"
    lines = [f"photos/{name},{label}\n" for name, label in zip(files, labels, strict=True)]
    names["table"].write_text("".join(["file,class\n", *lines]))
    return {kind: ({"root": path}, ("lying", "standing")) for kind, path in names.items()}


def test_every_member_reads(photos, packed, shards, maps, paired, coco, coco_keypoints, open_images):
    both = ("lying", "standing")
    cases = {
        "folder": ({"root": photos}, both),
        **packed,
        "shards": ({"root": shards}, both),
        "scenes": ({"size": (48, 64), "val_count": 5}, ("sphere", "box", "capsule", "person")),
        "maps": ({"root": maps, "classes": 256}, ()),
        "pairs": ({"root": paired / "images", "maps": paired / "depth", "content": "depth"}, ()),
        "coco": ({"root": coco}, ("tree", "house", "cloud")),  # by their ids as words
        "coco_keypoints": ({"root": coco_keypoints, "min_height": 8}, ()),
        "open_images": ({"root": open_images}, ("cloud", "house", "tree")),
    }
    assert cases.keys() == READERS.keys()
    for kind, (settings, member) in READERS.items():
        chosen, classes = cases[kind]
        parts = [member(settings(**chosen), split) for split in ("train", "val")]
        assert parts[0].classes == parts[1].classes == classes
        for reader in parts:
            assert len(reader) > 0
            sample = reader[len(reader) - 1]
            held = [sample.image, sample.segmentation, sample.codes]
            assert any(part is not None for part in held)
            assert sample.label in (range(len(classes)) if "label" in reader.gives else (None,))
            held = {
                "image": sample.image,
                "label": sample.label,
                "scene": sample.scene,
                "pose": sample.pose,
                "codes": sample.codes,
                "text": sample.texts,
            }
            found = {name for name, part in held.items() if part is not None}
            mapped = {"map"} if kind in ("maps", "pairs", "scenes") else set()
            assert reader.gives == found | mapped
            assert bool(reader.joints) == ("pose" in reader.gives)
            summary = reader.summary()
            assert summary.count == len(reader)
            assert summary.fingerprint().split()[0] == str(len(reader))
            assert bool(summary.grids) == ("codes" in reader.gives)
            assert [path for path in summary.paths if not path.read_bytes()] == []
            assert bool(summary.paths) == (kind not in ("shards", "scenes"))
            assert reader.counts().keys() == (set() if kind in ("shards", "scenes") else set(classes))
            reader.number_as(("x", "y"))
            assert reader.classes == classes, "others than it has"
            sent = pickle.loads(pickle.dumps(reader))  # as to a worker that is spawned
            assert sent.summary().fingerprint() == summary.fingerprint()
            assert sent[0].label == reader[0].label
            order = reader.order(range(len(reader)), seed=5)
            assert sorted(order.tolist()) == list(range(len(reader)))
            assert torch.equal(order, sent.order(range(len(reader)), seed=5))


def test_label_maps_are_numbers_not_colours(maps):
    reader = Maps(MapsSettings(root=maps, classes=7, shift=True, val_share=0.0), "train")
    for number in range(4):
        labels = reader[number].segmentation
        assert labels.shape == (6, 9)
        assert labels[1, 0] == number + 1
        assert labels[1, 8] == 6
        assert labels[0, 0] == 0  # 255 + 1, in 8 bits


def test_label_maps_refuse_what_is_no_class(maps):
    def first(**more):
        return Maps(MapsSettings(root=maps, val_share=0.0, **more), "train")[0]

    with pytest.raises(UserError, match=r"255 in .*0\.png; data\.shift=true"):
        first(classes=6)
    with pytest.raises(UserError, match=r"6 in .*after the shift.*data\.classes=7"):
        first(classes=6, shift=True)
    Image.new("RGB", (4, 4), "red").save(maps / "0.png")
    with pytest.raises(UserError, match=r"label map of one channel.* got mode RGB with colours in .*0\.png"):
        first(classes=256)


def test_folder_splits_without_loss_and_for_ever(photos):
    settings = FolderSettings(root=photos, val_share=0.4)
    train, val = Folder(settings, "train"), Folder(settings, "val")
    assert len(train) + len(val) == 16
    assert not set(train.paths) & set(val.paths)
    Image.new("RGB", (8, 8)).save(photos / "lying" / "new.png")
    assert set(val.paths) <= set(Folder(settings, "val").paths), "a held-out image moved"
    assert set(train.paths) <= set(Folder(settings, "train").paths), "a training image moved"


def test_classes_only_where_all_images_have_one(photos):
    assert Folder(FolderSettings(root=photos, classes="none"), "train").classes == ()
    assert Folder(FolderSettings(root=photos / "lying"), "train").classes == ()
    Image.new("RGB", (8, 8)).save(photos / "alone.png")
    reader = Folder(FolderSettings(root=photos), "train")
    assert reader.classes == ()
    assert reader[0].label is None


def test_a_folder_of_its_own_for_validation(photos, tmp_path):
    (tmp_path / "more" / "standing").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "more" / "standing" / "a.png")
    settings = FolderSettings(root=photos, val=tmp_path / "more")
    assert len(Folder(settings, "train")) == 16
    assert [Folder(settings, "val").label(0)] == [1]
    (tmp_path / "more" / "standing").rename(tmp_path / "more" / "leaning")
    with pytest.raises(UserError, match="leaning"):
        Folder(settings, "val")


def test_held_out_images_inside_the_root_are_not_trained_on(photos):
    reader = Folder(FolderSettings(root=photos, val=photos / "lying", classes="none"), "train")
    assert {path.parent.name for path in reader.paths} == {"standing"}


@pytest.mark.parametrize("way", ["absolute", "relative", "link", "link to the root"])
def test_a_held_out_folder_inside_the_root_is_known_by_any_path(way, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root, val = Path("photos"), photos / "lying"
    if way == "relative":
        root, val = photos, Path("photos/../photos/lying")
    if way == "link":
        val = tmp_path / "elsewhere"
        val.symlink_to(photos / "lying")
    if way == "link to the root":
        root = tmp_path / "linked"
        root.symlink_to(photos)
    parts = [Folder(FolderSettings(root=root, val=val, classes="none"), split) for split in ("train", "val")]
    found = [{path.resolve().parent.name for path in reader.paths} for reader in parts]
    assert found == [{"standing"}, {"lying"}]


def test_the_split_by_hash_belongs_to_paths_below_the_root(photos, tmp_path):
    """The same images wherever the root lies and whatever it is called."""
    held_out = {"lying/3.png", "standing/3.png"}
    for root in (photos, tmp_path / "a" / "longer" / "way"):
        if root != photos:
            root.parent.mkdir(parents=True)
            photos.rename(root)
        reader = Folder(FolderSettings(root=root, val_share=0.3), "val")
        assert {path.relative_to(root).as_posix() for path in reader.paths} == held_out


def test_empty_and_missing_folders_are_told(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match=str(folder)):
            Folder(FolderSettings(root=folder), "train")


def test_shards_give_back_what_was_written(shards):
    reader = TokenShards(ShardsSettings(root=shards), "train")
    assert list(reader.summary().grids) == [(2, 3)]
    assert [reader[index].label for index in range(5)] == [0, 1, 0, 1, 1]
    rows = torch.stack([reader[index].codes for index in range(5)])
    assert torch.equal(rows, torch.arange(30).view(5, 2, 3))


def test_shards_of_many_codes_and_files(tmp_path, monkeypatch):
    monkeypatch.setattr("smalti.data.shards.ROWS", 2)
    metadata = ShardMetadata(tokenizer="abc", codebook_size=2**18, factor=8, classes=())
    writer = ShardWriter(tmp_path / "tokens", metadata)
    codes = torch.arange(2**18 - 5, 2**18).view(5, 1, 1)
    for row in codes:
        writer.add("train", [Sample(codes=row)])
    reader = TokenShards(ShardsSettings(root=writer.close()), "train")
    assert len(list((tmp_path / "tokens").glob("train-*"))) == 3
    assert [reader[index].codes.item() for index in range(5)] == codes.flatten().tolist()
    assert reader[4].label is None


def test_shards_of_another_tokenizer_are_refused(shards):
    reader = TokenShards(ShardsSettings(root=shards), "train")
    reader.check("abc")
    assert reader.summary().fingerprint() == "5 3629b0fe97f95789"
    with pytest.raises(UserError, match="xyz"):
        reader.check("xyz")


def test_shards_are_not_overwritten_and_damage_is_told(shards, tmp_path):
    with pytest.raises(UserError, match="new or empty"):
        ShardWriter(shards, METADATA)
    (shards / "train-00000.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0not json at all")
    with pytest.raises(UserError, match="train-00000"):
        TokenShards(ShardsSettings(root=shards), "train")
    (shards / "index.json").write_text(json.dumps({"format": 9}))
    with pytest.raises(UserError, match="format"):
        TokenShards(ShardsSettings(root=shards), "train")


def test_report_names_what_cannot_be_read(photos):
    (photos / "lying" / "broken.png").write_bytes(b"no image")
    report = inspect(Folder(FolderSettings(root=photos, val_share=0), "train"))
    assert report.images == 17
    assert report.classes == {"lying": 9, "standing": 8}
    assert [path.name for path in report.unreadable] == ["broken.png"]
    for word in ("17 images", "40 to 40", "RGB 16", "lying 9", "broken.png"):
        assert word in report.text()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: file["annotations"][0].pop("bbox"),
        lambda file: file["annotations"][0].update(image_id=99),
        lambda file: file["images"][0].update(width=0),
        lambda file: file["categories"][0].pop("name"),
        lambda file: file.update(annotations=None),
    ],
    ids=["no box", "no image", "no width", "no name", "no annotations"],
)
def test_annotations_of_another_layout_are_told(coco, spoil):
    path = coco / "annotations" / "instances_train2017.json"
    file = json.loads(path.read_text())
    spoil(file)
    path.write_text(json.dumps(file))
    with pytest.raises(UserError, match=r"COCO's format, got .*instances_train2017\.json"):
        Coco(CocoSettings(root=coco), "train")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("9,/m/2,0,1", r"10 columns in every line of .*bbox\.csv, got 4 in line 14"),
        ("9,/m/2,0,wide,0,1,0,0,0,0", "numbers in the columns of boxes, got .*'wide' for 9"),
    ],
)
def test_lines_of_another_layout_are_told(open_images, line, words):
    path = open_images / "oidv6-train-annotations-bbox.csv"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(UserError, match=words):
        OpenImages(OpenImagesSettings(root=open_images), "train")


def test_boxes_of_coco_are_shares_of_width_and_height_cut_at_the_border(coco):
    """And a box of which the border leaves little is as small as what is left."""
    path = coco / "annotations" / "instances_train2017.json"
    file = json.loads(path.read_text())
    file["annotations"][0]["bbox"] = [27, 18, 18, 12]  # over the right and the lower border of 36 x 24
    file["annotations"][1]["bbox"] = [-9, -6, 18, 12]
    path.write_text(json.dumps(file))
    reader = Coco(CocoSettings(root=coco), "train")
    assert [thing.box for thing in reader[0].scene.objects] == [(0.75, 0.75, 1, 1), (0, 0, 0.25, 0.25)]
    assert [thing.box for thing in reader[1].scene.objects] == [(0, 0, 0.5, 1), (0.25, 0.25, 1, 0.75)]
    half = CocoSettings(root=coco, min_area=0.1)  # of the image, after the cut
    assert [path.stem for path in Coco(half, "train").paths] == ["1", "2", "3", "4", "5"]


def test_flags_and_borders_of_open_images(open_images):
    """A flag of -1 is unknown: not set, unless that is asked for; boxes end at the border."""
    path = open_images / "oidv6-train-annotations-bbox.csv"
    path.write_text(path.read_text() + "5,/m/3,0.5,1.25,-0.5,0.75,-1,-1,-1,-1\n")
    house, tree = 1, 2  # of three classes
    reader = OpenImages(OpenImagesSettings(root=open_images), "train")
    first, last = (reader[index].scene.objects for index in (0, 5))
    assert [thing.label for thing in first] == [house, tree + 3 * (1 + 2)]  # group and occluded
    assert [thing.box for thing in first] == [(0, 0, 0.5, 1), (0.25, 0.25, 1, 0.75)]
    assert last[2].label == tree
    assert last[2].box == (0.5, 0, 1, 0.75)
    asked = OpenImages(OpenImagesSettings(root=open_images, unknown_flags=True), "train")
    assert asked[0].scene.objects[0].label == house + 3 * 1
    assert asked[5].scene.objects[2].label == tree + 3 * (1 + 2 + 4 + 8)
