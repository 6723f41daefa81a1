"""Images in tar and zip files: found by an index, split and numbered as those of a folder."""

import io
import json
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from PIL import Image
from tiny import TOKENIZER_TRAINING

import smalti
from smalti.cli.main import group
from smalti.data import index
from smalti.data.folder import Folder, FolderSettings
from smalti.data.kinds import kind_of
from smalti.data.loader import Loader
from smalti.data.protocol import Reader
from smalti.data.report import inspect
from smalti.data.splits import Splits
from smalti.data.tar import Tar, TarSettings
from smalti.data.transforms import CropSettings
from smalti.data.zip import Zip, ZipSettings
from smalti.errors import UserError
from smalti.training.precompute import encode
from smalti.training.train import begin


def png(number: int, height: int = 24, width: int = 36, **more) -> bytes:
    data = io.BytesIO()
    noise = np.random.default_rng(number)
    Image.fromarray(noise.integers(0, 256, (height, width, 3), np.uint8)).save(data, "PNG", **more)
    return data.getvalue()


def pack(path: Path, files: dict[str, bytes]) -> Path:
    """Write a tar of these files, in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def sample(number: int, **more: bytes) -> dict[str, bytes]:
    """Files of one key, as WebDataset lays them."""
    key, said = f"{number:06}", {"cls": str(number % 3).encode(), "txt": f"thing {number}".encode(), **more}
    return {f"{key}.png": png(number), **{f"{key}.{kind}": data for kind, data in said.items()}}


@pytest.fixture
def shards(tmp_path) -> Path:
    """Three tars of seven images each, with classes and captions."""
    for tar in range(3):
        files: dict[str, bytes] = {}
        for number in range(7 * tar, 7 * tar + 7):
            files |= sample(number)
        pack(tmp_path / "shards" / f"{tar:03}.tar", files)
    return tmp_path / "shards"


def loader(reader: Reader, **more) -> Loader:
    return Loader(reader, size=(8, 12), crop=CropSettings(scale=(1.0, 1.5)), batch=4, seed=3, **more)


def several(loader: Loader, start: int, count: int) -> list[torch.Tensor]:
    batches = loader.batches(start)
    return [next(batches).images for _ in range(count)]


def test_a_tar_says_classes_and_captions(shards, capsys):
    reader = Tar(TarSettings(root=shards, val_share=0.0), "train")
    assert capsys.readouterr().err == f"indexed: 21 images, see {shards / 'smalti.index'}\n"
    assert reader.classes == ("0", "1", "2")
    assert reader.counts() == {"0": 7, "1": 7, "2": 7}
    assert list(reader.captions()) == [f"thing {number}" for number in range(21)]
    assert reader.gives == {"image", "label", "text"}
    found = reader[15]
    assert (found.label, found.texts, str(found.path)) == (0, ("thing 15",), f"{shards}/002.tar: 000015.png")
    assert found.image.shape == (3, 24, 36)
    assert torch.equal(
        found.image, torch.from_numpy(np.array(Image.open(io.BytesIO(png(15))))).permute(2, 0, 1)
    )
    assert list(reader.sides()) == [(24, 36)] * 21
    assert inspect(reader).images == 21
    Tar(TarSettings(root=shards, val_share=0.0), "train")
    assert capsys.readouterr().err == "", "the index is there"


def test_what_json_says_and_files_in_any_order(tmp_path):
    """Tars that tar itself wrote have no order; a class by a number that no image has stays free."""
    said = [{"caption": ["a", "b"], "label": 2}, {"text": "c", "class": 0}]
    files = {f"{number}.json": json.dumps(one).encode() for number, one in enumerate(said)}
    files |= {f"./{number}.png": png(number) for number in range(2)} | {"._0.png": b"left by a Mac"}
    reader = Tar(TarSettings(root=pack(tmp_path / "a.tar", files), val_share=0.0), "train")
    assert reader.classes == ("0", "1", "2")
    assert [(one.label, one.texts) for one in reader] == [(2, ("a", "b")), (0, ("c",))]


def test_names_of_any_bytes(tmp_path):
    """tar knows no encoding: a name that is no UTF-8 is read, and held out or not as ever."""
    files = {name: png(at) for at, name in enumerate(("gr\u00fcn/\u00e9.png", "caf\udce9.png", "\u732b.PNG"))}
    root = tmp_path / "a.tar"
    with tarfile.open(root, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    readers = [Tar(TarSettings(root=root), split) for split in ("train", "val")]
    assert [len(reader) for reader in readers] == [2, 1]
    assert {one.path.name for reader in readers for one in reader} == set(files)


def test_splits_stay_and_are_those_of_the_folder(photos, tmp_path):
    """An image is held out by its name, so that packing a folder, anew or in parts, moves none."""
    files = {path.relative_to(photos).as_posix(): path.read_bytes() for path in sorted(photos.rglob("*.png"))}
    whole, names = pack(tmp_path / "a" / "photos.tar", files), list(files)
    parts = tmp_path / "parts"
    for at, part in enumerate((names[:5], names[5:])):
        pack(parts / f"{at}.tar", {name: files[name] for name in part})
    with zipfile.ZipFile(tmp_path / "photos.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    for split in ("train", "val"):
        folder = Folder(FolderSettings(root=photos, val_share=0.3), split)
        wanted = [
            (path.relative_to(photos).as_posix(), folder.label(at)) for at, path in enumerate(folder.paths)
        ]
        readers = [Tar(TarSettings(root=root, val_share=0.3), split) for root in (whole, parts)]
        readers.append(Zip(ZipSettings(root=tmp_path / "photos.zip", val_share=0.3), split))
        for reader in readers:
            assert reader.classes == ("lying", "standing")
            assert [(one.path.name, one.label) for one in reader] == wanted
            assert all(torch.equal(one.image, folder[at].image) for at, one in enumerate(reader))


@pytest.mark.parametrize("lies", ["beside", "below", "within"])
def test_splits_by_names(lies, tmp_path):
    if lies == "within":
        pack(
            tmp_path / "d" / "all.tar",
            {f"d/{name}/{at}.png": png(at) for at in range(3) for name in ("train", "val")},
        )
    for name in ("train", "val") if lies != "within" else ():
        for at in range(2):
            file = {"beside": f"{name}-{at:05}-of-00002.tar", "below": f"{name}/{at:05}.tar"}[lies]
            pack(tmp_path / "d" / file, {f"{at}.png": png(at)})
    train, val = (Tar(TarSettings(root=tmp_path / "d"), split) for split in ("train", "val"))
    assert (len(train), len(val)) == ((3, 3) if lies == "within" else (2, 2))
    assert train.splits.train == ("train",)
    assert train.splits.val == ("val",)
    settled = TarSettings(root=tmp_path / "d", splits=train.splits)
    assert np.array_equal(Tar(settled, "val").rows, val.rows)
    assert len(Tar(TarSettings(root=tmp_path / "d", splits=Splits(), val_share=0.0), "val")) == 0


def test_archives_that_are_held_out(tmp_path, shards):
    pack(tmp_path / "more" / "a.tar", sample(2))
    val = Tar(TarSettings(root=shards, val=tmp_path / "more"), "val")
    assert [one.label for one in val] == [2]
    inner = TarSettings(root=shards, val=shards / "001.tar")
    assert (len(Tar(inner, "train")), len(Tar(inner, "val"))) == (14, 7)
    pack(tmp_path / "more" / "a.tar", sample(2, cls=b"9"))
    (tmp_path / "more" / "smalti.index").unlink()
    with pytest.raises(UserError, match=r"classes of the images trained on in .*more, got 3"):
        Tar(TarSettings(root=shards, val=tmp_path / "more"), "val")


def test_which_of_several_images_of_a_key_counts(tmp_path):
    files = {f"{at}.{name}.png": png(at) for at in range(3) for name in ("input", "mask")}
    root = pack(tmp_path / "a.tar", files | {f"{at}.cls": str(at).encode() for at in range(3)})
    every = Tar(TarSettings(root=root, val_share=0.0), "train")
    assert len(every) == 6
    assert "data.ending says which, of input.png, mask.png" in every.summary().note
    chosen = Tar(TarSettings(root=root, val_share=0.0, ending="input.png"), "train")
    assert [(one.path.name, one.label) for one in chosen] == [(f"{at}.input.png", at) for at in range(3)]
    with pytest.raises(UserError, match=r"data\.ending among input\.png, mask\.png, got jpg"):
        Tar(TarSettings(root=root, ending="jpg"), "train")


def test_batches_from_step_n_are_those_without_a_break(shards):
    reader = Tar(TarSettings(root=shards), "train")
    whole = several(loader(reader), 0, 9)  # beyond the first pass of 19
    for start in (1, 6):
        again = Tar(TarSettings(root=shards), "train")
        assert all(map(torch.equal, several(loader(again), start, 9 - start), whole[start:]))


def test_workers_and_ranks_share_without_overlap(shards):
    reader = Tar(TarSettings(root=shards), "train")
    whole = several(loader(reader), 0, 5)
    shares = [several(loader(reader, share=(rank, 2), workers=rank), 0, 5) for rank in range(2)]
    assert all(
        torch.equal(torch.cat(pair), one) for pair, one in zip(zip(*shares, strict=True), whole, strict=True)
    )
    sent = pickle.loads(pickle.dumps(reader))  # as to a process that is spawned
    assert len(pickle.dumps(reader)) < 5000, "the index is opened again, not sent"
    assert torch.equal(sent[3].image, reader[3].image)


def test_archives_that_changed_are_refused_by_name(shards, tmp_path):
    Tar(TarSettings(root=shards), "train")
    os.utime(shards / "001.tar", (1, 1))  # as a copy may be
    Tar(TarSettings(root=shards), "train")
    pack(shards / "001.tar", sample(50) | sample(51))
    with pytest.raises(UserError, match=r"got .*001\.tar, which has changed since; smalti index .*shards"):
        Tar(TarSettings(root=shards), "train")
    assert CliRunner().invoke(group, ["index", str(shards)]).output.endswith(f"{shards / 'smalti.index'}\n")
    assert len(Tar(TarSettings(root=shards, val_share=0.0), "train")) == 16
    pack(shards / "003.tar", sample(60))
    with pytest.raises(UserError, match=r"003\.tar, which is new; smalti index"):
        Tar(TarSettings(root=shards), "train")
    (shards / "003.tar").unlink()
    (shards / "000.tar").rename(tmp_path / "000.tar")
    with pytest.raises(UserError, match=r"000\.tar, which is gone"):
        Tar(TarSettings(root=shards), "train")


@pytest.mark.parametrize("cut", ["in an image", "in a header", "between files", "in the end"])
def test_a_tar_that_was_cut_off_is_refused(cut, tmp_path):
    path = pack(tmp_path / "a.tar", {f"{at}.png": png(at) for at in range(4)})
    with tarfile.open(path) as tar:
        last = tar.getmembers()[-1]
    end = last.offset_data + -(-last.size // 512) * 512
    to = {
        "in an image": last.offset_data + 9,
        "in a header": last.offset + 100,
        "between files": last.offset,
        "in the end": end + 100,
    }
    os.truncate(path, to[cut])
    with pytest.raises(UserError, match=r"a whole tar, not compressed: .*a\.tar, got .*; copy it again"):
        Tar(TarSettings(root=path), "train")
    assert list(tmp_path.iterdir()) == [path], "no index of it"


def test_what_is_no_tar_of_images_is_one_line(tmp_path):
    def refused(path: Path, match: str) -> None:
        index.index_place(path).unlink(missing_ok=True)
        with pytest.raises(UserError, match=match):
            Tar(TarSettings(root=path), "train")

    path, other = tmp_path / "a.tar", pack(tmp_path / "b.tar", {f"{at}.png": png(at) for at in range(2)})
    whole = other.read_bytes()
    with tarfile.open(other) as tar:
        header = tar.getmembers()[1].offset
    path.write_bytes(whole[:header] + b"no header" + whole[header + 9 :])
    refused(path, f"got no header at byte {header}; copy it again")
    path.write_bytes(whole + whole)
    refused(path, "more behind its end .*joined by cat")
    path.write_bytes(b"\x1f\x8b" + whole)
    refused(path, "got one compressed by gzip; unpack it by gzip -d")
    path.rename(tmp_path / "a.tar.gz")
    refused(tmp_path / "a.tar.gz", r"\.tar files that are not compressed, got .*a\.tar\.gz; unpack it once")
    refused(tmp_path, r"not compressed, got .*a\.tar\.gz")
    (tmp_path / "a.tar.gz").unlink()
    refused(tmp_path / "none", "none, which is not there")
    refused(pack(path, {"a.txt": b"a"}), "images in .*a.tar, got none")
    refused(
        pack(path, {"0.png": png(0), "0.json": b"{"}),
        r"labels and captions in UTF-8 or JSON, got .*a\.tar: 0\.json",
    )
    refused(pack(path, {"0.png": png(0), "0.txt": b"\xff"}), r"a\.tar: 0\.txt")
    refused(
        pack(path, {"0.png": png(0), "0.cls": b"a", "1.png": png(1), "1.cls": b"b", "2.png": png(2)}),
        "a class of each image, got none of .*2.png",
    )
    with tarfile.open(path, "a") as tar:
        tar.addfile(tarfile.TarInfo("0.png"))
    refused(path, r"each file of an archive once, got 0\.png twice")
    with tarfile.open(path, "w") as tar:
        link = tarfile.TarInfo("0.png")
        link.type, link.linkname = tarfile.SYMTYPE, "elsewhere"
        tar.addfile(link)
    refused(path, "got a link or another special file, 0.png")


def test_a_corrupt_member_is_named_and_stood_in_for(tmp_path):
    files = {f"{at}.png": png(at) for at in range(6)} | {"3.png": png(3)[:200]}
    reader = Tar(TarSettings(root=pack(tmp_path / "a.tar", files), val_share=0.0), "train")
    with pytest.raises(UserError, match=r"an image that can be read, got .*a\.tar: 3\.png \("):
        reader[3]
    told: list[UserError | str] = []
    assert len(several(loader(reader, skipped=told.append), 0, 3)) == 3
    mistakes = [one for one in told if isinstance(one, UserError)]
    assert len(mistakes) == len(told), "nothing is away"
    assert {mistake.got.split(" (")[0] for mistake in mistakes} == {f"{tmp_path}/a.tar: 3.png"}
    assert [str(path) for path in inspect(reader).unreadable] == []


def test_an_index_that_is_none_and_a_place_that_may_not_be_written_to(shards, tmp_path, monkeypatch):
    Tar(TarSettings(root=shards), "train")
    for spoiled in (b"", b"\xff" * 64, (shards / "smalti.index").read_bytes()[:300]):
        (shards / "smalti.index").write_bytes(spoiled)
        with pytest.raises(UserError, match=r"an index of archives, got .*smalti\.index .*; smalti index"):
            Tar(TarSettings(root=shards), "train")
    (shards / "smalti.index").unlink()
    out = tmp_path / "elsewhere.index"
    assert CliRunner().invoke(group, ["index", str(shards), "--out", str(out)]).exit_code == 0
    assert list(shards.glob("*index")) == []
    assert len(Tar(TarSettings(root=shards, val_share=0.0, index=out), "train")) == 21

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(index.files, "save_tensors", denied)
    with pytest.raises(
        UserError, match=r"none: .* \(.*denied\); smalti index .* --out FILE, then data\.index=FILE"
    ):
        Tar(TarSettings(root=shards), "train")


def test_bands_ranges_limits_and_exif_are_those_of_files(tmp_path):
    turned, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.open(io.BytesIO(png(1))).save(turned, "JPEG", exif=exif)
    deep = io.BytesIO()
    Image.fromarray(np.arange(24 * 36, dtype=np.uint16).reshape(24, 36)).save(deep, "TIFF")
    root = pack(tmp_path / "a.tar", {"0.jpg": turned.getvalue(), "1.tif": deep.getvalue()})
    assert Tar(TarSettings(root=root, val_share=0.0), "train")[0].image.shape == (3, 36, 24)
    ranged = Tar(TarSettings(root=root, val_share=0.0, range=(0, 863), bands=(0,)), "train")[1].image
    assert ranged.shape == (1, 24, 36)
    assert ranged[0, 0, -1] == pytest.approx(35 / 863 * 255)
    with pytest.raises(UserError, match=r"a\.tar: 1\.tif \(864 pixels, above the limit of 500\)"):
        Tar(TarSettings(root=root, val_share=0.0, max_pixels=500), "train")[1]


def test_a_zip_is_read_without_unpacking_and_a_bomb_is_refused(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for at in range(6):
            packed.writestr(f"all/{'ab'[at % 2]}/{at}.png", png(at))
        packed.writestr("all/a/0.txt", "a thing")
        packed.writestr("all/a/big.bmp", b"\0" * 2**20)
    reader = Zip(ZipSettings(root=path, val_share=0.0), "train")
    assert reader.classes == ("a", "b")
    assert reader.gives == {"image", "label"}
    assert "1 of 7 images have captions" in reader.summary().note
    assert torch.equal(
        reader[3].image, torch.from_numpy(np.array(Image.open(io.BytesIO(png(3))))).permute(2, 0, 1)
    )
    data = bytearray(path.read_bytes())
    at = data.index(b"big.bmp") + len("big.bmp")
    data[at + 20 : at + 30] = b"\xaa" * 10  # damage within what is deflated
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"an image that can be read, got .*a\.zip: all/a/big\.bmp"):
        reader[6]


def test_a_zip_that_lies_about_sizes_is_bounded(tmp_path, monkeypatch):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("0.bmp", b"\0" * 2**24)
    data = bytearray(path.read_bytes())
    central = data.rindex(b"PK\1\2")
    data[central + 24 : central + 28] = (4000).to_bytes(4, "little")  # of 16 MiB
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"a\.zip: 0\.bmp \(not the 4000 bytes that the archive says"):
        Zip(ZipSettings(root=path, val_share=0.0), "train")[0]
    monkeypatch.setattr(index, "LARGEST", 2000)
    with pytest.raises(UserError, match=r"files of at most 2000 bytes, got 4000 in .*a\.zip: 0\.bmp"):
        index.write_index(path, tmp_path / "b", (".zip",), Zip.scan)
    path.write_bytes(bytes(data[:-30]))
    with pytest.raises(UserError, match=r"a whole zip file: .*copy it again"):
        Zip.indexed(path)


def test_a_run_on_tars_goes_on_where_they_lie_now(shards, tmp_path):
    """Train, move the tars, resume: the same steps as without a break. Then codes of the same images."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(json.loads(json.dumps(TOKENIZER_TRAINING))))
    given = {"size": 8, "crop.resize": "short", "checkpoint_every": 3}
    smalti.train(recipe, data=shards, out=tmp_path / "whole", steps=6, **given)
    smalti.train(recipe, data=shards, out=tmp_path / "run", steps=3, **given)
    elsewhere = shards.rename(tmp_path / "elsewhere")
    smalti.train(out=tmp_path / "run", data=elsewhere, resume=True, steps=6)
    runs = [smalti.load(tmp_path / name).state_dict() for name in ("whole", "run")]
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])
    tokenizer = smalti.load(tmp_path / "run")
    encode(tokenizer, elsewhere, tmp_path / "tokens", size=8)
    made = json.loads((tmp_path / "tokens" / "index.json").read_text())
    assert (made["classes"], made["made"]["held_out"]) == (["0", "1", "2"], 5)
    pack(elsewhere / "002.tar", sample(70))
    index.write_index(elsewhere, elsewhere / "smalti.index", (".tar",), Tar.scan)
    (elsewhere).rename(tmp_path / "third")
    with pytest.raises(UserError, match="the data to train on that the run began with, 16 samples"):
        smalti.train(out=tmp_path / "run", data=tmp_path / "third", resume=True, steps=9)


def test_the_kind_is_seen_from_what_lies_there(shards, photos, tmp_path):
    for name, kind in {"a.zip": "zip", "b.tar": "tar", "c.parquet": "parquet", "d.csv": "table"}.items():
        assert kind_of(tmp_path / name) == kind
    assert kind_of(shards) == "tar"
    assert kind_of(photos) == kind_of(tmp_path / "none") == "folder"
    begun = begin("tokenizer_300", shards, {})
    assert (begun.training.data.kind, begun.training.data.root) == ("tar", shards)
    with zipfile.ZipFile(shards / "a.zip", "w"):
        pass
    with pytest.raises(UserError, match=r"data of one kind, got tar and zip in .*data\.kind=tar"):
        begin("tokenizer_300", shards, {})
    assert (
        begin("tokenizer_300", shards, {"data.kind": "tar", "data.val_share": 0.5}).training.data.val_share
        == 0.5
    )
    refused = CliRunner().invoke(group, ["index", str(photos)])
    assert refused.exception.expected == ".tar or .zip files to index, or a folder of them"
