"""Label maps and maps of one channel: the same numbers from every file that holds the same map."""

import numpy as np
import pytest
import torch
from PIL import Image

from smalti.conditions.map_files import open_map
from smalti.data.maps import Maps, MapsSettings
from smalti.data.pairs import Pairs, PairsSettings
from smalti.errors import UserError
from smalti.reading.labels import LabelReading, mixture, open_labels

LEVELS = np.array([[0, 7, 15, 20, 7], [20, 0, 0, 7, 15], [15, 15, 20, 0, 7]], dtype=np.uint8)
ORDER = [0, 20, 15, 7]  # of an optimiser's palette


def palette_of(levels: np.ndarray, order: list[int], *, colours: bool = False) -> Image.Image:
    """Indices into a palette that holds the levels that are used alone, as lossless optimisers write it."""
    indices = np.argsort(order)[np.searchsorted(np.sort(order), levels)].astype(np.uint8)
    image = Image.fromarray(indices).convert("P")
    image.putpalette([side for level in order for side in ((level, 0, level) if colours else (level,) * 3)])
    return image


WRITTEN = {
    "gray": Image.fromarray(LEVELS),
    "a palette of grays": palette_of(LEVELS, ORDER),
    "equal channels": Image.fromarray(LEVELS).convert("RGB"),
    "with alpha": Image.fromarray(LEVELS).convert("LA"),
    "with alpha and channels": Image.fromarray(LEVELS).convert("RGBA"),
    "16 bits": Image.fromarray(LEVELS.astype(np.uint16)),
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_gray_levels_are_class_numbers_however_they_are_written(tmp_path, kind):
    WRITTEN[kind].save(tmp_path / "a.png")
    assert open_labels(tmp_path / "a.png").tolist() == LEVELS.tolist()
    assert open_labels(WRITTEN[kind]).tolist() == LEVELS.tolist()


def test_a_palette_with_colours_holds_indices(tmp_path):
    """Also where those that are used are gray by chance, as class 7 of Pascal VOC is; or all alike."""
    image = Image.fromarray(LEVELS).convert("P")
    voc = [0] * 768
    voc[3:6], voc[21:24], voc[45:48] = (128, 0, 0), (128, 128, 128), (192, 192, 192)
    image.putpalette(voc)
    image.save(tmp_path / "voc.png")
    assert open_labels(tmp_path / "voc.png").tolist() == LEVELS.tolist()
    palette_of(LEVELS, ORDER, colours=True).save(tmp_path / "renumbered.png")
    assert open_labels(tmp_path / "renumbered.png")[0].tolist() == [0, 3, 2, 1, 3]
    image.putpalette([0] * 768)
    image.save(tmp_path / "black.png")
    assert open_labels(tmp_path / "black.png").tolist() == LEVELS.tolist()


@pytest.mark.parametrize(("bits", "levels"), [(2, [0, 85, 170, 255]), (4, [0, 17, 34, 238])])
def test_gray_of_fewer_bits_has_the_levels_of_eight(tmp_path, bits, levels):
    pixels = np.array([levels, levels[::-1]], dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png", bits=bits)
    with Image.open(tmp_path / "a.png") as image:
        assert image.tile[0][3] == f"L;{bits}"
    assert open_labels(tmp_path / "a.png").tolist() == pixels.tolist()


def test_white_of_one_bit_is_255_where_that_means_something(tmp_path):
    mask = np.array([[True, False, True]])
    Image.fromarray(mask).save(tmp_path / "a.png")
    readings = {None: [1, 0, 1], (255, 7): [7, 0, 7], "shift": [0, 1, 0], (9, 8): [1, 0, 1]}
    for how, expected in readings.items():
        reading = LabelReading(shift=True) if how == "shift" else how and LabelReading(merge=dict([how]))
        assert open_labels(tmp_path / "a.png", reading).tolist() == [expected]


def test_values_are_merged_then_shifted(tmp_path):
    Image.fromarray(np.array([[0, 1, 2, 254, 255]], dtype=np.uint8)).save(tmp_path / "a.png")
    for how, expected in {
        LabelReading: [0, 1, 2, 254, 255],
        lambda: LabelReading(merge={255: 0, 2: 1, 300: 4}): [0, 1, 1, 254, 0],
        lambda: LabelReading(merge={1: 2, 2: 1}): [0, 2, 1, 254, 255],  # at once, not one after the other
        lambda: LabelReading(shift=True): [1, 2, 3, 255, 0],
        lambda: LabelReading(merge={254: 255, 2: 0}, shift=True): [1, 2, 1, 0, 0],
    }.items():
        assert open_labels(tmp_path / "a.png", how()).tolist() == [expected]


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (Image.new("RGB", (4, 2), "red"), "mode RGB with colours"),
        (Image.new("RGBA", (4, 2), (7, 7, 7, 254)), "mode RGBA with transparency"),
        (Image.new("CMYK", (4, 2)), "mode CMYK"),
        (Image.fromarray(np.ones((2, 4), dtype=np.float32)), "mode F"),
    ],
)
def test_what_is_no_label_map(tmp_path, image, words):
    image.save(tmp_path / "a.tif")
    with Image.open(tmp_path / "a.tif") as opened:
        for source in (tmp_path / "a.tif", opened):  # both are told by the file's name
            with pytest.raises(UserError, match=rf"a label map of one channel.*got {words} in .*a\.tif"):
                open_labels(source)


def test_colours_without_a_luminance_are_told_with_their_file(tmp_path):
    Image.new("LAB", (4, 2)).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match=r"a\.tif \(conversion from LAB to .* not supported\)"):
        open_map(tmp_path / "a.tif", 1)


