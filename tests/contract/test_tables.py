"""Tables that name images: columns by the usual names or by those that settings say."""

import csv
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from smalti.data.folder import Folder, FolderSettings
from smalti.data.table import Table, TableSettings
from smalti.errors import UserError


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    """A table in the format of its suffix."""
    with path.open("w", encoding="utf-8", newline="") as file:
        if path.suffix == ".jsonl":
            file.writelines(json.dumps(row) + "\n" for row in rows)
        else:
            table = csv.DictWriter(file, rows[0], delimiter="," if path.suffix == ".csv" else "\t")
            table.writeheader()
            table.writerows(rows)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_columns_by_the_usual_names(suffix, photos):
    rows = [
        {
            "file_name": f"{name}/{at}.png",
            "label": name,
            "text": f"{name}, {at}",
            "split": "test" if at == 3 else "train",
        }
        for at in range(5)
        for name in ("standing", "lying")
    ]
    path = write(photos / f"list{suffix}", [*rows, {**rows[0], "text": "another"}])
    train, val = (Table(TableSettings(root=path), split) for split in ("train", "val"))
    assert train.classes == val.classes == ("lying", "standing")
    assert (len(train), len(val), val.counts()) == (8, 2, {"lying": 1, "standing": 1})
    assert train.gives == {"image", "label", "text"}
    first = train[0]
    assert (first.path, first.label) == (photos / "standing" / "0.png", 1)
    assert first.texts == ("standing, 0", "another")
    assert torch.equal(
        first.image, Folder(FolderSettings(root=photos / "standing", val_share=0.0), "train")[0].image
    )
    assert "says what is held out" in train.summary().note
    train.number_as(("standing", "lying"))
    assert train[0].label == 0


def test_columns_and_folders_that_settings_name(paired):
    rows = [{"photo": f"{at}.jpg", "kind": "ab"[at % 2], "of": f"../depth/{at}.png"} for at in range(6)]
    path = write(paired / "list.csv", rows)
    named = {"image": "photo", "label": "kind", "map": "of", "images": paired / "images", "val_share": 0.0}
    reader = Table(TableSettings(root=path, content="depth", **named), "train")
    assert reader.gives == {"image", "label", "map"}
    assert reader[1].map.shape == (1, 24, 36)
    assert (reader[1].label, reader[1].texts) == (1, None)
    assert TableSettings(root=path, content="depth").contents == {"map": 1, "image": 0}
    rows = [{**row, "of": f"../segmentation/{at}.png"} for at, row in enumerate(rows)]
    classes = Table(TableSettings(root=write(path, rows), content="segmentation", **named), "train")
    assert classes[0].segmentation.shape == (24, 36)
    classes.bound(4)
    with pytest.raises(UserError, match=r"class numbers from 0 to 3, got 4 in .*segmentation"):
        classes[0]


def test_an_image_folder_of_the_hub(photos):
    """A table in each folder that is a split; what is not in it does not count."""
    for name, use in (("lying", "train"), ("standing", "validation")):
        (photos / name).rename(photos / use)
        write(photos / use / "metadata.jsonl", [{"file_name": f"{at}.png", "text": name} for at in range(4)])
    train, val = (Table(TableSettings(root=photos), split) for split in ("train", "val"))
    assert (list(train.captions()), list(val.captions())) == (["lying"] * 4, ["standing"] * 4)
    assert Table(TableSettings(root=photos / "train", val_share=0.5), "val").paths != []
    note = Folder(FolderSettings(root=photos / "train"), "train").summary().note
    assert "metadata.jsonl" in note
    assert "data.kind=table" in note


def test_a_table_moves_with_its_images(photos, tmp_path):
    rows = [{"file": f"{name}/{at}.png", "class": name} for name in ("lying", "standing") for at in range(8)]
    path = write(photos / "list.csv", rows)
    before = [
        Table(TableSettings(root=path, val_share=0.3), split).summary().fingerprint()
        for split in ("train", "val")
    ]
    held_out = [one.name for one in Table(TableSettings(root=path, val_share=0.3), "val").paths]
    photos.rename(tmp_path / "moved")
    settings = TableSettings(root=tmp_path / "moved" / "list.csv", val_share=0.3)
    assert [Table(settings, split).summary().fingerprint() for split in ("train", "val")] == before
    folder = Folder(FolderSettings(root=tmp_path / "moved", val_share=0.3), "val")
    assert [path.name for path in folder.paths] == held_out, "as the folder itself"


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([{"name": "a"}], r"a column file in .*list\.csv, got name; call the column file or file_name"),
        ([{"file": ""}], r"the name of an image in each row, got none in row 1 of .*list\.csv"),
        ([{"file": "a.png", "split": "blue"}], r"words for splits in the table"),
    ],
)
def test_what_a_table_lacks_is_one_line(rows, match, tmp_path):
    with pytest.raises(UserError, match=match):
        Table(TableSettings(root=write(tmp_path / "list.csv", rows)), "train")


def test_what_is_not_there_is_one_line(tmp_path):
    for place in (tmp_path, tmp_path / "none.csv"):
        with pytest.raises(UserError, match=r"a table \(\.csv, \.tsv, \.jsonl\)"):
            Table(TableSettings(root=place), "train")
    path = write(tmp_path / "list.csv", [{"file": "a.png", "label": "x"}])
    with pytest.raises(
        UserError, match=r"a column klass in .*list\.csv, as the settings say, got file, label"
    ):
        Table(TableSettings(root=path, label="klass"), "train")
    with pytest.raises(UserError, match=r"a map of each image, got none of .*a\.png"):
        Table(TableSettings(root=path, content="depth", val_share=0.0), "train")
    reader = Table(TableSettings(root=path, val_share=0.0), "train")
    with pytest.raises(UserError, match=r"an image that can be read, got .*a\.png \(No such file"):
        reader[0]
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    assert reader[0].label is None
