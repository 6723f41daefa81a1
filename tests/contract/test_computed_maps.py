"""Maps that are computed of images: what they are, that training and use compute alike, what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import TOKENIZER_TRAINING, TRAINING, generator, of_images

import smalti
from smalti import about, config, imaging
from smalti.conditions.computed import COMPUTED, computation
from smalti.conditions.computed.edges import Edges, EdgesSettings
from smalti.conditions.computed.low_resolution import LowResolution, LowResolutionSettings, shrink
from smalti.conditions.computed.reading import open_alpha
from smalti.conditions.computed.silhouette import Silhouette, SilhouetteSettings
from smalti.conditions.map import MapCondition, MapSettings
from smalti.data.folder import Folder, FolderSettings
from smalti.data.loader import Crops, collate
from smalti.data.pairs import Pairs, PairsSettings
from smalti.data.scenes import Scenes, ScenesSettings
from smalti.data.transforms import CropSettings
from smalti.errors import UserError
from smalti.features.protocol import Space
from smalti.metrics.obeyed import JUDGES
from smalti.metrics.obeyed.choice import judge_of
from smalti.metrics.obeyed.protocol import Pairs as Judged
from smalti.metrics.obeyed.protocol import obeyed
from smalti.pipeline import Pipeline
from smalti.training import checks
from smalti.training.contents import content
from smalti.training.settings import TrainingSettings

HEIGHT, WIDTH = 24, 40
SETTINGS = {
    "edges": EdgesSettings(sigma=1.0),
    "silhouette": SilhouetteSettings(),
    "low_resolution": LowResolutionSettings(factor=4),
}


class Unseen(Space):
    """Features that nobody looks at."""

    name, title, width, classes, stages = "unseen", "nothing", 1, 1, ("none",)

    @classmethod
    def read(cls, path=None):
        return cls()

    def forward(self, images):
        raise AssertionError("nothing is learned of features")


def cutout(number: int = 0) -> Image.Image:
    """A noisy disc, another one for each number, on transparent ground."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    inside = (rows - 10 - number) ** 2 + (columns - 14 - 3 * number) ** 2 < 64
    colours = np.random.default_rng(number).integers(0, 120, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return Image.fromarray(np.concatenate([colours, inside[..., None] * np.uint8(255)], 2))


@pytest.fixture
def cutouts(tmp_path):
    (tmp_path / "cutouts").mkdir()
    for number in range(4):
        cutout(number).save(tmp_path / "cutouts" / f"{number}.png")
    return tmp_path / "cutouts"


def model(kind: str) -> Pipeline:
    return of_images(SETTINGS[kind], grid=(8, 8))


def crops(folder, compute, size=(HEIGHT, WIDTH), **how):
    reader = Folder(FolderSettings(root=folder, val_share=0.0, classes="none"), "train")
    reader.compute = compute
    return Crops(reader, size, CropSettings(**how), seed=0)


def test_every_computation_has_settings_here_and_a_judge():
    assert SETTINGS.keys() == COMPUTED.keys()
    assert COMPUTED.keys() <= JUDGES.keys()


@pytest.mark.parametrize("kind", COMPUTED)
def test_a_crop_gets_the_map_that_a_user_gets_of_the_same_image(cutouts, kind):
    """Training computes of crops; use of an image that is scaled to the canvas, here as large already."""
    pipeline = model(kind)
    batch = collate([crops(cutouts, pipeline.condition.compute, position="center", flip=0.0)[0, 1]])
    seen = []
    pipeline.condition.encode, encode = (
        lambda value, **more: seen.append(value) or encode(value, **more),
        pipeline.condition.encode,
    )
    for image in (str(cutouts / "1.png"), Image.open(cutouts / "1.png")):
        (drawn,) = pipeline.sample(from_image=image, size=(HEIGHT, WIDTH), top_k=1).metadata
        assert drawn["map"].startswith("Tensor ")
        assert seen.pop().equal(pipeline.condition.from_batch(batch))
    assert batch.maps.shape == (1, pipeline.condition.tokenizer.channels, HEIGHT, WIDTH)
    assert batch.maps.unique().numel() > 1


@pytest.mark.parametrize("kind", COMPUTED)
def test_maps_are_flipped_and_cut_as_their_images(cutouts, kind):
    """Of an image that is symmetric only together with its flip."""
    compute = computation(SETTINGS[kind])
    plain, flipped = (
        collate([crops(cutouts, compute, (16, 24), flip=share, position="center")[0, 1]])
        for share in (0.0, 1.0)
    )
    assert flipped.images.equal(plain.images.flip(3))
    assert not flipped.maps.equal(plain.maps)
    agreed = (flipped.maps - plain.maps.flip(3)).abs()
    assert agreed.mean() < 0.05, "a detector may decide otherwise on a pixel"


def test_edges_are_lines_around_what_stands_out():
    image = torch.full((1, 3, HEIGHT, WIDTH), -1.0)
    image[:, :, 6:18, 8:30] = 1
    found = Edges(EdgesSettings(sigma=1.0))(image)
    assert found.shape == (1, 1, HEIGHT, WIDTH)
    assert set(found.unique().tolist()) == {-1.0, 1.0}
    rows, columns = (found[0, 0] > 0).nonzero().T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (5, 18, 7, 30)
    assert found[0, 0, 8:16, 10:28].max() == -1


def test_silhouettes_are_what_is_opaque(cutouts):
    alpha = open_alpha(cutouts / "2.png")
    assert alpha.equal(torch.from_numpy(np.array(cutout(2)))[..., 3][None])
    found = Silhouette(SilhouetteSettings())(imaging.to_float(alpha)[None])
    assert found.equal((alpha[None] > 127).float() * 2 - 1)


def test_transparency_is_turned_as_exif_says(tmp_path):
    image, exif = cutout(), Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.webp", lossless=True, exif=exif)
    plain = torch.from_numpy(np.array(image))[..., 3][None]
    assert open_alpha(tmp_path / "turned.webp").equal(plain.transpose(1, 2).flip(2))


@pytest.mark.parametrize("filter", ["box", "bicubic", "bilinear"])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_small_images_are_in_their_maps(filter, factor):
    noise = torch.rand(2, 3, 24, 36, generator=torch.Generator().manual_seed(0)) * 2 - 1
    compute = LowResolution(LowResolutionSettings(factor=factor, filter=filter))
    small, maps = compute.shrunk(noise), compute(noise)
    assert small.shape == (2, 3, 24 // factor, 36 // factor)
    assert small.equal(imaging.eight_bit(shrink(noise, factor, filter)))
    assert maps.shape == noise.shape
    assert maps.abs().max() <= small.abs().max(), "nothing beyond the values that are there"
    torch.testing.assert_close(compute.small(maps), small, atol=1e-5, rtol=0)


def test_a_factor_that_does_not_divide():
    compute = LowResolution(LowResolutionSettings(factor=3))
    with pytest.raises(UserError, match=r"multiples of compute\.factor=3, got 24 x 40; .* or 24 x 39"):
        compute.check((24, 40))
    with pytest.raises(UserError, match="multiples of"):
        compute(torch.zeros(1, 3, 24, 40))


def test_an_image_without_transparency_has_no_silhouette(tmp_path):
    Image.new("RGB", (9, 7)).save(tmp_path / "photo.png")
    with pytest.raises(UserError, match=r"an image with transparency, got .*photo\.png, without any"):
        open_alpha(tmp_path / "photo.png")
    with pytest.raises(UserError, match="with transparency, got Tensor; give a file"):
        model("silhouette").sample(from_image=torch.zeros(3, 16, 16))


def test_images_in_memory_are_as_good_as_files(cutouts):
    pipeline = model("edges")
    image = imaging.to_float(imaging.open_rgb(cutouts / "0.png"))
    given = [str(cutouts / "0.png"), image, Image.open(cutouts / "0.png"), image.permute(1, 2, 0).numpy()]
    drawn = pipeline.sample(from_image=given, size=(HEIGHT, WIDTH), top_k=1, micro_batch=1)
    assert len(drawn) == 4
    assert (drawn.codes == drawn.codes[0]).all()
    named = [one["from_image"] for one in drawn.metadata]
    assert named[0].endswith("0.png")
    assert named[1:] == ["Tensor in memory", "PngImageFile in memory", "ndarray in memory"]
    other = pipeline.sample(from_image=cutouts / "3.png", size=(HEIGHT, WIDTH), top_k=1)
    assert not other.codes[0].equal(drawn.codes[0])


def test_from_image_is_refused_where_nothing_is_computed(cutouts):
    image = cutouts / "0.png"
    with pytest.raises(UserError, match=r"maps computed of images.*told label; give label= \(--label\)"):
        generator().sample(from_image=image)
    both = {"from_image": image, "map": torch.zeros(1, 16, 16)}
    with pytest.raises(UserError, match="from_image= or map=, got both"):
        model("edges").sample(**both)
    with pytest.raises(UserError, match="got none"):
        model("edges").sample(from_image=[])


def test_maps_are_computed_of_images_alone(paired):
    where = {"root": paired / "images", "maps": paired / "depth", "content": "depth"}
    data = PairsSettings(**where)
    condition = MapSettings(compute=EdgesSettings())
    needs = type(model("edges").condition).needs
    with pytest.raises(UserError, match=r"images alone for condition\.compute"):
        needs(condition, data, Pairs(data, "train"))


@pytest.mark.parametrize("kind", ["edges", "low_resolution"])
def test_maps_of_scenes_are_computed_in_place_of_those_that_are_made(kind):
    """Whatever data.content says: a scene always has a map, and is no file that somebody gave."""
    data = ScenesSettings(size=(HEIGHT + 8, WIDTH), count=3)
    reader, model = Scenes(data, "train"), of_images(SETTINGS[kind])
    type(model.condition).needs(model.settings.condition, data, reader)
    model.condition.agree(data, [reader])
    crops = Crops(reader, (HEIGHT + 8, WIDTH), CropSettings(flip=0.0), seed=0)
    batch = collate([crops[0, row] for row in range(3)])
    assert torch.equal(model.condition.from_batch(batch), model.condition.compute(batch.images))


def test_a_tokenizer_of_other_channels_is_refused(cutouts):
    pipeline = model("edges")
    pipeline.condition.tokenizer = pipeline.tokenizer
    settings = FolderSettings(root=cutouts)
    with pytest.raises(UserError, match=r"condition_tokenizer of maps with 1 channels, got one of 3; train"):
        pipeline.condition.agree(settings, [Folder(settings, "train")])


def test_readers_are_told_by_the_condition(cutouts):
    pipeline = model("low_resolution")
    settings = FolderSettings(root=cutouts, classes="none")
    readers = [Folder(settings, "train")]
    assert readers[0].compute is None
    pipeline.condition.agree(settings, readers)
    assert readers[0].compute is pipeline.condition.compute


def test_tokenizers_of_computed_maps_rebuild_the_map(cutouts):
    compute = Edges(EdgesSettings(sigma=1.0))
    batch = collate([crops(cutouts, compute)[0, 0]])
    assert content("map", 1).inputs(batch) is batch.maps


@pytest.mark.parametrize("kind", COMPUTED)
def test_judges_of_computed_maps(cutouts, kind):
    """Real images obey their maps as well as can be; judges learn nothing, as the computation is known."""
    condition = model(kind).condition
    found = collate(
        [crops(cutouts, condition.compute, position="center", flip=0.0)[0, row] for row in range(4)]
    )
    judge = judge_of(condition, Unseen(), found.maps)
    assert type(judge) is JUDGES[kind]
    assert not judge.learns
    real = Judged(images=found.images, conditions=found.maps)
    (number,) = obeyed(judge, real, real=real).values()
    assert number.value == number.ceiling
    assert number.ceiling >= {"low_resolution": 99.9}.get(kind, 0.99)
    assert number.floor < {"low_resolution": 20}.get(kind, 0.6)


def test_a_model_says_what_it_computes(tmp_path):
    pipeline = model("edges")
    assert "maps computed of images: {'kind': 'edges', 'sigma': 1.0}" in about.lines(pipeline, {})
    assert 'pipe.sample(num=4, from_image="photo.png", seed=0)' in about.card(pipeline, {}, "model")
    with pytest.raises(UserError, match=r"got none; give from_image= \(--from\) an image .*, or map="):
        pipeline.sample()
    smalti.save(pipeline, tmp_path / "model")
    assert smalti.load(tmp_path / "model").condition.compute.settings == pipeline.condition.compute.settings


def test_low_resolution_through_a_second_tokenizer(cutouts):
    own = model("low_resolution")
    condition = replace(own.condition.settings, shared=False)
    second = Pipeline(replace(own.settings, condition=condition), own.tokenizer, own.condition.tokenizer)
    assert second.upscale(cutouts / "0.png").tensors.shape == (1, 3, 4 * HEIGHT, 4 * WIDTH)
    recipe = {**TOKENIZER_TRAINING, "content": "map", "compute": {"kind": "low_resolution", "factor": 4}}
    recipe["data"] = {"kind": "folder", "root": str(cutouts)}
    training = config.parse(recipe, TrainingSettings)
    assert training.compute == LowResolutionSettings(factor=4)


def test_codes_of_maps_that_are_made_otherwise_have_another_key():
    """So that shards of one are not taken for those of the other."""
    keys = []
    for factor in (None, 2, 4):
        compute = None if factor is None else LowResolutionSettings(factor=factor)
        keys.append(MapCondition(MapSettings(shared=True, compute=compute), model("edges").tokenizer).key)
    assert len(set(keys)) == 3


@pytest.mark.parametrize("several", [False, True])
def test_a_factor_that_does_not_divide_ends_a_training_before_it_begins(cutouts, several):
    """Also where the map is one of several conditions."""
    told = {"kind": "map", "shared": True, "compute": {"kind": "low_resolution", "factor": 5}}
    recipe = {**TRAINING, "kind": "prior", "tokenizer": "tok", "size": [16, 24]}
    recipe |= {"data": {"kind": "folder", "root": str(cutouts)}}
    recipe |= {"prior": {"kind": "gpt", "layers": 1, "heads": 1, "width": 8}}
    recipe |= {"condition": ["coordinates", told] if several else told}
    with pytest.raises(UserError, match=r"multiples of compute\.factor=5, got 16 x 24"):
        checks.check(config.parse(recipe, TrainingSettings), held_out=8)


def test_transparency_is_that_of_files(cutouts):
    """Of images that are made, or come as a stream, there is none to read."""
    compute = computation(SETTINGS["silhouette"])
    words = "in files of their own for compute.kind=silhouette, .*got a stream, or images that are made"
    with pytest.raises(UserError, match=words):
        compute.wanted_of(Scenes(ScenesSettings(), "train"))
    found = crops(cutouts, compute)
    mistake = found.cropped(replace(found.reader[0], path=None), (0, 0))
    assert isinstance(mistake, UserError)
    assert mistake.remedy == "data.kind=folder, or another kind"
    edges = Scenes(ScenesSettings(), "train")
    computation(SETTINGS["edges"]).wanted_of(edges)
    assert edges.compute is not None
