"""Batch n of a run depends on (seed, n) and on nothing else."""

from itertools import islice

import pytest
import torch
from PIL import Image

from smalti.data.folder import Folder, FolderSettings
from smalti.data.loader import Loader, in_order
from smalti.data.transforms import CropSettings
from smalti.errors import UserError

SIZE = (24, 16)
AS_IT_IS = CropSettings(resize="none")


@pytest.fixture
def reader(photos):
    return Folder(FolderSettings(root=photos, val_share=0), "train")


def loader(reader, **more):
    settings = {"size": SIZE, "crop": CropSettings(scale=(1.0, 1.5)), "batch": 6, "seed": 3, **more}
    return Loader(reader, **settings)


def images_of(batches, count):
    return torch.stack([batch.images for batch in islice(batches, count)])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_can_go_on_anywhere(reader, workers):
    whole = images_of(loader(reader).batches(), 7)
    later = images_of(loader(reader, workers=workers).batches(5), 2)
    assert whole.shape[1:] == (6, 3, *SIZE)
    assert torch.equal(later, whole[5:])


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_between_are_left_out(reader, workers):
    every = list(islice(loader(reader).samples(2), 7))
    third = list(islice(loader(reader, workers=workers).samples(2, step=3), 3))
    for batch, same in zip(third, every[::3], strict=True):
        assert all(torch.equal(one.image, other.image) for one, other in zip(batch, same, strict=True))


def test_seeds_and_passes_differ(reader):
    one = images_of(loader(reader).batches(), 1)
    other = images_of(loader(reader, seed=4).batches(), 1)
    assert not torch.equal(one, other)
    every = images_of(loader(reader, batch=16).batches(), 2)
    assert not torch.equal(every[0].sort(0).values, every[1].sort(0).values), "crops are alike in both passes"


def test_a_pass_meets_every_sample_once(reader):
    labels = torch.cat([batch.labels for batch in islice(loader(reader, batch=4).batches(), 8)])
    for turn in labels.split(16):
        assert turn.bincount().tolist() == [8, 8]


def test_every_pass_has_an_order_of_its_own(reader):
    """Without chance in the crops, so that an image looks the same in every pass."""
    still = CropSettings(position="center", flip=0.0)
    whole = images_of(loader(reader, batch=16, crop=still).batches(), 3)
    known = {image.numpy().tobytes(): number for number, image in enumerate(whole[0])}
    orders = [[known[image.numpy().tobytes()] for image in turn] for turn in whole]
    assert [sorted(order) for order in orders] == [list(range(16))] * 3
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_some_are_taken_evenly_over_all(reader):
    batches = list(in_order(reader, size=SIZE, crop=CropSettings(), batch=3, most=5))
    assert torch.cat([batch.labels for batch in batches]).tolist() == [0, 0, 0, 1, 1]
    whole = torch.cat([batch.images for batch in in_order(reader, size=SIZE, crop=CropSettings(), batch=16)])
    assert torch.equal(torch.cat([batch.images for batch in batches]), whole[[0, 3, 6, 9, 12]])


def test_processes_share_a_batch(reader):
    whole = images_of(loader(reader).batches(), 3)
    shares = [images_of(loader(reader, share=(rank, 2)).batches(), 3) for rank in range(2)]
    assert torch.equal(torch.cat(shares, dim=1), whole)
    with pytest.raises(UserError, match="4 processes"):
        loader(reader, share=(0, 4))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_image_is_named(reader, workers):
    reader.paths[5].write_bytes(b"no image")
    with pytest.raises(UserError, match=reader.paths[5].name):
        images_of(loader(reader, workers=workers).batches(), 4)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("damage", ["unreadable", "too small"])
def test_another_image_stands_in_for_one_that_is_skipped(reader, workers, damage):
    """Only its own places change, to the same images wherever the run begins; it is told by name."""
    sound = images_of(loader(reader, crop=AS_IT_IS).batches(), 8)
    if damage == "unreadable":
        reader.paths[5].write_bytes(reader.paths[5].read_bytes()[:-200])  # a sound header
    else:
        Image.new("RGB", (9, 9)).save(reader.paths[5])
    told: list[UserError] = []
    skipping = loader(reader, crop=AS_IT_IS, workers=workers, skipped=told.append)
    found = images_of(skipping.batches(), 8)
    changed = (found != sound).flatten(2).any(2)
    assert changed.sum() == 3, "once a pass"
    assert len(told) == 3
    assert all(str(reader.paths[5]) in mistake.got for mistake in told)
    assert torch.equal(images_of(skipping.batches(3), 5), found[3:])
    shares = [loader(reader, crop=AS_IT_IS, share=(rank, 2), skipped=told.append) for rank in range(2)]
    halves = [images_of(share.batches(), 8) for share in shares]
    assert torch.equal(torch.cat(halves, dim=1), found)


def test_a_run_goes_on_with_one_image_that_can_be_used(reader):
    for path in reader.paths[1:]:
        path.write_bytes(b"no image")
    told: list[UserError] = []
    still = CropSettings(position="center", flip=0.0)
    found = images_of(loader(reader, crop=still, skipped=told.append).batches(), 3)
    assert len({image.numpy().tobytes() for image in found.flatten(0, 1)}) == 1
    assert len({mistake.got for mistake in told}) == 15
    reader.paths[0].unlink()
    with pytest.raises(UserError, match="16 in a row"):
        images_of(loader(reader, skipped=told.append).batches(), 1)


def test_validation_leaves_out_what_is_skipped(reader):
    settings = {"size": SIZE, "crop": CropSettings(), "batch": 5}
    whole = torch.cat([batch.images for batch in in_order(reader, **settings)])
    for index in (2, 15):
        reader.paths[index].write_bytes(b"no image")
    told: list[UserError] = []
    batches = list(in_order(reader, **settings, skipped=told.append))
    assert [batch.size for batch in batches] == [5, 5, 4]
    kept = [index for index in range(16) if index not in (2, 15)]
    assert torch.equal(torch.cat([batch.images for batch in batches]), whole[kept])
    assert all(str(reader.paths[index]) in told[number].got for number, index in enumerate((2, 15)))
    assert len(told) == 2
    with pytest.raises(UserError, match=reader.paths[2].name):
        list(in_order(reader, **settings))


def test_a_image_too_small_is_named(reader):
    Image.new("RGB", (9, 9)).save(reader.paths[5])
    with pytest.raises(UserError, match=reader.paths[5].name):
        images_of(loader(reader, crop=CropSettings(resize="none")).batches(), 4)


def test_the_global_generator_is_left_alone(reader):
    before = torch.get_rng_state()
    images_of(loader(reader, workers=1).batches(), 2)
    assert torch.equal(torch.get_rng_state(), before)


def test_validation_is_without_chance_and_complete(reader):
    batches = list(in_order(reader, size=SIZE, crop=CropSettings(), batch=5))
    assert [batch.size for batch in batches] == [5, 5, 5, 1]
    again = list(in_order(reader, size=SIZE, crop=CropSettings(), batch=16))
    assert torch.equal(torch.cat([batch.images for batch in batches]), again[0].images)


def test_nothing_to_train_on_is_told(photos):
    folder = photos / "one"
    folder.mkdir()
    Image.new("RGB", (30, 30)).save(folder / "a.png")
    reader = Folder(FolderSettings(root=folder), "val")
    with pytest.raises(UserError, match="images to train on"):
        loader(reader)
