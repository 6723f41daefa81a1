"""Every kind of image file becomes uint8 RGB, upright; and what we write can be read back."""

import io
import json
import random
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile, ImageOps

from smalti import imaging
from smalti.errors import UserError

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def noise(height=13, width=17, channels=3, seed=0, kind=np.uint8):
    top = np.iinfo(kind).max + 1
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, top, shape, dtype=kind)


def smooth(height=48, width=64):
    """An image that JPEG does not hurt much."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([y * 4 % 256, x * 3 % 256, (x + y) * 2 % 256], axis=-1).astype(np.uint8)


def rows(array):
    return torch.from_numpy(np.array(array)).permute(2, 0, 1)


def opened(image, path, **options):
    image.save(path, **options)
    return imaging.open_rgb(path)


# ---- modes


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm"])
def test_rgb_is_exact(tmp_path, suffix):
    array = noise()
    found = opened(Image.fromarray(array), tmp_path / f"a.{suffix}")
    assert found.dtype == torch.uint8
    torch.testing.assert_close(found, rows(array))


@pytest.mark.parametrize("suffix", ["webp", "avif", "gif"])
def test_other_formats_open(tmp_path, suffix):
    found = opened(Image.fromarray(smooth()), tmp_path / f"a.{suffix}")
    assert found.shape == (3, 48, 64)


def test_gray_has_three_equal_channels(tmp_path):
    array = noise(channels=1)
    found = opened(Image.fromarray(array), tmp_path / "a.png")
    torch.testing.assert_close(found, rows(np.stack([array] * 3, -1)))


def test_one_bit(tmp_path):
    bits = noise(channels=1) > 127
    found = opened(Image.fromarray(bits), tmp_path / "a.png")
    assert imaging.read_header(tmp_path / "a.png").mode == "1"
    torch.testing.assert_close(found, rows(np.stack([bits * np.uint8(255)] * 3, -1)))


def test_palette(tmp_path):
    image = Image.fromarray(noise()).quantize(16)
    found = opened(image, tmp_path / "a.png")
    assert imaging.read_header(tmp_path / "a.png").mode == "P"
    torch.testing.assert_close(found, rows(image.convert("RGB")))


def test_palette_with_transparency_is_laid_on_white(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [1, 0]], dtype=np.uint8), mode=None).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    found = opened(image, tmp_path / "a.png", transparency=1)
    assert found[:, 0, 0].tolist() == [10, 20, 30]
    assert found[:, 0, 1].tolist() == [255, 255, 255]


def test_alpha_is_blended_on_white(tmp_path):
    array = noise(channels=4)
    found = opened(Image.fromarray(array), tmp_path / "a.png")
    share = array[..., 3:] / 255
    exact = array[..., :3] * share + 255 * (1 - share)
    assert np.abs(found.permute(1, 2, 0).numpy() - exact).max() <= 0.5


def test_colour_under_full_transparency_does_not_show(tmp_path):
    array = noise(channels=4)
    array[..., 3] = 0
    assert (opened(Image.fromarray(array), tmp_path / "a.png") == 255).all()


def test_gray_with_alpha(tmp_path):
    image = Image.merge("LA", [Image.new("L", (2, 2), 100), Image.new("L", (2, 2), 51)])
    found = opened(image, tmp_path / "a.png")
    assert found.unique().tolist() == [224]  # 100 * 0.2 + 255 * 0.8


@pytest.mark.parametrize(("mode", "key"), [("L", 7), ("RGB", (7, 7, 7)), ("1", 0)])
def test_a_transparent_colour_becomes_white(tmp_path, mode, key):
    image = Image.new(mode, (3, 2), key)
    image.putpixel((0, 0), 255 if mode != "RGB" else (9, 8, 7))
    found = opened(image, tmp_path / "a.png", transparency=key)
    assert found[:, 1, 1].tolist() == [255, 255, 255]
    assert found[:, 0, 0].tolist() == ([9, 8, 7] if mode == "RGB" else [255, 255, 255])


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_gray_is_scaled_not_cut(tmp_path, suffix):
    array = noise(channels=1, kind=np.uint16)
    array[0, :4] = [0, 257, 32896, 65535]
    found = opened(Image.fromarray(array), tmp_path / f"a.{suffix}")
    assert imaging.read_header(tmp_path / f"a.{suffix}").mode == "I;16"
    assert found[0, 0, :4].tolist() == [0, 1, 128, 255]
    torch.testing.assert_close(found, rows(np.stack([np.round(array / 257)] * 3, -1).astype(np.uint8)))


def test_mode_i_is_read_as_16_bit(tmp_path):
    array = np.array([[0, 257, 65535, 70000, -5]], dtype=np.int32)
    found = opened(Image.fromarray(array), tmp_path / "a.tif")
    assert imaging.read_header(tmp_path / "a.tif").mode == "I"
    assert found[0].tolist() == [[0, 1, 255, 255, 0]]


def test_16_bit_transparent_colour():
    image = Image.fromarray(np.array([[257, 514]], dtype=np.uint16))
    image.info["transparency"] = 257
    assert imaging.from_pil(image)[1].tolist() == [[255, 2]]


def test_floating_point_is_refused(tmp_path):
    Image.fromarray(np.zeros((2, 2), dtype=np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match=r"a\.tif .*mode F"):
        imaging.open_rgb(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_keeps_its_colours(tmp_path, suffix):
    """Pillow writes Adobe's inverted CMYK into JPEG: read naively, red would come back as cyan."""
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    found = opened(red, tmp_path / f"a.{suffix}")
    assert imaging.read_header(tmp_path / f"a.{suffix}").mode == "CMYK"
    assert (found[0] > 250).all()
    assert (found[1:] < 5).all()


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_first_frame_of_a_film(tmp_path, suffix):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], duration=100)
    found = imaging.open_rgb(tmp_path / f"a.{suffix}")
    assert found[0].min() > 240
    assert found[2].max() < 15


