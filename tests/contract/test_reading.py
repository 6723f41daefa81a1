"""The values of image files as they stand there, and what becomes of them (oblong throughout)."""

import io
import sys
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, PngImagePlugin

from smalti import imaging, library, opening
from smalti.data import transforms
from smalti.data.folder import Folder, FolderSettings
from smalti.data.pixels import Percentiles, PixelSettings, with_numbers
from smalti.data.report import inspect
from smalti.data.transforms import CropSettings
from smalti.errors import UserError
from smalti.exif import TURNS
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.reading import values, writing
from smalti.reading.huge import Huge
from smalti.reading.pixels import PixelReading, from_pil, open_pixels, open_turned
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings

SIDES = (6, 10)


def numbers(top, *, bands=1, low=0, kind=np.uint16, seed=0):
    shape = SIDES if bands == 1 else (*SIDES, bands)
    found = np.random.default_rng(seed).integers(low, top, shape, endpoint=True).astype(kind)
    found.flat[0], found.flat[-1] = low, top
    return found


def report(root: Path, **settings) -> str:
    return inspect(Folder(FolderSettings(root=root, val_share=0, **settings), "train")).text()


def channels(found):
    return found.permute(1, 2, 0).numpy()


# ---- range


def test_12_bits_read_with_a_range_keep_every_value(tmp_path):
    array = numbers(4095)
    Image.fromarray(array).save(tmp_path / "a.png")
    found = open_pixels(tmp_path / "a.png", PixelReading(range=(0, 4095), bands="gray"))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found[0].numpy(), (array / 4095 * 255).astype(np.float32))
    three = open_pixels(tmp_path / "a.png", PixelReading(range=(0, 4095)))
    assert three.shape == (3, *SIDES)
    assert three.equal(found.expand(3, -1, -1))


@pytest.mark.parametrize("kind", [np.int16, np.int32])
def test_negative_numbers_are_values(tmp_path, kind):
    array = numbers(1999, low=-996, kind=kind)
    tifffile.imwrite(tmp_path / "a.tif", array)
    found = open_pixels(tmp_path / "a.tif", PixelReading(range=(-1000, 1000), bands=(0,)))[0].numpy()
    np.testing.assert_allclose(found, ((array + 1000) / 2000).clip(0, 1) * 255, rtol=1e-6)


@pytest.mark.parametrize("kind", [np.uint32, np.float32, np.float64])
def test_large_and_broken_numbers(tmp_path, kind):
    array = numbers(4_000_000_000, low=2**31 - 5, kind=np.uint32).astype(kind)
    tifffile.imwrite(tmp_path / "a.tif", array)
    found = open_pixels(tmp_path / "a.tif", PixelReading(range=(2**31 - 5, 4e9), bands=(0,)))[0].numpy()
    share = (array.astype(np.float64) - (2**31 - 5)) / (4e9 - (2**31 - 5))
    np.testing.assert_allclose(found, share.clip(0, 1) * 255, atol=1e-4)


def test_what_is_no_number_is_black(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.array([[np.nan, np.inf, 0.25]], np.float32))
    found = open_pixels(tmp_path / "a.tif", PixelReading(range=(0, 1), bands="gray"))
    assert found.tolist() == [[[0.0, 255.0, 63.75]]]


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_colours_of_16_bits_keep_both_halves(tmp_path, order, compression):
    array = numbers(65535, bands=3)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", byteorder=order, compression=compression)
    assert (values.read(tmp_path / "a.tif").samples.transpose(1, 2, 0) == array).all()
    found = open_pixels(tmp_path / "a.tif", PixelReading(range=(0, 65535), bands=(2, 0, 1)))
    np.testing.assert_allclose(channels(found), array[..., [2, 0, 1]] / 65535 * 255, rtol=1e-6)


