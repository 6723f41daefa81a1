"""How the numbers of a map are read belongs to the model: from training maps to the same prefix in use."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import NETWORK, once

import smalti
from smalti import imaging, library
from smalti.conditions.map import MapSettings
from smalti.data.maps import Maps, MapsSettings
from smalti.pipeline import Pipeline, PipelineSettings
from smalti.priors.gpt import GPTSettings
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.reading.labels import LabelReading
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings

HEIGHT, WIDTH = 16, 24
READING = ("data.shift=true", "data.merge={254: 255, 3: 1}")  # what a person types
KEPT = LabelReading(shift=True, merge={254: 255, 3: 1})
CLASSES = 4  # nothing known, and 0 .. 2 plus 1
NUMBERS = {0: 1, 1: 2, 2: 3, 3: 2, 254: 0, 255: 0}  # value in a file -> class
SMALL = [f"size=[{HEIGHT},{WIDTH}]", "batch=2", "steps=2", "workers=0"]
SMALL += ["network.width=8", "network.multipliers=[1,2]", "network.attention_levels=[]", "network.groups=4"]
SMALL += ["network.blocks=1", "network.latent_channels=8", "network.code_dim=4", "quantizer.codebook_size=16"]
SMALL += ["optimizer.lr=0.01", f"network.in_channels={CLASSES}", f"network.out_channels={CLASSES}"]


def values(number: int) -> np.ndarray:
    """Of a map's file: blocks of every value."""
    cells = np.random.default_rng(number).choice(list(NUMBERS), (HEIGHT // 4, WIDTH // 4))
    return np.kron(cells, np.ones((4, 4))).astype(np.uint8)


def by_hand(number: int) -> torch.Tensor:
    """The class numbers that they mean."""
    return torch.from_numpy(np.vectorize(NUMBERS.get)(values(number)))


@pytest.fixture
def maps(home):
    (home / "maps").mkdir()
    (home / "images").mkdir()
    for number in range(4):
        Image.fromarray(values(number)).save(home / "maps" / f"{number}.png")
        noise = np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(noise).save(home / "images" / f"{number}.png")
    return home


def tokenizer(channels: int, **more) -> Tokenizer:
    network = NetworkSettings(**NETWORK, multipliers=(1, 2), in_channels=channels, out_channels=channels)
    quantizer = VectorQuantizerSettings(codebook_size=16)
    return Tokenizer(TokenizerSettings(network=network, quantizer=quantizer, **more))


def told(**more) -> Pipeline:
    """A prior that is told label maps, with weights that make it listen."""
    torch.manual_seed(1)
    prior = GPTSettings(layers=1, heads=2, width=16)
    settings = PipelineSettings(prior=prior, condition=MapSettings(), grid=(HEIGHT // 2, WIDTH // 2))
    maps = tokenizer(CLASSES, content="segmentation", **more)
    model = Pipeline(settings, tokenizer(3), maps)
    with torch.no_grad():
        for parameter in model.prior.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def test_a_tokenizer_keeps_how_its_training_maps_were_read(maps, smalti_command):
    words = ("train", "vqgan_segmentation", *SMALL, "data.classes=4", *READING)
    status, _, complaint = smalti_command(*words, "--data", "maps", "--out", "run")
    assert status == 0, complaint
    assert "values of label maps: 3 counts as 1, 254 counts as 255, 1 is added (255 becomes 0)" in complaint
    model = smalti.load("run")
    assert model.settings.labels == KEPT
    reader = Maps(MapsSettings(root=maps / "maps", classes=4, shift=True, merge={254: 255, 3: 1}), "train")
    assert all(
        reader[number].segmentation.equal(by_hand(int(reader.files.paths[number].stem))) for number in (0, 1)
    )
    status, told, complaint = smalti_command("info", "run")
    assert "values of label maps: 3 counts as 1, 254 counts as 255, 1 is added (255 becomes 0)" in told
    status, told, complaint = smalti_command("reconstruct", "run", "maps", "out")
    assert status == 0, complaint
    for number in range(4):
        given = by_hand(number)
        rebuilt = model.reconstruct(imaging.one_hot(given[None], CLASSES)).argmax(1)
        assert f"{(rebuilt == given).float().mean():.1%} of pixels right" in told.splitlines()[number]
        shown = imaging.open_rgb(maps / "out" / f"{number:05}-{number}.png")
        assert shown.equal(imaging.colour_labels(rebuilt)[0])


@pytest.mark.parametrize("size", [None, f"{HEIGHT}x{WIDTH}", "24x48"])
def test_sample_tells_the_prior_what_training_did(maps, smalti_command, size):
    """As the map renumbered by hand does, and another than the values as they are would; also enlarged."""
    smalti.save(told(labels=KEPT), "model")
    model, given = smalti.load("model"), by_hand(0)
    tall, wide = (HEIGHT, WIDTH) if size is None else map(int, size.split("x"))
    scale = max(tall / HEIGHT, wide / WIDTH)
    whole = imaging.resize(
        given[None].float(), (round(HEIGHT * scale), round(WIDTH * scale)), "nearest-exact"
    )
    top, left = (whole.shape[1] - tall) // 2, (whole.shape[2] - wide) // 2
    given = whole[0, top : top + tall, left : left + wide].long()
    words = ["sample", "model", "out", "--map", "maps/0.png", "--top-k", 1]
    status, _, complaint = smalti_command(*words, *(["--size", size] if size else []))
    assert status == 0, complaint
    (expected,) = model.sample(size=(tall, wide), map=given, top_k=1)
    drawn = imaging.open_rgb(maps / "out" / "00000.png")
    assert drawn.equal(imaging.from_pil(expected))
    (other,) = model.sample(size=(tall, wide), map=(given + 1) % CLASSES, top_k=1)
    assert not drawn.equal(imaging.from_pil(other)), "a prior that does not listen would pass"


def test_complete_and_python_tell_it_too(maps, smalti_command):
    smalti.save(told(labels=KEPT), "model")
    model, given = smalti.load("model"), by_hand(1)
    words = ("complete", "model", "images/1.png", "out", "--map", "maps/1.png", "--top-k", 1)
    status, _, complaint = smalti_command(*words)
    assert status == 0, complaint
    (expected,) = model.complete("images/1.png", map=given, top_k=1)
    assert imaging.open_rgb(maps / "out" / "00000.png").equal(imaging.from_pil(expected))
    with Image.open("maps/1.png") as image:
        sources = ["maps/1.png", image, Image.fromarray(values(1)), given]
        prefixes = [
            model.condition.context(one, num=1, grid=(8, 12), device=torch.device("cpu")).window(0, 0, 8, 12)
            for one in sources
        ]
    codes = model.condition.own.encode(imaging.one_hot(given[None], CLASSES)).flatten(1)
    assert all(prefix.equal(codes) for prefix in prefixes)
    assert codes.unique().numel() > 3


PRIOR = [
    "batch=2",
    "steps=1",
    "workers=0",
    f"size=[{HEIGHT},{WIDTH}]",
    "data.maps=maps",
    "data.val_share=0.0",
]
PRIOR += ["prior={kind: gpt, layers: 1, heads: 2, width: 16}", "optimizer.lr=0.01"]
PRIOR += ["tokenizer=images_tokenizer", "condition_tokenizer=maps_tokenizer", "log_every=1"]


@pytest.mark.parametrize(
    ("kept", "said"),
    [(None, READING), (KEPT, READING), (KEPT, ())],
    ids=["a tokenizer of before takes it from the data", "both say it", "the tokenizer alone"],
)
def test_a_prior_is_told_as_its_tokenizer_of_maps_was(maps, smalti_command, kept, said):
    torch.manual_seed(0)
    smalti.save(tokenizer(3), "images_tokenizer")
    of_maps = tokenizer(CLASSES, content="segmentation", labels=kept)
    smalti.save(of_maps, "maps_tokenizer")
    words = ("train", "transformer_segmentation", *PRIOR, *said, "--data", "images", "--out", "run")
    status, _, complaint = smalti_command(*words)
    assert status == 0, complaint
    assert "skipped" not in complaint
    model = smalti.load("run")
    assert model.condition.own.settings.labels == KEPT
    weights = model.condition.own.state_dict()
    assert all(weights[name].equal(tensor) for name, tensor in of_maps.state_dict().items())
    assert (
        library.fingerprint(model.tokenizer)
        == json.loads((maps / "images_tokenizer" / "config.json").read_text())["fingerprint"]
    )
    sees = model.condition.open("maps/2.png")
    assert sees.equal(imaging.one_hot(by_hand(2)[None], CLASSES))


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("data.shift=false", "data.shift=true, with which the tokenizer of maps was trained, got false"),
        ("data.merge={3: 2}", "data.merge={254: 255, 3: 1}, with which .* got {3: 2}; leave data.merge out"),
    ],
)
def test_data_that_contradict_the_tokenizer_are_refused(maps, smalti_command, said, words):
    smalti.save(tokenizer(3), "images_tokenizer")
    smalti.save(tokenizer(CLASSES, content="segmentation", labels=KEPT), "maps_tokenizer")
    command = ("train", "transformer_segmentation", *PRIOR, said, "--data", "images", "--out", "run")
    status, _, complaint = smalti_command(*command)
    assert status == 2
    assert len(complaint.splitlines()) == 1
    assert all(word in complaint for word in words.split(" .* "))
    assert not (maps / "run").exists()


def test_a_map_with_a_number_of_no_class_is_skipped_with_its_path(maps, smalti_command):
    smalti.save(tokenizer(3), "images_tokenizer")
    smalti.save(tokenizer(CLASSES, content="segmentation"), "maps_tokenizer")
    for number in range(3):
        Image.fromarray(by_hand(number).numpy().astype(np.uint8)).save(f"maps/{number}.png")
    command = once("train", "transformer_segmentation", *PRIOR, "steps=4", "--data", "images")
    status, _, complaint = smalti_command(*command, "--out", "run")
    assert status == 0, complaint
    assert (
        "skipped: expected class numbers from 0 to 3, got 255 in maps/3.png; 'data.merge={255: 0}'"
        in complaint
    )


def test_fine_tuning_goes_on_reading_as_the_model_does(maps, smalti_command):
    smalti.save(tokenizer(CLASSES, content="segmentation", labels=KEPT), "model")
    small = [word for word in SMALL if not word.startswith(("network", "quantizer"))]
    words = ("train", "vqgan_segmentation", *small, "init_from=model", "data.classes=4", "--data", "maps")
    status, _, complaint = smalti_command(*words, "--out", "run")
    assert status == 0, complaint
    assert smalti.load("run").settings.labels == KEPT
    status, _, complaint = smalti_command(*words, "data.shift=false", "--out", "other")
    assert status == 2
    assert "data.shift=true, with which the model was trained, got false" in complaint
    status, _, complaint = smalti_command(
        "train", "tokenizer_300", *small, "init_from=model", "--data", "images"
    )
    assert status == 2
    assert "expected losses.bce alone for content=segmentation" in complaint  # not of data.merge, untyped


def test_optimised_and_clear_maps_draw_the_same(home, smalti_command):
    """A gray map and what a lossless optimiser made of it; a drawing as RGBA, palette, LA, L."""
    smalti.save(told(), "model")
    gray = by_hand(0).numpy().astype(np.uint8)
    Image.fromarray(gray).save("gray.png")
    order = np.array([2, 0, 3, 1])
    optimised = Image.fromarray(np.argsort(order)[gray].astype(np.uint8)).convert("P")
    optimised.putpalette(np.repeat(order, 3).tolist())
    optimised.save("optimised.png")
    for name in ("gray", "optimised"):
        words = ("sample", "model", name, "--map", f"{name}.png", "--top-k", 1)
        assert smalti_command(*words)[0] == 0
    drawn = [imaging.open_rgb(home / name / "00000.png") for name in ("gray", "optimised")]
    assert drawn[0].equal(drawn[1])

    torch.manual_seed(1)
    prior = GPTSettings(layers=1, heads=2, width=16)
    settings = PipelineSettings(prior=prior, condition=MapSettings(), grid=(8, 12))
    smalti.save(Pipeline(settings, tokenizer(3), tokenizer(1)), "clear")
    art = np.zeros((HEIGHT, WIDTH, 4), dtype=np.uint8)
    art[3:9, 5:20, 3] = 255
    rgba = Image.fromarray(art)
    palette = Image.fromarray((art[..., 3] == 0).astype(np.uint8)).convert("P")
    palette.putpalette([0, 0, 0, 0, 0, 0])
    palette.info["transparency"] = 1
    kinds = {"rgba": rgba, "la": rgba.convert("LA"), "p": palette}
    kinds["l"] = Image.fromarray(255 - art[..., 3])
    images = []
    for name, image in kinds.items():
        image.save(f"{name}.png")
        status, _, complaint = smalti_command("sample", "clear", name, "--map", f"{name}.png", "--top-k", 1)
        assert status == 0, complaint
        images.append(imaging.open_rgb(home / name / "00000.png"))
    assert all(image.equal(images[-1]) for image in images)


def test_maps_turn_with_their_images_from_the_first_step(home, smalti_command):
    """The sheet of a training shows the maps that it was given."""
    values = np.zeros((24, 24), dtype=np.uint8)  # a square: no size tells
    values[2:6, 3:21] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    for number in range(4):
        for folder in ("images", "maps"):
            (home / folder).mkdir(exist_ok=True)
        Image.fromarray(values).convert("RGB").save(f"images/{number}.png", exif=exif)
        Image.fromarray(values).save(f"maps/{number}.png")
    small = [word for word in SMALL if not word.startswith(("size", "network.in", "network.out"))]
    small += [
        "size=24",
        "crop.flip=0.0",
        "sample_every=2",
        "losses.perceptual.weight=0.0",
        "data.val_share=0.0",
    ]
    small += ["losses.adversarial=null", "discriminator_optimizer=null", "quantize_start=0"]
    for described, expected in (("stored", values.T[:, ::-1]), ("upright", values)):
        words = ("train", "vqgan_depth", *small, "data.maps=maps", f"data.annotated={described}")
        status, _, complaint = smalti_command(*words, "--data", "images", "--out", described)
        assert status == 0, complaint
        assert "4 images are turned by EXIF, and no size tells what their maps describe" in complaint
        assert f"(data.annotated={described})" in complaint
        sheet = imaging.open_rgb(home / described / "samples" / "step-00000002.png")[0, :24, :24]
        assert np.array_equal(sheet.numpy(), expected)


@pytest.mark.parametrize("size", [f"{HEIGHT}x{WIDTH}", "24x24"])
def test_complete_turns_a_map_of_the_raster_in_the_file(maps, smalti_command, size):
    """Whatever map describes an image that lies on its side: what is drawn is the same."""
    smalti.save(told(labels=KEPT), "model")
    noise = np.random.default_rng(5).integers(0, 256, (WIDTH, HEIGHT, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise).save("lying.png", exif=exif)
    upright = values(2)
    Image.fromarray(upright).save("upright.png")
    Image.fromarray(np.rot90(upright)).save("stored.png")  # which orientation 6 turns back
    for name in ("upright", "stored"):
        words = ("complete", "model", "lying.png", name, "--map", f"{name}.png", "--top-k", 1, "--size", size)
        status, _, complaint = smalti_command(*words)
        assert status == 0, complaint
    drawn = [imaging.open_rgb(maps / name / "00000.png") for name in ("upright", "stored")]
    assert drawn[0].equal(drawn[1])


def test_a_number_of_no_class_is_told_with_what_the_file_holds(maps, smalti_command):
    smalti.save(tokenizer(CLASSES, content="segmentation", labels=KEPT), "model")
    Path("odd").mkdir()
    Image.fromarray(np.full((HEIGHT, WIDTH), 9, np.uint8)).save("odd/9.png")
    status, _, complaint = smalti_command("reconstruct", "model", "odd", "out")
    assert status == 2
    assert (
        "got 10 to 10 in odd/9.png (1 is added to the values in the file, of which 255 is class 0)"
        in complaint
    )