@pytest.mark.parametrize(
    "mode", sorted({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"})
)
def test_from_pil_takes_every_mode(mode):
    image = Image.fromarray(smooth()).convert(mode)
    found = imaging.from_pil(image)
    assert found.shape == (3, 48, 64)
    if mode != "P":
        torch.testing.assert_close(found, rows(image.convert("RGB")))


# ---- JPEG


@pytest.mark.parametrize(
    "options", [{"subsampling": 0}, {"subsampling": 2}, {"progressive": True}, {"quality": 30}]
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_fast_jpeg_equals_pillow(tmp_path, options, mode):
    found = opened(Image.fromarray(smooth(45, 61)).convert(mode), tmp_path / "a.jpg", **options)
    pillow = rows(Image.open(tmp_path / "a.jpg").convert("RGB"))
    assert (found.int() - pillow.int()).abs().max() <= 2


def test_jpeg_goes_the_fast_way(tmp_path, monkeypatch):
    Image.fromarray(smooth()).save(tmp_path / "a.jpg")

    def slow(image):
        raise AssertionError("Pillow decoded it")

    monkeypatch.setattr(imaging, "_pixels", slow)
    assert imaging.open_rgb(tmp_path / "a.jpg").shape[0] == 3


def test_odd_but_sound_jpeg_is_left_to_pillow(tmp_path):
    """Stray bytes before a marker: an error for simplejpeg, for viewers and Pillow nothing."""
    data = io.BytesIO()
    Image.fromarray(smooth()).save(data, "JPEG")
    whole = data.getvalue()
    scan = whole.index(b"\xff\xda")
    (tmp_path / "a.jpg").write_bytes(whole[:scan] + b"\x00\x00\x00" + whole[scan:])
    torch.testing.assert_close(
        imaging.open_rgb(tmp_path / "a.jpg"), rows(Image.open(tmp_path / "a.jpg").convert("RGB"))
    )


# ---- EXIF


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if suffix == "webp" else {"subsampling": 0} if suffix == "jpg" else {}
    path = tmp_path / f"a.{suffix}"
    found = opened(Image.fromarray(smooth()), path, exif=exif, **options)
    upright = rows(ImageOps.exif_transpose(Image.open(path)))
    assert found.shape == upright.shape
    assert (found.int() - upright.int()).abs().max() <= (2 if suffix == "jpg" else 0)
    header = imaging.read_header(path)
    assert (header.height, header.width) == tuple(found.shape[1:])


def test_exif_of_a_image_in_memory():
    image = Image.fromarray(smooth())
    image.getexif()[0x0112] = 6
    assert imaging.from_pil(image).shape == (3, 64, 48)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "gif"])
def test_a_header_is_read_without_the_pixels(tmp_path, suffix, monkeypatch):
    Image.fromarray(smooth()).save(tmp_path / f"a.{suffix}")

    def decode(image):
        raise AssertionError("the pixels were decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
    header = imaging.read_header(tmp_path / f"a.{suffix}")
    assert (header.height, header.width) == (48, 64)


def test_damaged_exif_does_not_cost_the_image(tmp_path):
    Image.fromarray(smooth()).save(tmp_path / "a.png", exif=b"Exif\0\0no exif at all")
    assert imaging.open_rgb(tmp_path / "a.png").shape == (3, 48, 64)


# ---- what cannot be read


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "tif"])
def test_truncated_files_name_their_path(tmp_path, suffix):
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(noise(64, 64)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=rf"cut\.{suffix}"):
        imaging.open_rgb(path)


