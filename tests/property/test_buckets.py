"""Crops of several sizes: an image is in the bucket nearest to its shape, a batch of one, none lost."""

from collections import Counter
from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from PIL import Image

from smalti import config
from smalti.data.buckets import Buckets
from smalti.data.folder import Folder, FolderSettings
from smalti.data.loader import Loader, Turns, in_order
from smalti.data.transforms import CropSettings
from smalti.errors import UserError
from smalti.sizes import nearest, worded
from smalti.training.precompute import Encoding

SIZES = ((16, 16), (12, 20), (20, 12))
STILL = CropSettings(position="center", flip=0.0)
# shapes of images, of which the first size is given most, the last two
SHAPES = [
    (20, 20),
    (40, 41),
    (24, 36),
    (30, 30),
    (36, 24),
    (20, 21),
    (24, 37),
    (33, 30),
    (22, 20),
    (40, 24),
    (60, 58),
]


@pytest.fixture
def reader(tmp_path):
    """An image of its number's brightness for each of SHAPES."""
    for number, (height, width) in enumerate(SHAPES):
        Image.new("L", (width, height), 20 * number).save(tmp_path / f"{number:02}.png")
    return Folder(FolderSettings(root=tmp_path, val_share=0), "train")


def loader(reader, sizes=SIZES, **more):
    settings = {"crop": STILL, "batch": 4, "seed": 5, **more}
    return Loader(reader, size=Buckets.of(reader, sizes), **settings)


def numbers(images):
    """Which images these crops are of."""
    return [round((float(image.mean()) + 1) * 127.5 / 20) for image in images]


def test_a_sample_belongs_to_the_size_of_the_nearest_shape(reader):
    found = Buckets.of(reader, SIZES)
    assert found.members == ([0, 1, 3, 5, 7, 8, 10], [2, 6], [4, 9])
    assert [found.size(index) for index in (1, 6, 9)] == [(16, 16), (12, 20), (20, 12)]
    exif = Image.Exif()
    exif[0x0112] = 6  # stored 24 x 36, seen 36 x 24
    Image.new("L", (36, 24)).save(reader.paths[0], exif=exif)
    assert Buckets.of(reader, SIZES).members[2] == [0, 4, 9]
    assert nearest((300, 400), [(1, 1), (3, 5)]) == 1, "by factors: 4 : 3 is nearer to 5 : 3 than to 1 : 1"
    reader.paths[2].write_bytes(b"no image")
    assert Buckets.of(reader, SIZES).members[0] == [1, 2, 3, 5, 7, 8, 10], "told when its turn comes"


