"""Values of picture files, by pixel: WhiteIsZero, CT numbers, floats, bands; files that are odd and sound."""

import struct
import warnings
import zlib

import numpy as np
import pytest
import simplejpeg
import tifffile
import torch
from PIL import Image, PngImagePlugin
from tiny import NETWORK

from smalti import images, library, opening
from smalti.conditions.map_files import open_map
from smalti.data.folder import Folder, FolderSettings
from smalti.data.transforms import CropSettings, place
from smalti.errors import UserError
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.reading.labels import open_labels
from smalti.reading.pixels import PixelReading, open_pixels
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings

RAMP = np.arange(6 * 10).reshape(6, 10)  # oblong; as 8 bits 0, 4, .. 236


def gray(path, how=None):
    """The levels of a gray picture, of which all channels are equal."""
    pixels = open_pixels(path, how)
    assert (pixels == pixels[:1]).all()
    return pixels[0].tolist()


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("is_white_zero", [True, False])
def test_5_white_is_zero_is_upright(tmp_path, bits, is_white_zero):
    levels = (RAMP * 4).astype(np.uint8)
    stored = levels if bits == 8 else levels.astype(np.uint16) * 257
    stored = np.iinfo(stored.dtype).max - stored if is_white_zero else stored
    photometric = "miniswhite" if is_white_zero else "minisblack"
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric=photometric)
    assert images.open_rgb(tmp_path / "a.tif")[0].tolist() == levels.tolist()
    for bands in (None, "gray", (0,)):
        assert gray(tmp_path / "a.tif", PixelReading(bands=bands)) == levels.tolist()
    black_first = open_map(tmp_path / "a.tif", 1)
    assert black_first[0, 0, 0] < black_first[0, -1, -1]


def test_5_white_is_zero_with_a_range(tmp_path):
    """0 is white there, 4095 black, and what lies beyond is cut."""
    tifffile.imwrite(
        tmp_path / "a.tif", np.array([[0, 819, 4095, 9000]], np.uint16), photometric="miniswhite"
    )
    assert gray(tmp_path / "a.tif", PixelReading(range=(0, 4095))) == [[255, 204, 0, 0]]


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("bands", [None, "gray", (0,)])
def test_3_negative_numbers_and_floats(tmp_path, dtype, bands):
    values = np.array([[-100, -50, 0], [25, 100, 127]], dtype)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
    how = PixelReading(range=(-100, 100), bands=bands)
    if dtype is np.float64 and bands != (0,):
        with pytest.raises(
            UserError, match="floating point numbers of 64 bits, which Pillow does not read"
        ) as no:
            open_pixels(tmp_path / "a.tif", how)
        assert "data.bands='[0]'" in no.value.remedy
        return
    assert gray(tmp_path / "a.tif", how) == [[0, 63.75, 127.5], [159.375, 255, 255]]


def test_3_no_number_is_black(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.array([[np.nan, 0.5, np.inf, -np.inf]], np.float32))
    assert gray(tmp_path / "a.tif", PixelReading(range=(0, 1))) == [[0, 127.5, 255, 0]]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_3_colours_of_16_bits_keep_their_lower_half(tmp_path, suffix):
    """Of which Pillow gives the upper 8 bits alone: 12 bits would have 16 levels left."""
    values = (np.stack([RAMP, RAMP + 1000, 4095 - RAMP], axis=2)).astype(np.uint16)
    if suffix == "tif":
        tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb")
    else:
        (tmp_path / "a.png").write_bytes(png16(values))
    found = open_pixels(tmp_path / f"a.{suffix}", PixelReading(range=(0, 4095)))
    expected = torch.from_numpy(values.astype(np.float64).transpose(2, 0, 1) / 4095 * 255).float()
    assert found.equal(expected)