@pytest.mark.parametrize("content", [b"", b"no image", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"])
def test_no_image_at_all(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    for function in (imaging.open_rgb, imaging.read_header):
        with pytest.raises(UserError, match=r"a\.jpg"):
            function(tmp_path / "a.jpg")


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"gone\.png \(No such file"):
        imaging.open_rgb(tmp_path / "gone.png")


@pytest.mark.filterwarnings("ignore")  # Pillow warns of what it finds in damaged files
@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "avif", "bmp", "jp2"])
def test_damage_gives_a_image_or_a_user_error(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(noise()).save(path)
    whole, dice = path.read_bytes(), random.Random(3)
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(dice.choice([1, 4])):
            damaged[dice.randrange(min(200, len(whole)))] = dice.randrange(256)
        path.write_bytes(damaged)
        with suppress(UserError):
            assert imaging.open_rgb(path).shape[0] == 3


# ---- images from the world


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("open_images_annotations_100/train/000b1b3b85edd850.jpg", "CMYK"),
        ("open_images_annotations_100/train/000adcdd7244ce4a.jpg", "L"),
        ("coco_annotations_100/train2017/000000010125.jpg", "L"),
        ("ade20k_images/ADE_val_00000289.jpg", "RGB"),
        ("sflckr_images/geysir/14996762478_a9bdbf959a_b.jpg", "RGB"),
    ],
)
def test_real_images_equal_pillow(name, mode):
    if not (SHARED / name).is_file():
        pytest.skip("the real images are not beside this checkout")
    header, found = imaging.read_header(SHARED / name), imaging.open_rgb(SHARED / name)
    with Image.open(SHARED / name) as image:
        expected = rows(image.convert("RGB"))
    assert header.mode == mode
    assert found.shape == (3, header.height, header.width)
    assert (found.int() - expected.int()).abs().max() <= 2


# ---- finding