@given(
    some.lists(some.integers(1, 40), min_size=1, max_size=4), some.integers(1, 12), some.integers(0, 2**40)
)
def test_every_pass_shows_every_sample(counts, batch, seed):
    """After a pass each bucket has given as many batches as it takes, each the next one of its own."""
    turns = Turns(counts, batch, seed)
    shown, done = [0] * len(counts), 0
    for turn in range(1, 6):
        enough = [-(-turn * count // batch) for count in counts]
        for number in range(done, sum(enough)):
            bucket, own = turns(number)
            assert own == shown[bucket]
            shown[bucket] += 1
        done = sum(enough)
        assert shown == enough


def test_batches_are_of_one_size_and_lose_no_image(reader):
    found: dict[tuple[int, int], list[int]] = {size: [] for size in SIZES}
    for batch in islice(loader(reader).batches(), 40):
        found[batch.sides] += numbers(batch.images)
    assert [len(found[size]) for size in SIZES] == [26 * 4, 7 * 4, 7 * 4]
    for members, size in zip(Buckets.of(reader, SIZES).members, SIZES, strict=True):
        shown = found[size]
        passes = [shown[first : first + len(members)] for first in range(0, len(shown), len(members))]
        assert all(sorted(one) == members for one in passes[:-1]), "pass behind pass, also across batches"
        assert len({tuple(one) for one in passes[:-1]}) > 1, "each in an order of its own"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_belongs_to_its_number(reader, workers):
    """A run goes on anywhere, and two processes share batches of one bucket."""
    chance = {"crop": CropSettings(scale=(1.0, 1.5))}
    whole = list(islice(loader(reader, **chance).batches(), 12))
    assert {batch.sides for batch in whole} == set(SIZES)
    later = islice(loader(reader, **chance, workers=workers).batches(7), 5)
    shares = [islice(loader(reader, **chance, share=(rank, 2)).batches(), 12) for rank in (0, 1)]
    assert all(one.images.equal(other.images) for one, other in zip(whole[7:], later, strict=True))
    for one, *parts in zip(whole, *shares, strict=True):
        assert torch.cat([part.images for part in parts]).equal(one.images)


def test_one_size_is_as_if_there_were_no_buckets(reader):
    plain = Loader(reader, size=(12, 20), crop=STILL, batch=4, seed=5)
    for one, other in islice(zip(plain.batches(3), loader(reader, [(12, 20)]).batches(3), strict=True), 6):
        assert one.images.equal(other.images)
    assert plain.firsts() == {0: 0}


def test_what_stands_in_has_the_size_of_what_it_stands_for(reader):
    told: list[UserError] = []
    reader.paths[6].write_bytes(reader.paths[6].read_bytes()[:40])  # a sound header
    for batch in islice(loader(reader, skipped=told.append).batches(), 30):
        if batch.sides == (12, 20):
            assert set(numbers(batch.images)) == {2}
    assert {mistake.got.partition(" ")[0] for mistake in told} == {str(reader.paths[6])}


def test_every_sample_once_a_bucket_after_the_other(reader):
    found = list(in_order(reader, size=Buckets.of(reader, SIZES), crop=CropSettings(), batch=3))
    assert [(batch.sides, numbers(batch.images)) for batch in found] == [
        ((16, 16), [0, 1, 3]),
        ((16, 16), [5, 7, 8]),
        ((16, 16), [10]),
        ((12, 20), [2, 6]),
        ((20, 12), [4, 9]),
    ]
    some_of = in_order(reader, size=Buckets.of(reader, SIZES), crop=CropSettings(), batch=3, most=4)
    assert Counter(number for batch in some_of for number in numbers(batch.images)) == {
        0: 1,
        2: 1,
        5: 1,
        8: 1,
    }


def test_the_first_batch_of_each_size(reader):
    feed = loader(reader)
    assert [next(feed.batches(number)).sides for number in feed.firsts().values()] == list(SIZES)
    few = loader(reader, [(16, 16), (1, 40), (20, 12)])
    sides = {size: next(few.batches(number)).sides for size, number in few.firsts().items()}
    assert sides == {0: (16, 16), 2: (20, 12)}, "none is as oblong as the second"


@pytest.mark.parametrize(
    ("given_as", "sizes"),
    [
        (64, [(64, 64)]),
        ([64, 48], [(64, 48)]),
        ("64x48", [(64, 48)]),
        (["64x48"], [(64, 48)]),
        (["64x64", "48x80"], [(64, 64), (48, 80)]),
        ("64x64,48x80, 80X48", [(64, 64), (48, 80), (80, 48)]),
        ([64, "48x80"], [(64, 64), (48, 80)]),
        (((64, 64), (48, 80)), [(64, 64), (48, 80)]),
        ([[64, 64], [48, 80]], [(64, 64), (48, 80)]),
    ],
)
def test_sizes_as_they_are_written(given_as, sizes):
    found = config.parse({"size": given_as}, Encoding)
    assert list(found.sizes) == sizes
    assert config.parse(config.dump(found), Encoding) == found


@pytest.mark.parametrize(
    ("given_as", "told"),
    [
        (["64x64", "32x32"], "sizes of different shapes, got 64 x 64 and 32 x 32; leave one of the two out"),
        (["48x80", "48x80"], "sizes of different shapes"),
        (["64x64", "48x80x3"], "a size as HxW in pixels, got 48x80x3"),
        ([[64, 64], [48, 0]], "a valid size"),
        ([[64, 64], [48, 80, 3]], "a valid size, got"),
        ([], "a valid size"),
        ("64x64,", "a size as HxW"),
    ],
)
def test_sizes_that_are_none(given_as, told):
    with pytest.raises(UserError) as caught:
        config.parse({"size": given_as}, Encoding)
    assert told in str(caught.value)


def test_sizes_in_words():
    assert worded([(64, 64)]) == "64 x 64"
    assert worded(SIZES) == "16 x 16, 12 x 20 and 20 x 12"