def test_3_bands_by_number_through_pages(tmp_path):
    first, second = np.full((4, 6, 5), 10, np.uint8), np.full((4, 6, 5), 20, np.uint8)
    first += np.arange(5, dtype=np.uint8)
    second += np.arange(5, dtype=np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in (first, second):
            file.write(page, photometric="minisblack", planarconfig="contig")
    found = open_pixels(tmp_path / "a.tif", PixelReading(bands=(4, 0, 7)))
    assert found[:, 2, 3].tolist() == [14, 10, 22]
    with pytest.raises(UserError, match="no band 10: it has 10, from 0"):
        open_pixels(tmp_path / "a.tif", PixelReading(bands=(10,)))


def test_3_near_infrared_is_no_transparency_where_bands_are_named(tmp_path):
    pixels = np.dstack([np.full((4, 6), value, np.uint8) for value in (10, 20, 30, 0)])
    Image.fromarray(pixels).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["unassalpha"])
    for name in ("a.png", "a.tif"):
        assert images.open_rgb(tmp_path / name)[:, 0, 0].tolist() == [255, 255, 255]  # wholly transparent
        found = open_pixels(tmp_path / name, PixelReading(bands=(0, 1, 2)))
        assert found[:, 0, 0].tolist() == [10, 20, 30]
        found = open_pixels(tmp_path / name, PixelReading(bands=(3, 2, 1, 0)))
        assert found[:, 0, 0].tolist() == [0, 30, 20, 10]


def test_younger_settings_that_are_not_used_change_no_fingerprint():
    """Taken with the code from before there were any: token shards name it."""
    network = NetworkSettings(**NETWORK, multipliers=(1, 1))
    quantizer = VectorQuantizerSettings(codebook_size=12)
    made = {}
    for pixels in (None, PixelReading(range=(0, 4095))):
        tokenizer = Tokenizer(TokenizerSettings(network=network, quantizer=quantizer, pixels=pixels))
        with torch.no_grad():
            for weight in tokenizer.parameters():
                weight.copy_(torch.arange(weight.numel()).view_as(weight) / 64)
        made[pixels is None] = library.fingerprint(tokenizer)
    assert made[True] == "1e89a432ab107b57"
    assert made[False] != made[True]


# ---- files that are odd, and sound


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png16(values):
    """A PNG of colours in 16 bits, which Pillow does not write."""
    height, width, _ = values.shape
    lines = np.pad(values.astype(">u2").reshape(height, -1).view(np.uint8), ((0, 0), (1, 0)))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(lines.tobytes())) + chunk(b"IEND", b"")
    )


def with_chunk(path, kind, data, *, at_end=False):
    whole = path.read_bytes()
    at = len(whole) - 12 if at_end else 33  # before IEND, or after IHDR
    path.write_bytes(whole[:at] + chunk(kind, data) + whole[at:])


LONG = bytes(2**20 + 2**18)
CHUNKS = {
    "iCCP": b"profile\0\0" + zlib.compress(LONG),
    "zTXt": b"words\0\0" + zlib.compress(LONG.replace(b"\0", b"a")),
    "iTXt": b"words\0\1\0\0\0" + zlib.compress(LONG.replace(b"\0", b"a")),
}


@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize("kind", CHUNKS)
def test_16_long_profiles_and_texts_are_no_reason(tmp_path, kind, at_end):
    if kind == "iCCP" and at_end:
        return  # a profile stands before the pixels
    path, levels = tmp_path / "a.png", (RAMP % 4).astype(np.uint8)
    Image.fromarray(levels).save(path)
    with_chunk(path, kind.encode(), CHUNKS[kind], at_end=at_end)
    limits = PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY, Image.MAX_IMAGE_PIXELS
    assert images.open_rgb(path)[0].tolist() == levels.tolist()
    assert gray(path, PixelReading(range=(0, 255))) == levels.tolist()
    assert open_labels(path).tolist() == levels.tolist()
    assert images.read_header(path).width == 10
    assert limits == (PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY, Image.MAX_IMAGE_PIXELS)


def test_16_facts_are_read_beside_a_long_text(tmp_path):
    images.save_png(tmp_path / "a.png", torch.zeros(3, 4, 6, dtype=torch.uint8), {"seed": 3})
    with_chunk(tmp_path / "a.png", b"zTXt", CHUNKS["zTXt"])
    assert images.read_facts(tmp_path / "a.png")["seed"] == 3


@pytest.fixture
def small_limit(monkeypatch):
    """Pictures above 4,000 pixels are huge, for Pillow and for us."""
    monkeypatch.setattr(opening, "LIMIT", 4000)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def smooth(height=80, width=120):
    rows, columns = np.mgrid[0:height, 0:width] / [[[height]], [[width]]]
    return np.dstack([rows * 255, columns * 255, (1 - rows) * columns * 255]).round().astype(np.uint8)


