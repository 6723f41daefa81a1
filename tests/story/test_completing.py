"""A person says what of an image is kept: by a side, or by a mask beside it."""

import pytest
import torch
from PIL import Image
from tiny import generator

import smalti
from smalti import imaging


@pytest.fixture
def words(home):
    """The command on an image of 20 x 40 pixels, of which 8 x 12 are completed: its columns 5 .. 34."""
    smalti.save(generator(), "model")
    noise = torch.randint(256, (3, 20, 40), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    imaging.save_png("photo.png", noise)
    mask = Image.new("L", (40, 20))
    mask.paste(
        255, (20, 0, 25, 10)
    )  # at 8 x 16, of which columns 2 .. 13 are left: rows 0 .. 3, columns 6 .. 7
    mask.save("mask.png")
    return ("complete", "model", "photo.png", "out", "--label", "moon", "--size", "8x12")


KEPT = {
    (): ["0" * 6] * 2 + ["1" * 6] * 2,
    ("--keep", "0.25"): ["0" * 6] + ["1" * 6] * 3,
    ("--keep", "bottom:0.75"): ["1" * 6] + ["0" * 6] * 3,
    ("--keep", "left"): ["000111"] * 4,
    ("--keep", "right:0.33"): ["111100"] * 4,
    ("--keep", "centre"): ["111111", "100011", "100011", "111111"],
    ("--mask", "mask.png"): ["000100", "000100", "000000", "000000"],
}


@pytest.mark.parametrize("how", KEPT, ids=" ".join)
def test_what_is_kept(words, how, smalti_command):
    status, out, complaint = smalti_command(*words, *how)
    assert (status, out) == (0, "out/00000.png\n"), complaint
    metadata = imaging.read_metadata("out/00000.png")
    rows = ["".join(map(str, row)) for row in metadata.get("mask", [])]
    top = KEPT[how].index("1" * 6) if how in ((), ("--keep", "0.25")) else None
    assert metadata["rows_kept"] == (top or 0)
    assert rows == ([] if top else KEPT[how])


def test_mistakes(words, smalti_command):
    for how, told in (
        (
            ("--keep", "up"),
            "a share in [0, 1] for keep, or one of top, bottom, left, right, centre, got 'up'",
        ),
        (("--mask", "nowhere.png"), "nowhere.png"),
        (("--mask", "model/config.json"), "no format that Pillow knows"),
        (("--mask", "mask.png", "--keep", "top"), "one of mask= and keep=, got both"),
    ):
        status, out, complaint = smalti_command(*words, *how)
        assert (status, out, len(complaint.splitlines())) == (2, "", 1), complaint
        assert told in complaint