def test_find_images_is_recursive_sorted_and_skips_the_rest(tmp_path):
    for name in ("b/2.PNG", "b/10.jpg", "a/x/1.webp", "a/notes.txt", ".cache/3.png", "b/._2.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in imaging.find_images(tmp_path)]
    assert found == ["a/x/1.webp", "b/10.jpg", "b/2.PNG"]


PILLOWS = {
    ".jpg", ".png", ".tga", ".pcx", ".psd", ".qoi", ".ico", ".jpx", ".pbm", ".pnm", ".dds", ".sgi", ".mpo",
}  # fmt: skip
OTHERS = {".pdf", ".palm", ".mpg", ".h5", ".hdf", ".grib", ".bufr", ".wmf", ".emf", ".eps", ".ps", ".txt"}


def test_every_image_format_that_pillow_reads_is_known():
    assert imaging.suffixes() >= PILLOWS
    assert not imaging.suffixes() & OTHERS


@pytest.mark.parametrize("suffix", ["tga", "pcx", "qoi", "sgi", "pbm", "dib", "xbm", "jpx", "mpo", "ico"])
def test_unusual_formats_are_found_and_open(tmp_path, suffix):
    mode = "1" if suffix in {"pbm", "xbm"} else "RGB"
    Image.fromarray(smooth(32, 32)).convert(mode).save(tmp_path / f"a.{suffix.upper()}")
    (path,) = imaging.find_images(tmp_path)
    assert imaging.open_rgb(path).shape == (3, 32, 32)


def test_find_images_follows_links_but_not_in_circles(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "1.png").touch()
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "linked").symlink_to(tmp_path / "store")
    (tmp_path / "store" / "up").symlink_to(tmp_path / "set")
    assert imaging.find_images(tmp_path / "set") == [tmp_path / "set" / "linked" / "1.png"]


def test_find_images_takes_one_file(tmp_path):
    (tmp_path / "1.png").touch()
    assert imaging.find_images(tmp_path / "1.png") == [tmp_path / "1.png"]


def test_find_images_where_there_are_none(tmp_path):
    (tmp_path / "notes.txt").touch()
    for place in (tmp_path, tmp_path / "gone", tmp_path / "notes.txt"):
        with pytest.raises(UserError, match=place.name):
            imaging.find_images(place)


# ---- numbers


def test_every_level_survives_the_way_to_float_and_back():
    levels = torch.arange(256, dtype=torch.uint8)
    floats = imaging.to_float(levels)
    assert (floats.min(), floats.max()) == (-1, 1)
    torch.testing.assert_close(imaging.to_uint8(floats), levels)


def test_to_uint8_clips_and_rounds():
    values = torch.tensor([-3.0, 3.0, 1.4 / 127.5 - 1, 1.6 / 127.5 - 1])
    assert imaging.to_uint8(values).tolist() == [0, 255, 1, 2]


@pytest.mark.parametrize(("filter", "pillow"), [("bicubic", Image.BICUBIC), ("bilinear", Image.BILINEAR)])
@pytest.mark.parametrize("size", [(20, 27), (75, 100), (41, 55)])
def test_resize_is_within_one_level_of_pillow(filter, pillow, size):
    array = noise(60, 80) // 2 + 64  # no clipping: floats clip once, uint8 after each of two passes
    expected = rows(Image.fromarray(array).resize(size[::-1], pillow))
    found = imaging.resize(rows(array), size, filter)
    assert (found.int() - expected.int()).abs().max() <= 1
    floats = imaging.resize(rows(array).float()[None, None], size, filter)  # leading axes are kept
    assert floats.shape == (1, 1, 3, *size)
    assert (floats[0, 0] - expected).abs().max() <= 2


def test_resize_nearest_keeps_values():
    array = rows(noise(6, 8))
    torch.testing.assert_close(imaging.resize(array, (3, 4), "nearest-exact"), array[:, 1::2, 1::2])


def test_antialias_is_what_keeps_fine_stripes_gray():
    stripes = torch.tensor([0, 255], dtype=torch.uint8).repeat(3, 64, 32)
    assert imaging.resize(stripes, (64, 20))[..., 3:-3].float().std() < 10
    assert imaging.resize(stripes, (64, 20), antialias=False)[..., 3:-3].float().std() > 50