@pytest.mark.parametrize("many", [2, 3, 4])
def test_png_of_16_bits_a_band(tmp_path, many):
    """Pillow gives the upper 8 bits alone."""
    array = numbers(65535, bands=many)
    kind = {2: 4, 3: 2, 4: 6}[many]
    path = tmp_path / "a.png"
    path.write_bytes(png(array, bits=16, kind=kind))
    found = values.read(path)
    assert (found.samples.transpose(1, 2, 0) == array).all()
    assert found.alpha == (many != 3)
    colours = array if many == 3 else array[..., :-1]
    assert sorted(PixelSettings().values(path).flat) == sorted(colours.flat)
    seen = open_pixels(path, PixelReading(range=(0, 65535)))
    share = array[..., -1:] / 65535 if many != 3 else 1
    white = array[..., : 3 if many > 2 else 1] / 65535 * share + (1 - share)
    np.testing.assert_allclose(channels(seen), np.broadcast_to(white * 255, (*SIDES, 3)), atol=1e-3)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("ranged", [False, True])
def test_white_is_zero_is_upright(tmp_path, bits, ranged):
    kind = {8: np.uint8, 16: np.uint16}[bits]
    top = 2**bits - 1
    array = numbers(top, kind=kind)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="miniswhite")
    expected = (top - array.astype(np.int64)) / top * 255
    found = open_pixels(tmp_path / "a.tif", PixelReading(range=(0, top)) if ranged else None)
    assert found.shape == (3, *SIDES)
    np.testing.assert_allclose(found[1].numpy(), expected, atol=0.001 if ranged else 0.5)
    bands = open_pixels(tmp_path / "a.tif", PixelReading(bands=(0,)))
    np.testing.assert_allclose(bands[0].numpy(), expected, atol=0.5)


