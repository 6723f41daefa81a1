"""The same causes elsewhere: WhiteIsZero in maps, signed bytes, long profiles of maps, metadata in PNGs."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, PngImagePlugin

from smalti import imaging
from smalti.conditions.map_files import open_map
from smalti.reading.labels import mixture, open_labels
from smalti.reading.pixels import PixelReading, open_pixels

LEVELS = np.arange(6 * 10, dtype=np.uint8).reshape(6, 10)
LONG = b"a" * (2**20 + 2**18)
CHUNKS = {b"iCCP": b"profile\0\0" + zlib.compress(LONG), b"zTXt": b"words\0\0" + zlib.compress(LONG)}


def with_long(path: Path, kind: bytes) -> None:
    """Put a colour profile or a text of more than 1 MB into a PNG."""
    whole, data = path.read_bytes(), kind + CHUNKS[kind]
    chunk = struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    path.write_bytes(whole[:33] + chunk + whole[33:])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_5_depth_where_zero_is_white_is_upright(tmp_path, dtype):
    stored = np.iinfo(dtype).max - LEVELS.astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="miniswhite")
    found = open_map(tmp_path / "a.tif", 1)[0]
    least, most = (0, 59) if dtype is np.uint16 else (0, 255)  # those of more bits are stretched
    expected = torch.from_numpy(LEVELS / (most - least) * 2 - 1)
    assert (found - expected).abs().max() < 1e-2  # of 65536 levels near white fp32 is fine
    assert found[0, 0] == -1


def test_3_signed_bytes_are_no_unsigned_ones(tmp_path):
    """Of which Pillow makes 0 .. 255: -100 would be 156."""
    values = np.array([[-100, -50, 0], [25, 100, 127]], np.int8)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
    found = open_pixels(tmp_path / "a.tif", PixelReading(range=(-100, 100), bands="gray"))
    assert found.tolist() == [[[0, 63.75, 127.5], [159.375, 255, 255]]]


@pytest.mark.parametrize("kind", CHUNKS)
def test_16_label_maps_with_long_profiles_and_texts(tmp_path, kind):
    Image.fromarray(LEVELS).save(tmp_path / "a.png")
    Image.fromarray(np.dstack([LEVELS] * 3)).save(tmp_path / "b.png")
    limits = PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    for name in ("a.png", "b.png"):
        with_long(tmp_path / name, kind)
        assert open_labels(tmp_path / name).tolist() == LEVELS.tolist()
    assert "1 of gray, 1 of mode RGB" in (mixture(sorted(tmp_path.iterdir())) or "")
    assert limits == (PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY)


def test_16_metadata_are_read_beside_a_long_text(tmp_path):
    imaging.save_png(tmp_path / "a.png", torch.zeros(3, 4, 6, dtype=torch.uint8), {"seed": 3})
    with_long(tmp_path / "a.png", b"zTXt")
    assert imaging.read_metadata(tmp_path / "a.png")["seed"] == 3