def test_crop_to_multiple():
    array = torch.arange(35).reshape(1, 5, 7)
    torch.testing.assert_close(imaging.crop_to_multiple(array, 2), array[:, :4, :6])
    with pytest.raises(UserError, match="5 x 7"):
        imaging.crop_to_multiple(array, 6)


def test_grid_lays_rows_and_fills_with_white():
    images = torch.arange(3, dtype=torch.uint8).reshape(3, 1, 1, 1).expand(3, 2, 4, 5)
    sheet = imaging.grid(images, columns=2)
    assert sheet.shape == (2, 8, 10)
    assert [sheet[1, y, x].item() for y in (0, 7) for x in (0, 9)] == [0, 1, 2, 255]


@pytest.mark.parametrize("channels", [1, 3])
def test_to_pil_and_back(channels):
    pixels = torch.from_numpy(noise(4, 1, 6)).permute(2, 0, 1).reshape(-1, channels, 4, 1)
    for given in (pixels, imaging.to_float(pixels), imaging.to_float(pixels).requires_grad_()):
        found = torch.stack([imaging.from_pil(image) for image in imaging.to_pil(given)])
        torch.testing.assert_close(found, pixels.expand(-1, 3, -1, -1))


# ---- writing

STORY = {"seed": 7, "options": {"top_k": None, "temperature": 0.9}, "label": "M\u00f6we"}


@pytest.mark.parametrize("image", [Image.fromarray(noise()), rows(noise())], ids=["pil", "tensor"])
def test_metadata_and_pixels_come_back(tmp_path, image):
    path = imaging.save_png(tmp_path / "new" / "a.png", image, STORY)
    assert imaging.read_metadata(path) == STORY
    assert json.loads(Image.open(path).text["smalti"]) == STORY
    torch.testing.assert_close(imaging.open_rgb(path), rows(noise()))


def test_existing_files_are_refused(tmp_path):
    path = imaging.save_png(tmp_path / "a.png", rows(noise()), {"seed": 1})
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"a\.png, which exists"):
        imaging.save_png(path, rows(noise(seed=1)), {"seed": 2})
    assert path.read_bytes() == before
    imaging.save_png(path, rows(noise(seed=1)), {"seed": 2}, overwrite=True)
    assert imaging.read_metadata(path) == {"seed": 2}


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"write a\.png"):
        imaging.save_png(tmp_path / "a.jpg", rows(noise()), {})


def test_nothing_half_written_is_left(tmp_path, monkeypatch):
    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(OSError, match="No space"):
        imaging.save_png(tmp_path / "a.png", rows(noise()), {})
    assert list(tmp_path.iterdir()) == []


def test_save_all_numbers_and_carries_metadata(tmp_path):
    images = imaging.to_pil(imaging.to_float(rows(noise())[None].repeat(2, 1, 1, 1)))
    images[1].info["smalti"] = json.dumps({"seed": 4})
    paths = imaging.save_all(images, tmp_path / "out", first=3)
    assert [path.name for path in paths] == ["00003.png", "00004.png"]
    assert imaging.read_metadata(paths[1]) == {"seed": 4}
    with pytest.raises(UserError, match="metadata"):
        imaging.read_metadata(paths[0])


def test_save_all_takes_a_tensor_and_refuses_before_it_writes(tmp_path):
    batch = imaging.to_float(rows(noise())[None].repeat(2, 1, 1, 1))
    imaging.save_all(batch, tmp_path, first=1)
    with pytest.raises(UserError, match="00001"):
        imaging.save_all(batch, tmp_path, first=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00001.png", "00002.png"]


@pytest.mark.parametrize("text", ["no json", "[1]"])
def test_strange_metadata_are_a_user_error(tmp_path, text):
    image = Image.fromarray(noise())
    image.info["smalti"] = text
    with pytest.raises(UserError, match="metadata"):
        imaging.read_metadata(imaging.save_png(tmp_path / "a.png", image))
