"""Images that EXIF turns, and what was annotated on them: boxes and maps lie where the things are."""

import csv
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps, PngImagePlugin

from smalti import imaging
from smalti.data.coco import Coco, CocoSettings
from smalti.data.open_images import OpenImages, OpenImagesSettings
from smalti.data.pairs import Pairs, PairsSettings
from smalti.data.report import inspect
from smalti.errors import UserError
from smalti.exif import BROKEN, TURNS, UPRIGHT
from smalti.reading.pixels import PixelReading, open_turned

ORIENTATIONS = range(1, 9)
MIRRORED = (2, 3, 4)  # the others but 1 swap the sides
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0)}
PLACES = {"red": (6, 3, 24, 9), "green": (30, 12, 48, 24)}  # x0, y0, x1, y1 in the stored raster


def stored(side: int = 24) -> np.ndarray:
    """A raster of side x 48 pixels with two rectangles; oblong unless the side says otherwise."""
    pixels = np.zeros((side, 48, 3), dtype=np.uint8)
    for name, (x0, y0, x1, y1) in PLACES.items():
        pixels[y0:y1, x0:x1] = COLOURS[name]
    return pixels


def write(path, pixels, orientation: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif, lossless=True)


def seen(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The raster as it is seen, by Pillow's own rule."""
    image = Image.fromarray(pixels)
    image.getexif()[0x0112] = orientation
    return np.asarray(ImageOps.exif_transpose(image))


def bounds(pixels: np.ndarray, name: str) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero((pixels == COLOURS[name]).all(-1))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def found(sample) -> dict[str, tuple[int, int, int, int]]:
    """Boxes of a sample in pixels of its image."""
    height, width = sample.image.shape[1:]
    names = dict(enumerate(COLOURS))
    return {
        names[thing.label]: tuple(np.round(np.array(thing.box) * [width, height, width, height]).astype(int))
        for thing in sample.scene.objects
    }


def there(sample) -> dict[str, tuple[int, int, int, int]]:
    pixels = sample.image.permute(1, 2, 0).numpy()
    return {name: bounds(pixels, name) for name in COLOURS}


def coco(root, orientation: int, described: str, suffix: str = "png", side: int = 24, **more):
    """A data set of one image, annotated as stored or as seen. more: of the image's entry."""
    raster = stored(side)
    write(root / "train2017" / f"a.{suffix}", raster, orientation)
    basis = raster if described == "stored" else seen(raster, orientation)
    annotations = []
    for number, name in enumerate(COLOURS, start=1):
        x0, y0, x1, y1 = map(int, bounds(basis, name))
        box = [x0, y0, x1 - x0, y1 - y0]
        annotations.append({"image_id": 0, "category_id": number, "bbox": box, "iscrowd": 0})
    entry = {"id": 0, "file_name": f"a.{suffix}", "width": basis.shape[1], "height": basis.shape[0], **more}
    categories = [{"id": number, "name": name} for number, name in enumerate(COLOURS, start=1)]
    whole = {"images": [entry], "annotations": annotations, "categories": categories}
    path = root / "annotations" / "instances_train2017.json"
    path.parent.mkdir()
    path.write_text(json.dumps(whole))
    return root


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize("described", ["stored", "upright"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_boxes_of_coco_lie_on_their_things(tmp_path, orientation, described, suffix):
    """Sizes tell of those that are turned by a quarter; of the others the setting does."""
    how = {"annotated": described} if orientation in MIRRORED else {}
    settings = CocoSettings(root=coco(tmp_path, orientation, described, suffix), parts=("things",), **how)
    sample = Coco(settings, "train")[0]
    assert sample.image.shape[1:] == ((48, 24) if orientation > 4 else (24, 48))
    assert found(sample) == there(sample)


def test_boxes_are_those_of_the_raster_where_no_size_tells(tmp_path):
    settings = CocoSettings(root=coco(tmp_path, 3, "stored"), parts=("things",))
    assert settings.annotated == "stored"
    sample = Coco(settings, "train")[0]
    assert found(sample) == there(sample) == {"red": (24, 15, 42, 21), "green": (0, 0, 18, 12)}


@pytest.mark.parametrize("described", ["stored", "upright"])
def test_a_square_is_decided_by_the_setting_and_said(tmp_path, described):
    root = coco(tmp_path, 6, described, side=48)
    reader = Coco(CocoSettings(root=root, parts=("things",), annotated=described), "train")
    assert found(reader[0]) == there(reader[0])
    (told,) = reader.notes(inspect(reader).headers)
    assert told.startswith("1 images are turned by EXIF, and no size tells what their boxes describe")
    assert f"data.annotated={described}" in told


def test_nothing_is_said_where_sizes_tell(tmp_path):
    reader = Coco(CocoSettings(root=coco(tmp_path, 6, "stored"), parts=("things",)), "train")
    assert reader.notes(inspect(reader).headers) == []


def test_a_image_of_another_size_is_refused_in_one_line(tmp_path):
    root = coco(tmp_path, 6, "stored", width=50, height=30)
    reader = Coco(CocoSettings(root=root, parts=("things",)), "train")
    words = r"image's size, 48 x 24 pixels, or 24 x 48 as it is stored, got 30 x 50 in .*a\.png"
    with pytest.raises(UserError, match=words):
        reader[0]


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_scaled_copy_of_the_annotated_image_keeps_its_boxes(tmp_path, orientation):
    root = coco(tmp_path, orientation, "stored")
    path = root / "annotations" / "instances_train2017.json"
    file = json.loads(path.read_text())
    file["images"][0].update(width=480, height=241)  # the copy's sides were rounded
    for one in file["annotations"]:
        one["bbox"] = [10 * side for side in one["bbox"]]
    path.write_text(json.dumps(file))
    sample = Coco(CocoSettings(root=root, parts=("things",)), "train")[0]
    assert found(sample) == there(sample)


@pytest.mark.parametrize("described", ["stored", "upright"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_boxes_of_open_images(tmp_path, orientation, described):
    """They are turned as the images are, says their publisher: of the raster, unless the setting says."""
    raster = stored()
    basis = raster if described == "stored" else seen(raster, orientation)
    write(tmp_path / "train" / "a.jpg", np.kron(raster, np.ones((8, 8, 1), np.uint8)), orientation)
    rows = [["ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax"]]
    rows[0] += ["IsOccluded", "IsGroupOf", "IsDepiction", "IsInside"]
    for number, name in enumerate(COLOURS):
        x0, y0, x1, y1 = bounds(basis, name)
        (height, width) = basis.shape[:2]
        rows.append(["a", f"/m/{number}", x0 / width, x1 / width, y0 / height, y1 / height, 0, 0, 0, 0])
    with (tmp_path / "oidv6-train-annotations-bbox.csv").open("w", newline="") as out:
        csv.writer(out).writerows(rows)
    (tmp_path / "class-descriptions-boxable.csv").write_text("/m/0,red\n/m/1,green\n")
    how = {} if described == "stored" else {"annotated": "upright"}
    reader = OpenImages(OpenImagesSettings(root=tmp_path, **how), "train")
    sample = reader[0]
    for name, (x0, y0, x1, y1) in found(sample).items():  # JPEG: colours are nearly those
        inside = sample.image[:, y0 + 4 : y1 - 4, x0 + 4 : x1 - 4].float().mean((1, 2))
        assert (inside - torch.tensor(COLOURS[name])).abs().max() < 12
    assert len(reader.notes(inspect(reader).headers)) == (orientation != 1)


def paired(root, orientation: int, described: str, content: str, side: int = 24):
    raster = stored(side)
    write(root / "images" / "a.png", raster, orientation)
    basis = raster if described == "stored" else seen(raster, orientation)
    (root / "maps").mkdir()
    level = basis.argmax(-1) + (basis.max(-1) > 0)  # 0 nothing, 1 red, 2 green
    if content == "depth":
        Image.fromarray(level.astype(np.uint16) * 1000).save(root / "maps" / "a.png")
    else:
        Image.fromarray(level.astype(np.uint8) if content == "segmentation" else basis).save(
            root / "maps" / "a.png"
        )
    return PairsSettings(root=root / "images", maps=root / "maps", content=content, val_share=0.0)


@pytest.mark.parametrize("content", ["segmentation", "depth", "image"])
@pytest.mark.parametrize("described", ["stored", "upright"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_maps_lie_on_their_images(tmp_path, orientation, described, content):
    how = paired(tmp_path, orientation, described, content)
    if orientation in MIRRORED and described == "upright":
        how = PairsSettings(**{**vars(how), "annotated": "upright"})
    sample = Pairs(how, "train")[0]
    shown = sample.image
    if content == "image":
        assert imaging.to_uint8(sample.map).equal(shown)
    else:
        red, green = (shown[channel] == 255 for channel in (0, 1))
        level = sample.segmentation if content == "segmentation" else sample.map[0] + 1
        assert level.equal((red + 2 * green).to(level.dtype))
        assert red.sum() == 18 * 6


@pytest.mark.parametrize("described", ["stored", "upright"])
def test_the_map_of_a_square_is_decided_by_the_setting(tmp_path, described):
    how = paired(tmp_path, 6, described, "segmentation", side=48)
    reader = Pairs(PairsSettings(**{**vars(how), "annotated": described}), "train")
    sample = reader[0]
    assert (sample.segmentation == 1).equal(sample.image[0] == 255)
    (told,) = reader.notes(inspect(reader).headers)
    assert f"what their maps describe: .*data.annotated={described}".split(".*")[1] in told


def test_a_map_that_fits_neither_side_names_all_sizes(tmp_path):
    how = paired(tmp_path, 8, "stored", "segmentation")
    Image.new("L", (40, 24)).save(tmp_path / "maps" / "a.png")
    words = r"size, 48 x 24 pixels, or 24 x 48 as it is stored, got 24 x 40 in .*a\.png; resize one"
    with pytest.raises(UserError, match=words):
        Pairs(how, "train")[0]


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("content", ["segmentation", "depth"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_map_with_exif_of_its_own_is_turned_by_it(tmp_path, orientation, content, suffix):
    """Beside an image with the same EXIF, and beside one that was turned before it was saved."""
    how = paired(tmp_path, orientation, "stored", content)
    (tmp_path / "maps" / "a.png").unlink()
    raster = stored()
    level = (raster.argmax(-1) + (raster.max(-1) > 0)).astype(np.uint8)
    values = level if content == "segmentation" else level.astype(np.uint16) * 1000
    write(tmp_path / "maps" / f"a.{suffix}", values, orientation)
    if orientation > 4:  # of the others no size tells that the map stands upright already
        sample = Pairs(how, "train")[0]
        levels = sample.segmentation if content == "segmentation" else sample.map[0] + 1
        assert (levels == 1).equal(sample.image[0] == 255)
    Image.fromarray(seen(raster, orientation)).save(tmp_path / "images" / "a.png")
    sample = Pairs(how, "train")[0]
    levels = sample.segmentation if content == "segmentation" else sample.map[0] + 1
    assert (levels == 1).equal(sample.image[0] == 255)
    assert (levels == 1).sum() == 18 * 6


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_headers_say_how_a_image_is_turned(tmp_path, orientation):
    for suffix in ("jpg", "png", "tif", "webp"):
        write(tmp_path / f"a.{suffix}", stored(), orientation)
        header = imaging.read_header(tmp_path / f"a.{suffix}")
        pixels, turn = imaging.open_turned(tmp_path / f"a.{suffix}")
        assert turn == header.turn
        assert (turn == UPRIGHT) == (orientation == 1)
        assert (header.height, header.width) == tuple(pixels.shape[1:])
        assert turn.size((header.height, header.width)) == (24, 48)


@pytest.mark.parametrize("how", [None, PixelReading(range=(0, 255))])
def test_exif_that_stands_behind_the_pixels_turns_them_too(tmp_path, how):
    exif, data = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.fromarray(stored()).save(data, "PNG")
    with (tmp_path / "a.png").open("wb") as file:
        file.write(data.getvalue()[:-12])  # all but the last chunk
        PngImagePlugin.putchunk(file, b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
        file.write(data.getvalue()[-12:])
    pixels, turn = open_turned(tmp_path / "a.png", how)
    assert turn == TURNS[6]
    assert (pixels.permute(1, 2, 0).numpy() == seen(stored(), 6)).all()


def test_damaged_exif_is_upright(tmp_path):
    assert ValueError in BROKEN
    Image.fromarray(stored()).save(tmp_path / "a.png", exif=b"Exif\x00\x00no tiff header at all")
    pixels, turn = imaging.open_turned(tmp_path / "a.png")
    assert turn == UPRIGHT
    assert pixels.shape == (3, 24, 48)
