"""Maps: from files, images and tensors to tokens; what a window sees of them; what is refused."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from tiny import NETWORK

from smalti.conditions.coordinates import CoordinatesCondition, CoordinatesSettings, Part
from smalti.conditions.map import MapCondition, MapSettings
from smalti.conditions.map_files import open_map
from smalti.errors import UserError
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings

CPU = torch.device("cpu")


def tokenizer(channels: int = 1, **more) -> Tokenizer:
    torch.manual_seed(0)
    network = NetworkSettings(**NETWORK, multipliers=(1, 2), in_channels=channels, out_channels=channels)
    quantizer = VectorQuantizerSettings(codebook_size=16)
    return Tokenizer(TokenizerSettings(network=network, quantizer=quantizer, **more))


def maps(channels: int = 1, content: str = "image", **more) -> MapCondition:
    return MapCondition(MapSettings(shared=True, **more), tokenizer(channels, content=content))


def noise(*shape) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_a_window_is_the_cut_of_the_codes():
    condition, value = maps(), noise(2, 1, 12, 20)
    prompt = condition.context(value, num=2, grid=(6, 10), device=CPU)
    codes = condition.tokenizer.encode(value)
    assert prompt.window(1, 3, 4, 5).equal(codes[:, 1:5, 3:8].flatten(1))
    assert codes.unique().numel() > 3
    assert condition.decode(codes).shape == value.shape


def test_a_reduced_window_is_the_codes_of_the_cut():
    condition, value = maps(size=4), noise(2, 1, 12, 20)
    prompt = condition.context(value, num=2, grid=(6, 10), device=CPU)
    part = value[:, :, 2:10, 6:14]
    expected = condition.tokenizer.encode(part[:, :, ::2, ::2])  # the nearest, as torch has it
    assert expected.shape == (2, 2, 2)
    assert prompt.window(1, 3, 4, 4).equal(expected.flatten(1))
    assert condition.length((4, 4)) == 4


def test_one_map_for_all_or_one_for_each():
    condition, value = maps(), noise(2, 1, 8, 8)
    window = (0, 0, 4, 4)
    first = condition.context(value[0], num=3, grid=(4, 4), device=CPU).window(*window)
    assert first.shape == (3, 16)
    assert (first == first[0]).all()
    both = condition.context([value[0], value[1:]], num=2, grid=(4, 4), device=CPU).window(*window)
    assert both.equal(condition.context(value, num=2, grid=(4, 4), device=CPU).window(*window))
    assert not both[0].equal(both[1])


def test_class_numbers_are_as_good_as_channels():
    condition = maps(3, content="segmentation")
    labels = torch.randint(0, 3, (2, 8, 8), generator=torch.Generator().manual_seed(0))
    channels = F.one_hot(labels, 3).movedim(-1, 1).float()
    tokens = [
        condition.context(value, num=2, grid=(4, 4), device=CPU).window(0, 0, 4, 4)
        for value in (labels, channels, list(labels))
    ]
    assert tokens[0].equal(tokens[1])
    assert tokens[0].equal(tokens[2])


def test_files(tmp_path):
    """Gray of 8 bits as it is, more bits stretched, floats in RGBA as the 2021 code has them."""
    depths = np.random.default_rng(0).normal(size=(8, 6)).astype("<f4")
    stretched = torch.from_numpy(2 * (depths - depths.min()) / (depths.max() - depths.min()) - 1)
    Image.fromarray(depths[..., None].view(np.uint8)).save(tmp_path / "depth.png")
    torch.testing.assert_close(open_map(tmp_path / "depth.png", 1)[0], stretched)
    Image.fromarray(depths).save(tmp_path / "depth.tif")
    torch.testing.assert_close(open_map(tmp_path / "depth.tif", 1)[0], stretched)
    fine = np.arange(48, dtype=np.uint16).reshape(8, 6) * 1000
    Image.fromarray(fine).save(tmp_path / "fine.png")
    torch.testing.assert_close(open_map(tmp_path / "fine.png", 1)[0], torch.linspace(-1, 1, 48).view(8, 6))
    gray = Image.fromarray(np.full((8, 6), 51, dtype=np.uint8))
    assert open_map(gray, 1).eq(51 / 127.5 - 1).all()
    assert open_map(gray, 3).shape == (3, 8, 6)
    for mode in ("RGB", "RGBA", "P", "LA"):
        torch.testing.assert_close(open_map(gray.convert(mode), 1), open_map(gray, 1))
    flat = Image.fromarray(np.full((8, 6), 7.0, dtype=np.float32))
    assert open_map(flat, 1).eq(-1).all()


def test_files_and_images_are_taken(tmp_path):
    labels = np.random.default_rng(0).integers(0, 3, (8, 8), dtype=np.uint8)
    image = Image.fromarray(labels)
    image.save(tmp_path / "labels.png")
    condition = maps(3, content="segmentation")
    values = (torch.from_numpy(labels).long(), tmp_path / "labels.png", str(tmp_path / "labels.png"), image)
    tokens = [condition.context(value, num=1, grid=(4, 4), device=CPU).window(0, 0, 4, 4) for value in values]
    assert all(one.equal(tokens[0]) for one in tokens)
    assert condition.describe(tmp_path / "labels.png", num=2) == [str(tmp_path / "labels.png")] * 2
    assert condition.describe(values[0], num=1) != condition.describe(values[0] + 1, num=1)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "a map, got none"),
        (5, "a map, got int 5"),
        ("nowhere.png", "nowhere"),
        (noise(1, 10, 8), "the image's size, 8 x 8 pixels, got 10 x 8; resize the map"),
        (noise(3, 8, 8), r"maps as floats \(b 1 H W\), got torch.float32 \(3, 8, 8\)"),
        (torch.zeros(1, 8, 8, dtype=torch.uint8), "maps as floats"),
        (noise(1, 8, 8) * 255, "in \\[-1, 1\\], got .*divide"),
        (noise(1, 8, 8) * float("nan"), "in \\[-1, 1\\]"),
        (noise(3, 1, 8, 8), "one map, or 2 of them, got 3"),
        ([], "one map, or 2 of them, got 0"),
    ],
)
def test_wrong_maps(value, words):
    with pytest.raises(UserError, match=words):
        maps().context(value, num=2, grid=(4, 4), device=CPU)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.full((8, 8), 3), "class numbers from 0 to 2, got 3 to 3"),
        (torch.full((8, 8), -1), "class numbers from 0 to 2, got -1"),
        (torch.zeros(1, 1, 8, 8, dtype=torch.int64), r"class numbers \(b H W\)"),
        (torch.zeros(1, 8, 8), r"maps as floats \(b 3 H W\) or class numbers"),
        (Image.new("RGB", (8, 8), "red"), "one channel"),
    ],
)
def test_wrong_segmentations(value, words):
    with pytest.raises(UserError, match=words):
        maps(3, content="segmentation").context(value, num=1, grid=(4, 4), device=CPU)


def test_a_size_in_whole_cells():
    with pytest.raises(UserError, match=r"condition\.size as a multiple of 2.*got 5; condition\.size=4"):
        maps(size=5)


def test_other_channels_need_a_tensor(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"give a tensor \(b 2 H W\)"):
        maps(2).context(tmp_path / "a.png", num=1, grid=(4, 4), device=CPU)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.zeros(1, 8, 6), r"coordinates \(H W\) or \(2 H W\) of 8 x 8 pixels, got a tensor \(1, 8, 6\)"),
        (torch.zeros(3, 8, 8), r"got a tensor \(3, 8, 8\)"),
        (torch.full((8, 8), 1.5), "in \\[0, 1\\], got torch.float32 from 1.5"),
        (torch.zeros(8, 8, dtype=torch.int64), "in \\[0, 1\\], got torch.int64"),
        (7, "leave coordinates out"),
        ([Part(0, 0, 8, 8)], "leave coordinates out"),
    ],
)
def test_wrong_coordinates(value, words):
    condition = CoordinatesCondition(CoordinatesSettings(), tokenizer())
    with pytest.raises(UserError, match=words):
        condition.context(value, num=2, grid=(4, 4), device=CPU)


def test_the_last_coordinate_stays_in_the_vocabulary():
    condition = CoordinatesCondition(CoordinatesSettings(tokens=4), tokenizer())
    tokens = condition.context(torch.ones(8, 8), num=1, grid=(4, 4), device=CPU).window(0, 0, 4, 4)
    assert tokens.eq(3).all()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (noise(1, 10, 8), "4 x 4 cells of whole pixels, all equal, got 10 x 8"),
        (noise(1, 2, 2), "4 x 4 cells of whole pixels"),
        ([noise(1, 8, 8), noise(1, 16, 16)], "maps of one size, got 8 x 8 and 16 x 16"),
    ],
)
def test_wrong_maps_that_are_reduced(value, words):
    with pytest.raises(UserError, match=words):
        maps(size=4).context(value, num=2, grid=(4, 4), device=CPU)


def test_one_tensor_is_described_as_one_map_unless_it_holds_several():
    of_three, of_classes = maps(3), maps(3, content="segmentation")
    assert len(set(of_three.describe(noise(3, 8, 8), num=3))) == 1, "its channels are no maps"
    assert len(set(of_three.describe(noise(3, 3, 8, 8), num=3))) == 3
    labels = torch.arange(64).view(8, 8) % 3
    assert len(set(of_classes.describe(labels, num=8))) == 1, "its rows are no maps"
    assert len(set(of_classes.describe(torch.stack([labels, labels + 1]), num=2))) == 2


@pytest.mark.parametrize("window", [(0, 0, 4, 8), (2, 1, 3, 9), (1, 4, 5, 2)])
def test_a_reduced_window_need_not_be_square(window):
    """Each side of it is reduced to the size, whatever the other one is."""
    condition, value = maps(size=4), noise(1, 1, 12, 20)
    top, left, height, width = window
    part = value[:, :, 2 * top : 2 * (top + height), 2 * left : 2 * (left + width)]
    rows, columns = (torch.arange(4) * 2 * side // 4 for side in (height, width))
    expected = condition.tokenizer.encode(part[:, :, rows][:, :, :, columns])
    prompt = condition.context(value, num=1, grid=(6, 10), device=CPU)
    assert prompt.window(*window).equal(expected.flatten(1))