def test_exif_turns_what_a_range_reads(tmp_path, monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6
    array = numbers(4095)
    Image.fromarray(array).save(tmp_path / "a.png", exif=exif)
    opened, use = [], opening.use
    monkeypatch.setattr(opening, "use", lambda *given: opened.append(given) or use(*given))
    found, turn = open_turned(tmp_path / "a.png", PixelReading(range=(0, 4095), bands="gray"))
    np.testing.assert_allclose(found[0].numpy(), np.rot90(array, -1) / 4095 * 255, rtol=1e-6)
    assert turn == TURNS[6]
    assert len(opened) == 1


def test_a_pillow_image_is_read_as_its_file(tmp_path):
    how = PixelReading(range=(0, 4095), bands=(0,))
    Image.fromarray(numbers(4095)).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert from_pil(image, how).equal(open_pixels(tmp_path / "a.png", how))


def test_gray_is_what_pillow_calls_so(tmp_path):
    Image.fromarray(numbers(255, bands=3, kind=np.uint8)).save(tmp_path / "a.png")
    found = open_pixels(tmp_path / "a.png", PixelReading(bands="gray"))
    with Image.open(tmp_path / "a.png") as image:
        assert found.numpy().tolist() == [np.asarray(image.convert("L")).tolist()]
    ranged = open_pixels(tmp_path / "a.png", PixelReading(range=(0, 255), bands="gray"))
    assert ranged.sub(found).abs().max() <= 0.5  # the same, not rounded


def test_a_crop_stays_between_black_and_white(tmp_path):
    """Bicubic overshoots at an edge; of 8 bits it cuts by itself."""
    array = np.zeros((30, 48), np.uint16)
    array[:, 20:] = 4095
    Image.fromarray(array).save(tmp_path / "a.png")
    found = open_pixels(tmp_path / "a.png", PixelReading(range=(0, 4095), bands="gray"))
    whole = CropSettings(flip=0.0, position="center")
    for side in (8, 60):  # smaller and larger
        crop = transforms.crop(found, (side, side + 10), whole, torch.Generator())
        assert (crop.min(), crop.max()) == (0, 255)


# ---- bands and pages


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("many", [3, 5])
def test_bands_are_chosen_by_number(tmp_path, planar, kind, many):
    top = np.iinfo(kind).max
    array = numbers(top, bands=many, kind=kind)
    stored = array if planar == "contig" else array.transpose(2, 0, 1)
    how = {"photometric": "minisblack", "planarconfig": planar, "bigtiff": many == 3}
    tifffile.imwrite(tmp_path / "a.tif", stored, **how)
    for bands in ([many - 1, 0], [0]):  # the first by itself Pillow would read, if it knew how it lies
        found = open_pixels(tmp_path / "a.tif", PixelReading(bands=tuple(bands)))
        assert found.dtype == torch.uint8
        assert (channels(found) == np.round(array[..., bands] / top * 255)).all()
    with pytest.raises(UserError, match=rf"a\.tif \(no band {many}: it has {many}, from 0\)"):
        open_pixels(tmp_path / "a.tif", PixelReading(bands=(many,)))


def test_near_infrared_is_no_transparency_where_bands_say_so(tmp_path):
    array = numbers(255, bands=4, kind=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb")
    assert (channels(open_pixels(tmp_path / "a.tif", PixelReading(bands=(0, 1, 2)))) == array[..., :3]).all()
    assert (
        channels(open_pixels(tmp_path / "a.tif", PixelReading(bands=(3, 2, 1, 0)))) == array[..., ::-1]
    ).all()
    Image.fromarray(array).save(tmp_path / "a.png")
    assert (channels(open_pixels(tmp_path / "a.png", PixelReading(bands=(0, 1, 2)))) == array[..., :3]).all()
    assert "the fourth band is taken as transparency" in report(tmp_path)
    assert "data.bands='[0, 1, 2]'" in report(tmp_path)
    assert "fourth band" not in report(tmp_path, bands=(0, 1, 2))


def test_pages_are_bands_and_said(tmp_path):
    pages = np.stack([numbers(255, kind=np.uint8, seed=seed) for seed in range(3)])
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack")
    found = open_pixels(tmp_path / "a.tif", PixelReading(bands=(2, 0)))
    assert (found.numpy() == pages[[2, 0]]).all()
    assert "1 files have pages beyond the first, which are not read" in report(tmp_path)
    assert "data.bands='[1]' network.in_channels=1 network.out_channels=1 takes" in report(tmp_path)
    with pytest.raises(UserError, match="no band 3: it has 3"):
        open_pixels(tmp_path / "a.tif", PixelReading(bands=(3,)))
    pages = np.stack([numbers(65535, bands=3, seed=seed) for seed in range(2)])
    tifffile.imwrite(tmp_path / "b.tif", pages, photometric="rgb")
    found = values.read(tmp_path / "b.tif", (5, 3))
    assert (found.samples == pages[1].transpose(2, 0, 1)[[2, 0]]).all()


def test_bands_that_are_left_out_are_said(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", numbers(255, bands=5, kind=np.uint8), photometric="rgb")
    assert "1 files have 5 bands, of which the first three alone will be read" in report(tmp_path)


def test_bands_that_are_not_there_are_said(tmp_path):
    Image.fromarray(numbers(255, bands=3, kind=np.uint8)).save(tmp_path / "a.png")
    assert "1 files have no band 4, they have 3, and will be left out" in report(tmp_path, bands=(0, 4))
    assert "no band" not in report(tmp_path, bands=(0, 2))


def test_a_compression_that_needs_another_package_names_the_extra(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", numbers(9, bands=5), photometric="minisblack", planarconfig="contig")

    def lacking(page):
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile.TiffPage, "asarray", lacking)
    with pytest.raises(UserError, match=r"LZW: 5> requires.*; pip install 'smalti\[tiff\]'"):
        open_pixels(tmp_path / "a.tif", PixelReading(bands=(4,)))


def test_without_the_extra_the_error_names_it(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", numbers(9, bands=5), photometric="minisblack", planarconfig="contig")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(UserError, match=r"the package tifffile, got none; pip install 'smalti\[tiff\]'"):
        open_pixels(tmp_path / "a.tif", PixelReading(bands=(4,)))


def test_a_kind_that_pillow_lacks_says_what_it_is(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", numbers(9, bands=5), photometric="minisblack", planarconfig="contig")
    reason = r"a\.tif \(a TIFF with 5 bands of numbers of 16 bits.*data\.bands='\[0, 1, 2\]'"
    with pytest.raises(UserError, match=reason):
        imaging.open_rgb(tmp_path / "a.tif")
    assert "unreadable" not in report(tmp_path, bands=(0, 1, 2))
    header = values.read_header(tmp_path / "a.tif", (0,))
    assert (header.height, header.width, header.bands) == (*SIDES, 5)


# ---- the report


@pytest.mark.parametrize(
    ("array", "lines"),
    [
        (numbers(4094), ["0 to 4094, 6.2% of the range 0 to 65535", "data.range='[0, 4095]'"]),
        (numbers(39), ["less than a tenth", "data.range='[0, 39]'"]),
        (numbers(0), ["less than a tenth", "data.range='[0, 1]'"]),
        (numbers(0, kind=np.float32) + 7, ["no known white", "data.range='[7.0, 8.0]'"]),
        (numbers(3984, bands=3), ["less than a tenth", "data.range='[0, 4095]'"]),
        (numbers(1999, low=-996, kind=np.int16), ["lie outside", "data.range='[-996, 1999]'"]),
        (numbers(90000, kind=np.int32), ["lie outside and will be cut", "data.range='[0, 90000]'"]),
        (numbers(1, kind=np.float32) * 0.9, ["no known white", "data.range='[0.0, 1.0]'"]),
        (numbers(250, kind=np.float32) / 2, ["no known white", "data.range='[0.0, 125.0]'"]),
    ],
    ids=["12 bits", "counts", "black", "plain", "colours", "negative", "beyond", "floats", "reflectance"],
)
def test_the_report_names_the_range_that_is_used(tmp_path, array, lines):
    photometric = "rgb" if array.ndim == 3 else "minisblack"
    tifffile.imwrite(tmp_path / "a.tif", array, photometric=photometric)
    told = report(tmp_path)
    assert all(line in told for line in lines), told
    assert "warning" in told


def test_the_report_is_quiet_where_all_is_well(tmp_path, monkeypatch):
    Image.fromarray(numbers(65535)).save(tmp_path / "a.png")
    assert "0 to 65535, 100.0% of the range" in report(tmp_path)
    assert "warning" not in report(tmp_path)
    (tmp_path / "a.png").unlink()
    Image.fromarray(numbers(40, kind=np.uint8)).save(tmp_path / "b.png")
    monkeypatch.setattr(PixelSettings, "values", None)  # files of 8 bits are not opened for it
    assert "values" not in report(tmp_path)


def test_the_report_says_what_a_range_cuts(tmp_path):
    Image.fromarray(np.array([[0, 100, 200, 300]], np.uint16)).save(tmp_path / "a.png")
    assert "0 to 300, 25.0% outside data.range 0 to 200" in report(tmp_path, range=(0.0, 200.0))


def test_percentiles_are_those_of_the_data(tmp_path):
    for name in range(3):
        Image.fromarray(np.full(SIDES, 100 * name, np.uint16)).save(tmp_path / f"{name}.png")
    found = with_numbers(
        PixelSettings(range=Percentiles(percentiles=(25, 100))), sorted(tmp_path.glob("*.png"))
    )
    assert found.range == (0, 200)
    found = with_numbers(
        PixelSettings(range=Percentiles(percentiles=(50, 100))), sorted(tmp_path.glob("*.png"))
    )
    assert found.range == (100, 200)
    flat = [tmp_path / "1.png"]
    with pytest.raises(UserError, match="two percentiles that differ, got 100 for both"):
        with_numbers(PixelSettings(range=Percentiles(percentiles=(50, 100))), flat)


# ---- files that cannot be read


def test_the_report_says_why_a_file_cannot_be_read(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    Image.fromarray(numbers(255, kind=np.uint8)).save(tmp_path / "b.png")
    assert "a.png (no format that Pillow knows); mend the file" in report(tmp_path)


def long_texts(kind):
    info, data = PngImagePlugin.PngInfo(), b"0123456789abcdef" * 2**17
    options = {}
    if kind == "iCCP":
        options["icc_profile"] = data
    else:
        info.add_text("Comment", data.decode(), zip=True) if kind == "zTXt" else info.add_itxt(
            "Comment", data.decode(), zip=True
        )
    return {"pnginfo": info, **options}


@pytest.mark.parametrize("kind", ["iCCP", "zTXt", "iTXt"])
def test_long_profiles_and_texts_do_not_cost_a_image(tmp_path, kind):
    array, exif = numbers(255, bands=3, kind=np.uint8), Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(array).save(tmp_path / "a.png", exif=exif, **long_texts(kind))
    with pytest.raises(ValueError, match="MAX_TEXT_CHUNK"), Image.open(tmp_path / "a.png"):
        pass
    before = PngImagePlugin.MAX_TEXT_CHUNK, Image.MAX_IMAGE_PIXELS
    assert (channels(imaging.open_rgb(tmp_path / "a.png")) == array[::-1, ::-1]).all()
    header = imaging.read_header(tmp_path / "a.png")
    assert (header.height, header.width) == SIDES
    assert before == (PngImagePlugin.MAX_TEXT_CHUNK, Image.MAX_IMAGE_PIXELS)


def test_a_text_behind_the_pixels_that_would_fill_memory_is_left_out(tmp_path):
    """A megabyte that inflates to a gigabyte is not inflated."""
    packer = zlib.compressobj()
    text = b"".join([packer.compress(bytes(2**20)) for _ in range(64)]) + packer.flush()
    data = png(numbers(255, bands=3, kind=np.uint8), bits=8, kind=2)
    chunk = writing._chunk(b"zTXt", b"Comment\0\0" + text)
    (tmp_path / "a.png").write_bytes(data[:-12] + chunk + data[-12:])
    assert imaging.open_rgb(tmp_path / "a.png").shape == (3, *SIDES)


@pytest.fixture
def low_limit(monkeypatch):
    """As if images of 10 x 10 pixels were large."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    monkeypatch.setattr(opening, "LIMIT", 100)


def cropped(image, size, how, seed=0):
    chance = torch.Generator().manual_seed(seed)
    return transforms.place(tuple(image.shape[1:]), size, how, chance).image(image)


def waves(height=240, width=360):
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([128 + 99 * np.sin(x / 40), 128 + 99 * np.cos(y / 30), (x + y) / 4], -1).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "bmp"])
def test_images_above_the_limit_are_allowed_by_a_setting(tmp_path, low_limit, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(waves()).save(path)
    said = r"86400 pixels, above the limit of 100\); .*data\.max_pixels=86400"
    with pytest.raises(UserError, match=said):
        imaging.open_rgb(path)
    with pytest.raises(UserError, match=said):
        imaging.read_header(path)
    with pytest.raises(UserError, match="above the limit of 86399"):
        imaging.open_rgb(path, 86399)
    found = imaging.open_rgb(path, 86400)
    assert np.abs(channels(found).astype(int) - waves()).max() <= (8 if suffix == "jpg" else 0)
    assert Image.MAX_IMAGE_PIXELS == 50


def test_a_format_that_pillow_bounds_by_itself_says_so(tmp_path, low_limit):
    Image.fromarray(waves()).save(tmp_path / "a.webp")
    with pytest.raises(
        UserError, match=r"a\.webp \(.* exceeds limit of 100 pixels.*; write it as PNG or TIFF"
    ):
        imaging.open_rgb(tmp_path / "a.webp", 10**6)


def test_other_threads_keep_the_limit(tmp_path, low_limit):
    Image.fromarray(waves()).save(tmp_path / "a.png")
    refused = []

    def look(image):
        other = threading.Thread(target=lambda: refused.append(limited(tmp_path / "a.png")))
        other.start()
        other.join()

    opening.use(tmp_path / "a.png", look, 10**6)
    assert refused == [True]


def limited(path):
    try:
        imaging.read_header(path)
    except UserError:
        return True
    return False


@pytest.mark.parametrize("crop", [CropSettings(scale=(1.0, 2.0)), CropSettings(resize="none")])
@pytest.mark.parametrize("how", [{}, {"range": (0.0, 300.0)}, {"bands": (2, 0)}], ids=str)
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "tiles.tif", "strips.tif"])
def test_crops_of_images_above_the_limit_are_those_of_the_whole(tmp_path, low_limit, name, how, crop):
    array, path = waves(), tmp_path / name
    if name == "tiles.tif":
        tifffile.imwrite(path, array, tile=(32, 48), photometric="rgb", compression="zlib")
    elif name == "strips.tif":
        tifffile.imwrite(path, array, rowsperstrip=7, photometric="rgb")
    else:
        Image.fromarray(array).save(path, **({"quality": 98} if name == "a.jpg" else {}))
    huge = PixelSettings(max_pixels=10**6, **how).open(path)
    assert isinstance(huge, Huge)
    whole = torch.from_numpy(array).permute(2, 0, 1)
    whole = whole.float() * 255 / 300 if "range" in how else whole[[2, 0]] if how else whole
    for seed in range(6):
        crops = [cropped(image, (16, 24), crop, seed) for image in (huge, whole)]
        assert crops[0].shape == crops[1].shape == (2 if "bands" in how else 3, 16, 24)
        assert crops[0].dtype == crops[1].dtype
        apart = (crops[0].float() - crops[1].float()).abs().max()
        assert apart <= (0 if name != "a.jpg" and crop.resize == "none" else 6)


def test_of_tiles_those_of_the_crop_are_decoded(tmp_path, low_limit, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", waves(), tile=(32, 48), photometric="rgb")
    read, seek = [], tifffile.FileHandle.seek
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        offsets = file.pages[0].dataoffsets
    monkeypatch.setattr(tifffile.FileHandle, "seek", lambda file, *at: read.append(at[0]) or seek(file, *at))
    huge = PixelSettings(max_pixels=10**6).open(tmp_path / "a.tif")
    middle = CropSettings(resize="none", position="center", flip=0.0)
    cropped(huge, (16, 24), middle)
    assert 1 <= len(set(read) & set(offsets)) <= 4 < len(offsets)
    tifffile.imwrite(tmp_path / "b.tif", waves()[..., 0], tile=(32, 48), photometric="miniswhite")
    huge = PixelSettings(max_pixels=10**6).open(tmp_path / "b.tif")
    white = 255 - torch.from_numpy(waves()[112:128, 168:192, 0])
    assert cropped(huge, (16, 24), middle).equal(white.expand(3, -1, -1))


def test_a_jpeg_above_the_limit_is_decoded_smaller(tmp_path, low_limit, monkeypatch):
    Image.fromarray(waves()).save(tmp_path / "a.jpg")
    decoded, decode = [], imaging.simplejpeg.decode_jpeg
    monkeypatch.setattr(
        imaging.simplejpeg,
        "decode_jpeg",
        lambda *given, **options: decoded.append(decode(*given, **options)) or decoded[-1],
    )
    huge = PixelSettings(max_pixels=10**6).open(tmp_path / "a.jpg")
    cropped(huge, (24, 36), CropSettings())
    assert [array.shape for array in decoded] == [(30, 45, 3)]
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[:-2] + bytes(7) + data[-2:])  # which Pillow does not mind
    assert cropped(huge, (24, 36), CropSettings()).shape == (3, 24, 36)


# ---- writing


@pytest.mark.parametrize(
    ("array", "range"),
    [
        (numbers(4095)[None], (0, 4095)),
        (numbers(4095, bands=3).transpose(2, 0, 1), (0, 4095)),
        (numbers(39)[None], (0, 39)),
        (numbers(1999, low=-996, kind=np.int16)[None], (-1000, 2000)),
        (numbers(90000, kind=np.int32)[None], (0, 100000)),
        (numbers(1, kind=np.float32)[None] * np.float32(0.5), (0, 1)),
        (numbers(255, bands=5, kind=np.uint8).transpose(2, 0, 1), None),
        (numbers(4095, bands=5).transpose(2, 0, 1), (0, 4095)),
    ],
    ids=["gray", "colours", "counts", "negative", "beyond", "floats", "five", "five of 12 bits"],
)
def test_what_is_written_is_what_was_read(tmp_path, array, range):
    many = len(array)
    first = array[0] if many == 1 else array.transpose(1, 2, 0)
    plan = {} if many == 1 else {"planarconfig": "contig"}
    tifffile.imwrite(tmp_path / "in.tif", first, photometric="rgb" if many == 3 else "minisblack", **plan)
    how = PixelReading(range=range, bands=tuple(np.arange(many).tolist()))
    assert writing.is_needed(how)
    read = imaging.to_float(open_pixels(tmp_path / "in.tif", how))
    path = writing.file_values(read, how, '{"seed": 7}').save(tmp_path / "out")
    assert imaging.read_metadata(path) == {"seed": 7}
    again = values.read(path, how.bands).samples
    if range == (0, 1):
        np.testing.assert_allclose(again, array, atol=1e-6)
        assert again.dtype == np.float32
    else:
        assert (again == array).all()
        assert path.suffix == ".png" or tifffile.imread(path).dtype == array.dtype
    assert path.suffix == (".png" if array.dtype == np.uint16 and many < 5 else ".tif")
    with pytest.raises(UserError, match="names that are free"):
        writing.file_values(read, how, "{}").save(tmp_path / "out")


def test_pillow_images_of_a_range_hold_16_bits():
    drawn = torch.linspace(-1, 1, 60).view(1, 1, *SIDES)
    (gray,) = writing.to_pil(drawn, PixelReading(range=(0, 4095), bands="gray"))
    assert (gray.mode, gray.getpixel((9, 5)), gray.size) == ("I;16", 4095, (10, 6))
    with pytest.raises(UserError, match=r"5 channels; use \.values"):
        writing.to_pil(drawn.expand(1, 5, -1, -1), PixelReading(bands=(0, 1, 2, 3, 4)))


# ---- models


def tiny(**settings) -> Tokenizer:
    network = NetworkSettings(
        width=4, groups=2, multipliers=(1, 1), blocks=1, attention_levels=(), latent_channels=4, code_dim=2
    )
    found = Tokenizer(
        TokenizerSettings(network=network, quantizer=VectorQuantizerSettings(codebook_size=8), **settings)
    )
    with torch.no_grad():
        for weight in found.state_dict().values():
            weight.copy_((torch.arange(weight.numel()) % 7).view(weight.shape) / 8)
    return found


def test_models_of_before_keep_their_fingerprint():
    """Computed by the code of before there were `pixels` and `labels`."""
    assert library.fingerprint(tiny()) == "41c3d2ea12f3facd"
    assert library.fingerprint(tiny(pixels=PixelReading(range=(0, 4095)))) != "41c3d2ea12f3facd"


def test_a_model_keeps_its_reading(tmp_path):
    how = PixelReading(range=(-1000.0, 2000.0), bands=(2, 0, 1))
    library.save(tiny(pixels=how), tmp_path / "model")
    assert library.load(tmp_path / "model").settings.pixels == how
    assert "range [-1000.0, 2000.0], bands [2, 0, 1]" in library.outline(tmp_path / "model").words


def png(array, *, bits, kind) -> bytes:
    """A PNG whose lines have no filter."""
    height, width = array.shape[:2]
    rows = array.astype(f">u{bits // 8}").reshape(height, -1).view(np.uint8)
    head = np.array([width, height], ">u4").tobytes() + bytes([bits, kind, 0, 0, 0])
    data = io.BytesIO()
    data.write(b"\x89PNG\r\n\x1a\n" + writing._chunk(b"IHDR", head))
    data.write(writing._chunk(b"IDAT", zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes())))
    data.write(writing._chunk(b"IEND", b""))
    return data.getvalue()
