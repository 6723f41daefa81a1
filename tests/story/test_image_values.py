"""From the command to the pixel: values of more than 8 bits, bands, pages, and files that cannot be read."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from test_before_the_first_step import TINY as WITH_DISCRIMINATOR
from test_before_the_first_step import WITHOUT_DISCRIMINATOR
from tiny import once

from smalti import opening
from smalti.data.pixels import PixelSettings
from smalti.training.tokenizer_task import TokenizerTask

TINY = (
    *WITH_DISCRIMINATOR,
    *WITHOUT_DISCRIMINATOR,
    "steps=1",
    "quantize_start=0",
    "data.val_share=0.0",
    "crop.flip=0.0",
    "crop.scale=[1.0,1.0]",
)
TINY += ("--data", "files", "size=[16,24]")
BY_NUMBER = np.arange(16 * 24).reshape(16, 24)  # oblong, as large as a crop


@pytest.fixture
def train(smalti_command, home, monkeypatch):
    """Train on what a writer lays into a folder; gives (status, what was said, the images of the step)."""
    seen = []
    losses = TokenizerTask.losses

    def spy(self, batch, step, part=0):
        seen.append(batch.images.clone())
        return losses(self, batch, step, part)

    monkeypatch.setattr(TokenizerTask, "losses", spy)

    def run(*words: str, out: str = "run") -> tuple[int, str, torch.Tensor | None]:
        seen.clear()
        status, _, said = smalti_command(*once(*TINY, "--out", out, *words))
        return status, said, seen[0] if seen else None

    (home / "files").mkdir()
    return run


def tiff(name: str, values: np.ndarray, **how: object) -> None:
    tifffile.imwrite(Path("files") / name, values, **{"photometric": "minisblack", **how})


def remedy(said: str) -> list[str]:
    """What the last warning says that one types."""
    (line,) = [line for line in said.splitlines() if line.startswith(("warning:", "note:"))]
    return shlex.split(re.findall(r"(?:[\w.]+=(?:'[^']*'|\S+) ?)+", line)[-1].rstrip(","))


KINDS = {
    "12 bits": (BY_NUMBER * 10, np.uint16, "0 to 3830, 5.8% of the range 0 to 65535", (0, 4095)),
    "40 levels": (BY_NUMBER % 41, np.uint16, "0 to 40, 0.1% of the range 0 to 65535", (0, 40)),
    "CT in 16 bits": (BY_NUMBER * 8 - 1024, np.int16, "-1024 to 2040, 3.1% of the range", (-1024, 2040)),
    "floats": (BY_NUMBER / 10 - 7, np.float32, "-7 to 31.3", (-7, 31.3)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_3_values_that_would_show_nothing_are_told_with_a_remedy_that_works(train, kind):
    values, dtype, told, (black, white) = KINDS[kind]
    for number in range(2):
        tiff(f"{number}.tif", values.astype(dtype))
    status, said, images = train()
    assert f"values of more than 8 bits in 2 files (2 looked at): {told}" in said
    assert status == (2 if "floats" in kind else 0)
    if images is not None:
        assert images.max() < -0.85  # nearly black
        assert ("less than a tenth of the range is used" in said, "lie outside" in said) == (True, black < 0)
    words = remedy(said)
    status, said, images = train(*words, out="again")
    assert (status, "warning" in said) == (0, False), said
    expected = (values - black) / (white - black) * 2 - 1
    assert (images[0] - torch.from_numpy(expected)).abs().max() < 1e-4


def test_3_ordinary_files_are_not_opened_for_the_report(train, monkeypatch):
    monkeypatch.setattr(PixelSettings, "values", None)
    Image.fromarray(np.dstack([BY_NUMBER % 256] * 3).astype(np.uint8)).save("files/a.png")
    Image.fromarray(np.dstack([BY_NUMBER % 256] * 3).astype(np.uint8)).save("files/b.jpg")
    status, said, _ = train()
    assert status == 0, said
    assert not {"values", "warning", "note"} & set(re.findall(r"\w+", said))


def test_3_sixteen_bits_in_full_are_no_reason_to_warn(train):
    tiff("a.tif", (BY_NUMBER * 171).astype(np.uint16))
    status, said, images = train()
    assert status == 0
    assert "0 to 65493, 99.9% of the range 0 to 65535" in said
    assert "warning" not in said
    assert images[0, 0, -1, -1] > 0.99


def test_5_white_is_zero_in_16_bits_is_trained_on_upright(train):
    tiff("a.tif", (65535 - BY_NUMBER * 171).astype(np.uint16), photometric="miniswhite")
    _, _, images = train()
    expected = (BY_NUMBER * 171 + 128) // 257 / 127.5 - 1
    assert (images[0] - torch.from_numpy(expected)).abs().max() < 1e-6


def stack(bands: int, start: int = 0) -> np.ndarray:
    return np.dstack([np.full((16, 24), start + 10 * band, np.uint8) for band in range(bands)])


def levels(images: torch.Tensor) -> list[int]:
    return [round(float(level)) for level in (images[0, :, 3, 5] + 1) * 127.5]


def test_3_a_fourth_band_taken_for_transparency(train):
    Image.fromarray(stack(4, 15)).save("files/a.png")
    _, first, images = train()
    assert "in 1 files the fourth band is taken as transparency and laid on white" in first
    assert min(levels(images)) > 200
    assert "data.bands='[0, 1, 2]' leaves it out" in first
    status, said, images = train("data.bands=[0, 1, 2]", out="three")
    assert (status, levels(images), "note" in said) == (0, [15, 25, 35], False)
    status, said, images = train(*remedy(first), out="four")
    assert (status, levels(images)) == (0, [15, 25, 35, 45])


def test_3_more_bands_than_three(train):
    tiff("a.tif", stack(5, 10), photometric="rgb", extrasamples=[0, 0])
    status, said, images = train()
    assert status == 0
    assert "1 files have 5 bands, of which the first three alone will be read" in said
    assert levels(images) == [10, 20, 30]
    all_five = "data.bands='[0, 1, 2, 3, 4]' network.in_channels=5 network.out_channels=5 "
    assert all_five + "losses.perceptual.weight=0.0 takes all" in said
    status, said, images = train(*shlex.split(all_five), out="five")
    assert (status, levels(images), "warning" in said) == (0, [10, 20, 30, 40, 50], False)


def test_3_pages_beyond_the_first(train):
    with tifffile.TiffWriter("files/a.tif") as file:
        for page in (stack(3), stack(3, 100)):
            file.write(page, photometric="rgb")
    _, said, images = train()
    assert "1 files have pages beyond the first, which are not read" in said
    assert levels(images) == [0, 10, 20]
    _, said, images = train(*remedy(said), out="second")
    assert (levels(images), "warning" in said) == ([100, 110, 120], False)


def test_16_the_report_says_why_a_file_cannot_be_read_and_what_to_do(train, monkeypatch):
    monkeypatch.setattr(opening, "LIMIT", 2000)
    Image.fromarray(np.zeros((50, 60, 3), np.uint8)).save("files/large.png")
    (Path("files") / "text.png").write_text("no image")
    Image.fromarray(stack(3)).save("files/sound.png")
    status, said, _ = train()
    assert status == 0
    allow = "reduce it, or allow such images (not maps) in training: data.max_pixels=3000"
    assert f"unreadable: files/large.png (3000 pixels, above the limit of 2000); {allow}" in said
    assert "unreadable: files/text.png (no format that Pillow knows); mend the file or take it away" in said
    _, said, _ = train("data.max_pixels=3000", out="again")
    assert "large.png" not in said
    assert "height 16 to 50" in said


def test_16_where_no_file_can_be_read_the_reason_is_the_answer(train):
    (Path("files") / "text.png").write_text("no image")
    status, said, _ = train()
    assert status == 2
    assert said.splitlines()[-1] == (
        "smalti: expected images in files that can be read, got none among 1 looked at, the first "
        "files/text.png (no format that Pillow knows); mend the file or take it away"
    )
