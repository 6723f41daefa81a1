"""What is kept of an image: masks in every form, sides, every order, every kind of canvas."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import CAUSAL, generator

from smalti import imaging, masks
from smalti.errors import UserError
from smalti.orders import ORDERS
from smalti.priors import PRIORS

GRID = (4, 6)  # of an image of 8 x 12 pixels


@pytest.fixture(scope="module")
def model():
    return generator()


@pytest.fixture(scope="module")
def image():
    return torch.rand(3, 12, 16, generator=torch.Generator().manual_seed(3)) * 2 - 1


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        (0.5, ["111111", "111111", "000000", "000000"]),
        ("0.25", ["111111", "000000", "000000", "000000"]),
        ("top:0.25", ["111111", "000000", "000000", "000000"]),
        ("bottom", ["000000", "000000", "111111", "111111"]),
        ("left:0.33", ["110000"] * 4),
        ("right:0.7", ["001111"] * 4),
        ("Center", ["000000", "001110", "001110", "000000"]),
        ("centre:1", ["111111"] * 4),
        (np.float32(0), ["000000"] * 4),
    ],
    ids=str,
)
def test_sides(keep, kept):
    found = masks.side(keep, GRID).int()
    wanted = ["".join(map(str, row)) for row in found.tolist()]
    if keep == "Center":  # three of six columns cannot lie in the middle: the first of the two places
        kept = [row[1:] + row[0] for row in kept]
    assert wanted == kept


def forms(marked: np.ndarray, folder) -> dict:
    """A mask in every form that it may have."""
    white = (marked * 255).astype(np.uint8)
    Image.fromarray(white).save(folder / "mask.png")
    return {
        "bool": marked,
        "tensor": torch.from_numpy(marked),
        "with axes of one": torch.from_numpy(marked)[None, None],
        "channels last": marked[..., None],
        "0 and 1": marked.astype(np.int64),
        "floats": marked.astype(np.float32),
        "0 and 255": white,
        "lists": marked.tolist(),
        "lists of numbers": marked.astype(int).tolist(),
        "pillow": Image.fromarray(white),
        "pillow, bits": Image.fromarray(white).convert("1"),
        "colours": Image.fromarray(white).convert("RGB"),
        "array of colours": np.stack([white] * 3, -1),
        "path": folder / "mask.png",
        "text": str(folder / "mask.png"),
    }


def test_every_form_of_a_mask(tmp_path):
    marked = np.zeros((8, 12), bool)
    marked[3:6, 4:7] = True  # of the cells' pixels 2 x 2: rows 1 and 2, columns 2 and 3
    for name, form in forms(marked, tmp_path).items():
        assert masks.read(form).equal(torch.from_numpy(marked)), name
    kept = masks.cells(torch.from_numpy(marked), GRID, 2)
    assert (~kept).nonzero().tolist() == [[1, 2], [1, 3], [2, 2], [2, 3]]
    assert masks.cells(~kept, GRID, 2).equal(kept), "a mask of cells is itself"


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_keeps_what_is_kept(order, image):
    model, crop = generator(order=order), image[:, :8, :8]
    known = torch.rand(4, 4, generator=torch.Generator().manual_seed(1)) < 0.5
    codes = model.tokenizer.encode(crop)
    drawn = model.complete(crop, mask=~known, num=4, label=1, temperature=3.0).codes
    assert drawn[:, known].equal(codes[:, known].expand(4, -1))
    assert (drawn[:, ~known] != codes[:, ~known]).any(0).all(), (
        "a cell that must be drawn anew is the old one"
    )
    (all_kept,) = model.complete(crop, mask=known & ~known, label=1).codes
    assert all_kept.equal(codes[0])


@pytest.mark.parametrize(
    ("kind", "stride"), [*((kind, 1) for kind in PRIORS), *((kind, 2) for kind in CAUSAL)]
)
def test_larger_canvases_keep_what_is_kept(kind, stride, image):
    model = generator(kind)
    known = torch.rand(6, 8, generator=torch.Generator().manual_seed(2)) < 0.6
    codes = model.tokenizer.encode(image)
    how = {"label": 1, "stride": stride, "temperature": 3.0}
    drawn = model.complete(image, mask=~known, num=8, **how).codes
    assert drawn[:, known].equal(codes[:, known].expand(8, -1))
    assert (drawn[:, ~known] != codes[:, ~known]).any(0).all()
    alone = model.complete(image, mask=~known, seed=5, **how)
    assert alone.codes[0].equal(drawn[5])
    again = model.complete(image, mask=alone.metadata[0]["mask"], seed=5, **how)
    assert again.codes.equal(alone.codes)


def test_a_mask_and_a_side_say_the_same(model, image):
    left = torch.ones(12, 16, dtype=torch.bool)
    left[:, :4] = False
    by_mask = model.complete(image, mask=left, label=0, num=2)
    by_side = model.complete(image, keep="left:0.25", label=0, num=2)
    assert by_mask.codes.equal(by_side.codes)
    assert by_mask.metadata == by_side.metadata
    assert by_side.metadata[0]["rows_kept"] == 0
    top = model.complete(image, keep="top", label=0)
    assert top.codes.equal(model.complete(image, label=0).codes)
    assert json.loads(top[0].info[imaging.METADATA])["rows_kept"] == 3
    assert "mask" not in top.metadata[0]


@pytest.mark.parametrize("wrong", [
    0.5, True, "nowhere.png", b"x", {}, [], object(), np.zeros(4), np.zeros((3, 4)), np.zeros((12, 16, 2)),
    np.full((12, 16), math.nan), np.full((12, 16), 999), -np.ones((12, 16)), [[1], [1, 2]], [["a"]], 1j,
    Image.new("RGBA", (16, 12)), Image.new("L", (5, 5)), torch.zeros(2, 12, 16), np.zeros((0, 0), bool),
    np.zeros((12, 16), complex), {"mask"}, iter([]), "", (1, 2),
], ids=lambda one: f"{type(one).__name__} {str(one)[:20]}".partition(" object at")[0])  # fmt: skip
def test_masks_that_are_none(model, image, wrong):
    with pytest.raises(UserError) as told:
        model.complete(image, mask=wrong, label=0)
    assert len(str(told.value).splitlines()) == 1


def test_a_mask_and_a_side_at_once(model, image):
    with pytest.raises(UserError, match="one of mask= and keep=, got both"):
        model.complete(image, mask=np.zeros((12, 16)), keep="top", label=0)
    with pytest.raises(UserError, match="a mask of 12 x 16 pixels, or of 6 x 8 cells, got 16 x 12"):
        model.complete(image, mask=np.zeros((16, 12)), label=0)