def test_channels_of_16_bits_are_not_cut_to_8(tmp_path):
    """Pillow gives the upper 8 bits of them, in which all class numbers are 0."""
    write_rgb16(tmp_path / "a.png", LEVELS)
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "RGB"
    with pytest.raises(UserError, match="mode RGB of 16 bits"):
        open_labels(tmp_path / "a.png")


def write_rgb16(path, levels) -> None:
    """A PNG with three channels of 16 bits, which Pillow does not write."""
    import struct
    import zlib

    height, width = levels.shape
    wide = np.repeat(levels.astype(">u2")[..., None], 3, -1)
    raw = b"".join(b"\0" + row.tobytes() for row in wide)
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(raw)),
        (b"IEND", b""),
    ]
    data = b"\x89PNG\r\n\x1a\n"
    for name, body in parts:
        data += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    path.write_bytes(data)


def test_numbers_above_8_bits_are_not_wrapped_by_the_shift(tmp_path):
    Image.fromarray(np.array([[1, 300]], dtype=np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"8 bits, to which 1 is added, got 300 in .*a\.png"):
        open_labels(tmp_path / "a.png", LabelReading(shift=True))
    assert open_labels(tmp_path / "a.png", LabelReading(merge={300: 4}, shift=True)).tolist() == [[2, 5]]


def test_numbers_below_0_are_refused(tmp_path):
    Image.fromarray(np.array([[1, -1]], dtype=np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match=r"class numbers from 0 up, got -1 in .*a\.tif"):
        open_labels(tmp_path / "a.tif")


def test_a_folder_of_several_kinds_is_warned_of_once(tmp_path):
    for number in range(5):
        WRITTEN["gray"].save(tmp_path / f"{number}.png")
    reader = Maps(MapsSettings(root=tmp_path, classes=21, val_share=0.0), "train")
    assert mixture(reader.files.paths) is None
    assert reader.notes(()) == []
    palette_of(LEVELS, ORDER, colours=True).save(tmp_path / "5.png")
    WRITTEN["a palette of grays"].save(tmp_path / "6.png")
    reader = Maps(MapsSettings(root=tmp_path, classes=21, val_share=0.0, merge={255: 0}), "train")
    read, mixed = reader.notes(())
    assert read == "values of label maps: 255 counts as 0"
    assert "5 of gray, 1 of a palette with colours, 1 of a palette of grays" in mixed
    assert "give the maps as they were" in mixed


def test_pairs_warn_of_their_maps(tmp_path):
    for number, kind in enumerate(("gray", "a palette of grays")):
        for folder, image in (("images", WRITTEN["gray"]), ("maps", WRITTEN[kind])):
            (tmp_path / folder).mkdir(exist_ok=True)
            image.save(tmp_path / folder / f"{number}.png")
    where = {"root": tmp_path / "images", "maps": tmp_path / "maps", "val_share": 0.0}
    reader = Pairs(PairsSettings(**where, content="segmentation"), "train")
    (mixed,) = reader.notes(())
    assert "1 of gray, 1 of a palette of grays" in mixed
    assert [reader[number].segmentation.tolist() for number in (0, 1)] == [LEVELS.tolist()] * 2
    assert Pairs(PairsSettings(**where), "train").notes(()) == []


def drawing() -> Image.Image:
    """Black lines and a gray stroke on nothing, whose edges are half clear: RGBA, 12 x 20 pixels."""
    pixels = np.zeros((12, 20, 4), dtype=np.uint8)
    pixels[2:10, 3:6, 3] = 255
    pixels[4:6, 3:17] = (90, 90, 90, 255)
    pixels[2:10, 6, 3] = 128
    return Image.fromarray(pixels)


def test_a_map_of_one_channel_is_the_same_from_all_kinds_of_transparency(tmp_path):
    """RGBA, a palette with transparency, LA, and gray on white."""
    art = drawing()
    alpha = np.asarray(art)[..., 3:].astype(float) / 255
    white = np.round(np.asarray(art)[..., 0] * alpha[..., 0] + 255 * (1 - alpha[..., 0])).astype(np.uint8)
    kinds = {
        "rgba": art,
        "la": art.convert("LA"),
        "palette": art.quantize(16, method=Image.Quantize.FASTOCTREE),
        "white": Image.fromarray(white),
    }
    assert kinds["palette"].mode == "P"
    for name, image in kinds.items():
        image.save(tmp_path / f"{name}.png")
        for source in (tmp_path / f"{name}.png", image):
            found = open_map(source, 1)[0]
            expected = torch.from_numpy(white) / 127.5 - 1
            near = 0.06 if name == "palette" else 1e-6  # its colours are rounded
            assert (found - expected).abs().max() < near, name
            assert found[0, 0] == 1, "nothing is white"
            assert found[2, 3] == -1


@pytest.mark.parametrize("alpha", [100, 30])
def test_a_faint_drawing_is_no_float_depth(alpha):
    """Bytes of colours, read as a float, are further from 0, or nearer to it, than any depth."""
    pixels = np.zeros((6, 8, 4), dtype=np.uint8)
    pixels[2:4, 1:7, 3] = alpha
    found = open_map(Image.fromarray(pixels), 1)[0]
    assert found[0, 0] == 1
    assert found[2, 1] == pytest.approx(1 - 2 * alpha / 255, abs=0.005)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_maps_of_one_channel_are_turned_once(tmp_path, mode, orientation):
    pixels = (np.arange(24, dtype=np.uint8) * 10).reshape(4, 6)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).convert(mode).save(tmp_path / "a.png", exif=exif)
    upright = {3: pixels[::-1, ::-1], 6: pixels.T[:, ::-1]}[orientation]
    assert open_map(tmp_path / "a.png", 1)[0].equal(torch.from_numpy(upright.copy()) / 127.5 - 1)