def test_16_a_picture_above_the_limit_is_allowed_by_a_setting(tmp_path, small_limit):
    Image.fromarray(smooth()).save(tmp_path / "a.png")
    reader = Folder(FolderSettings(root=tmp_path, val_share=0.0), "train")
    with pytest.raises(UserError) as refused:
        reader[0]
    assert "a.png (9600 pixels, above the limit of 4000)" in refused.value.got
    assert refused.value.remedy == "reduce it, or allow it in training: data.max_pixels=9600"
    with pytest.raises(UserError, match="9600 pixels, above the limit of 9599"):
        images.open_rgb(tmp_path / "a.png", 9599)
    with pytest.raises(UserError, match="9600 pixels, above the limit of 100"):  # below Pillow's too
        images.open_rgb(tmp_path / "a.png", 100)
    assert images.open_rgb(tmp_path / "a.png", 9600)[:, 40, 60].tolist() == smooth()[40, 60].tolist()
    assert images.read_header(tmp_path / "a.png", 9600).height == 80
    assert Image.MAX_IMAGE_PIXELS == 2000


FILES = {
    "png": lambda path: Image.fromarray(smooth()).save(path),
    "jpg": lambda path: Image.fromarray(smooth()).save(path, quality=98, subsampling=0),
    "tif": lambda path: tifffile.imwrite(
        path, smooth(), photometric="rgb", tile=(16, 32), compression="zlib"
    ),
    "tiff": lambda path: tifffile.imwrite(path, smooth(), photometric="rgb", rowsperstrip=7),
}


@pytest.mark.parametrize("how", [{}, {"range": (0.0, 127.0)}, {"bands": (2, 0)}], ids=str)
@pytest.mark.parametrize("suffix", FILES)
def test_16_a_crop_of_a_huge_picture_is_that_of_the_whole(tmp_path, small_limit, suffix, how):
    FILES[suffix](tmp_path / f"a.{suffix}")
    settings = FolderSettings(root=tmp_path, val_share=0.0, max_pixels=9600, **how)
    huge = Folder(settings, "train")[0].image
    assert not isinstance(huge, torch.Tensor)
    whole = open_pixels(tmp_path / f"a.{suffix}", settings.reading, 9600)
    assert huge.shape == tuple(whole.shape)
    for seed, resize in enumerate(("none", "short", "short")):
        crop = CropSettings(resize=resize, scale=(1.0, 1.5))
        where = place((80, 120), (24, 40), crop, torch.Generator().manual_seed(seed))
        found, expected = where.picture(huge), where.picture(whole)
        assert found.shape == expected.shape
        assert found.dtype == expected.dtype
        most = (found.float() - expected.float()).abs().max()
        assert most == 0 if resize == "none" else most < 9, (seed, resize, most)


def test_16_the_rest_of_a_huge_tiff_is_not_decoded(tmp_path, small_limit):
    """Its tiles further on are damaged: whoever decodes them fails."""
    path = tmp_path / "a.tif"
    FILES["tif"](path)
    whole = images.open_rgb(path, 9600)
    with tifffile.TiffFile(path) as file:
        at, count = file.pages[0].dataoffsets[-1], file.pages[0].databytecounts[-1]
    data = path.read_bytes()
    path.write_bytes(data[:at] + bytes(count) + data[at + count :])
    with pytest.raises(UserError):
        images.open_rgb(path, 9600)
    huge = Folder(FolderSettings(root=tmp_path, val_share=0.0, max_pixels=9600), "train")[0].image
    assert huge.part((80, 120), (3, 5, 24, 40), "bicubic", True).equal(whole[:, 3:27, 5:45])


def test_16_a_huge_jpeg_is_decoded_no_larger_than_needed(tmp_path, small_limit, monkeypatch):
    FILES["jpg"](tmp_path / "a.jpg")
    decode, sizes = simplejpeg.decode_jpeg, []
    monkeypatch.setattr(
        simplejpeg, "decode_jpeg", lambda *a, **k: sizes.append((found := decode(*a, **k)).shape) or found
    )
    huge = Folder(FolderSettings(root=tmp_path, val_share=0.0, max_pixels=9600), "train")[0].image
    part = huge.part((20, 30), (2, 3, 12, 20), "bicubic", True)
    assert sizes == [(20, 30, 3)]
    assert (part[:, 6, 10].int() - torch.from_numpy(smooth()[34, 54]).int()).abs().max() < 4
