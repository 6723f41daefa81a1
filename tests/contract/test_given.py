"""What a person gives in Python: any common form works, any wrong value is answered in one line."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import NETWORK, TOKENIZER_TRAINING, generator

import smalti
from smalti import imaging
from smalti.conditions.boxes import BoxesSettings
from smalti.conditions.coordinates import CoordinatesSettings
from smalti.conditions.none import NoConditionSettings
from smalti.conditions.protocol import Condition
from smalti.errors import UserError
from smalti.quantizers.gaussian import GaussianSettings
from smalti.reading.pixels import PixelReading
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings
from smalti.user_images import check_range


@pytest.fixture(scope="module")
def model():
    return generator()


@pytest.fixture(scope="module")
def pixels():
    """Height 8, width 12: dark on the left, bright on the right."""
    noise = np.random.default_rng(0).integers(0, 60, (8, 12, 3))
    return (noise + np.linspace(0, 190, 12)[:, None]).astype(np.uint8)


@pytest.fixture(scope="module")
def floats(pixels):
    return imaging.to_float(torch.from_numpy(pixels).permute(2, 0, 1))


def forms(pixels, floats, folder: Path) -> dict:
    """One image in every form that it may have."""
    image = Image.fromarray(pixels)
    image.save(folder / "a.png")
    uint8 = torch.from_numpy(pixels)
    return {
        "path": folder / "a.png",
        "text": str(folder / "a.png"),
        "pillow": image,
        "array": pixels,
        "array of one": pixels[None],
        "floats of numpy": floats.numpy(),
        "floats of numpy, channels last": np.ascontiguousarray(floats.permute(1, 2, 0).numpy()),
        "doubles of numpy": floats.permute(1, 2, 0).double().numpy(),
        "tensor": floats,
        "tensor of one": floats[None],
        "uint8": uint8.permute(2, 0, 1),
        "uint8 of one": uint8.permute(2, 0, 1)[None],
        "uint8, channels last": uint8,
        "array, channels first": pixels.transpose(2, 0, 1),
        "list": [image],
        "tuple": (floats,),
        "with transparency": image.convert("RGBA"),
        "array with transparency": np.dstack([pixels, np.full((8, 12), 255, np.uint8)]),
        "strided array": np.repeat(pixels, 2, axis=1)[:, ::2],
    }


def test_every_form_of_a_image_has_its_codes(model, pixels, floats, tmp_path):
    tokenizer = model.tokenizer
    expected = tokenizer.encode(floats[None], is_checked=True)
    assert expected.shape == (1, 4, 6)
    for name, form in forms(pixels, floats, tmp_path).items():
        assert tokenizer.encode(form).equal(expected), name
        assert tokenizer.reconstruct(form).equal(tokenizer.decode(expected)), name
        assert tokenizer.latents(tokenizer.images(form)).shape == (1, 4, 4, 6), name
        drawn = model.complete(form, keep=1.0, label=0).codes
        assert drawn.equal(expected), name


def test_several_images_in_one_list(model, pixels, floats, tmp_path):
    found = list(forms(pixels, floats, tmp_path).values())
    codes = model.tokenizer.encode(found)
    one = model.tokenizer.encode(floats)
    assert codes.shape == (len(found), 4, 6)
    assert (codes == one).all()
    assert model.tokenizer.encode(np.stack([pixels, pixels])).equal(one.expand(2, -1, -1))
    with pytest.raises(UserError, match="images of one size, got 8 x 12 and 8 x 8; crop or resize"):
        model.tokenizer.encode([pixels, pixels[:, :8]])


def test_nats_of_every_form(model, pixels, tmp_path):
    crop = np.ascontiguousarray(pixels[:, 2:10])
    floats = imaging.to_float(torch.from_numpy(crop).permute(2, 0, 1))
    codes = model.tokenizer.encode(floats)
    expected = model.nats_per_token(codes, label=1)
    Image.fromarray(crop).save(tmp_path / "b.png")
    given = [floats, floats[None], crop, Image.fromarray(crop), tmp_path / "b.png", [crop]]
    given += [codes[0], codes.int(), codes.numpy(), codes.numpy().astype(np.uint16)]
    for form in given:
        assert model.nats_per_token(form, label=1) == pytest.approx(expected, abs=1e-6)


def test_codes_of_every_form(model):
    codes = torch.arange(12).view(1, 3, 4)
    expected = model.tokenizer.decode(codes)
    whole = codes.numpy()
    for form in (
        codes[0],
        codes.int(),
        codes.byte(),
        whole,
        whole.astype(np.uint16),
        whole.astype(">i4"),
        np.frombuffer(whole.tobytes(), whole.dtype).reshape(whole.shape),  # not to be written to
        whole.tolist(),
        whole[0],
    ):
        assert model.tokenizer.decode(form).equal(expected)


def test_a_models_range_holds_for_arrays_and_tensors_alike(pixels):
    network = NetworkSettings(**NETWORK, multipliers=(1, 1))
    read = TokenizerSettings(network=network, pixels=PixelReading(range=(50, 150)))
    tokenizer, tensor = Tokenizer(read).eval(), torch.from_numpy(pixels).permute(2, 0, 1)
    expected = ((tensor.float() - 50) / 100).clamp(0, 1)[None] * 2 - 1
    for form in (pixels, Image.fromarray(pixels), tensor, tensor[None]):
        torch.testing.assert_close(tokenizer.images(form), expected, atol=1e-6, rtol=0)


def test_gray_and_class_numbers():
    network = NetworkSettings(**NETWORK, multipliers=(1, 1), in_channels=1, out_channels=1)
    depth = Tokenizer(TokenizerSettings(network=network)).eval()
    gray = np.arange(96, dtype=np.uint8).reshape(8, 12)
    expected = depth.encode(imaging.to_float(torch.from_numpy(gray))[None, None])
    for form in (gray, gray[..., None], Image.fromarray(gray), torch.from_numpy(gray), [gray]):
        assert depth.encode(form).equal(expected)
    network = NetworkSettings(**NETWORK, multipliers=(1, 1), in_channels=5, out_channels=5)
    classes = Tokenizer(TokenizerSettings(network=network, content="segmentation")).eval()
    labels = gray % 5
    hot = imaging.one_hot(torch.from_numpy(labels).long()[None], 5)
    expected = classes.encode(hot)
    numbers = [labels.astype(kind) for kind in (np.int64, np.uint32, ">u2")]
    for form in (labels, *numbers, Image.fromarray(labels), torch.from_numpy(labels), hot[0]):
        assert classes.encode(form).equal(expected)
    with pytest.raises(UserError, match="class numbers from 0 to 4, got 0 to 95"):
        classes.encode(gray)


def test_ranges_that_are_refused(pixels):
    eight_bits = torch.from_numpy(pixels).permute(2, 0, 1)
    smooth = imaging.resize(eight_bits[None].float(), (16, 20), "bilinear")
    for name, wrong in {
        "0..1": eight_bits.float() / 255,
        "0..1, resized": smooth / 255,
        "0..1, resized, without black": smooth / 255 * 0.7 + 0.25,
        "0..1, in half": (eight_bits.float() / 255).bfloat16(),
        "0..1, without black": (eight_bits.float() / 255).clamp(min=40 / 255),
        "a mask": (eight_bits > 90).float(),
        "noise": torch.rand(3, 8, 12, generator=torch.Generator().manual_seed(0)),
    }.items():
        with pytest.raises(UserError, match="multiply by 2 and subtract 1"):
            check_range(wrong)
        check_range(wrong * 2 - 1), name
    for wrong in (eight_bits.float(), smooth):
        with pytest.raises(UserError, match=r"divide by 127\.5 and subtract 1"):
            check_range(wrong)
        check_range(wrong / 127.5 - 1)
    for wrong in (eight_bits.float() * 257, eight_bits.float() - 127.5, smooth / 0, smooth * math.nan):
        with pytest.raises(UserError, match=r"images in \[-1, 1\]"):
            check_range(wrong)


def test_ranges_that_may_be_meant(pixels):
    """Bright images, plain ones, and what overshoots."""
    bright = torch.from_numpy(pixels // 2 + 128).permute(2, 0, 1)
    check_range(imaging.to_float(bright))
    assert imaging.to_float(bright).min() >= 0, "nothing is darker than the middle"
    check_range(imaging.to_float(imaging.resize(bright[None], (16, 20))))
    smooth = imaging.resize(imaging.to_float(bright)[None], (16, 20), "bilinear")
    check_range(smooth * 0.55 + 0.45)  # a white background
    check_range(smooth * 0.15 + 0.1)  # an even one
    for plain in (0.0, 1.0, 0.5, -1.0):
        check_range(torch.full((3, 8, 12), plain))
    check_range(torch.empty(0, 3, 8, 8))
    check_range(imaging.to_float(torch.from_numpy(pixels)) * 1.4)


def test_a_bright_crop_in_training_is_never_refused(model):
    """Training's own images say that they are checked: nothing may stop in its middle."""
    ambiguous = torch.rand(1, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    with pytest.raises(UserError, match="multiply by 2"):
        model.tokenizer.encode(ambiguous)
    assert model.tokenizer.encode(ambiguous, is_checked=True).shape == (1, 4, 6)
    assert model.tokenizer.latents(ambiguous).shape == (1, 4, 4, 6)


@pytest.mark.parametrize(
    ("size", "sides"),
    [
        (16, (16, 16)),
        ("8x12", (8, 12)),
        ([8, 12], (8, 12)),
        (np.int64(10), (10, 10)),
        ("12", (12, 12)),
        (torch.Size((8, 12)), (8, 12)),
        (np.array([8, 12]), (8, 12)),
        (torch.tensor([8, 12]), (8, 12)),
    ],
)
def test_sizes(model, size, sides):
    codes = model.sample(size=size, label=0).codes
    assert codes.shape == (1, sides[0] // 2, sides[1] // 2)


@pytest.mark.parametrize(
    ("label", "numbers"),
    [
        (["moon", "brick"], [2, 0]),
        (("moon", 1), [2, 1]),
        (np.array([2, 0, 1]), [2, 0, 1]),
        (np.array(["moon", "grass"]), [2, 1]),
        (torch.tensor([1, 2]), [1, 2]),
        ([np.int64(2), torch.tensor(1)], [2, 1]),
        (range(3), [0, 1, 2]),
        ("grass", [1]),
        (np.int64(2), [2]),
        (torch.tensor(2), [2]),
        (np.array(1), [1]),
        (["moon"], [2]),
    ],
    ids=str,
)
def test_as_many_images_as_labels(model, label, numbers):
    drawn = model.sample(label=label, seed=5)
    expected = model.sample(num=len(numbers), label=numbers, seed=5)
    assert [image.tobytes() for image in drawn] == [image.tobytes() for image in expected]
    told = [json.loads(image.info[imaging.METADATA])["label"] for image in drawn]
    assert all(type(one) in (int, str) for one in told)
    assert [model.condition.classes.number(one) for one in told] == numbers


def test_as_many_images_as_conditions():
    boxes = generator(condition=BoxesSettings(classes=2, max_objects=2))
    thing, other = (0, 0.1, 0.2, 0.5, np.float32(0.75)), (1, 0.0, 0.0, 1.0, 1.0)
    assert len(boxes.sample(boxes=[[thing], [thing, other], []])) == 3
    assert len(boxes.sample(boxes=[thing, other])) == len(boxes.sample(boxes=[])) == 1
    (metadata,) = (json.loads(one.info[imaging.METADATA]) for one in boxes.sample(boxes=[thing]))
    assert metadata["boxes"] == [[0, 0.1, 0.2, 0.5, 0.75]]
    assert len(generator(condition=NoConditionSettings()).sample()) == 1
    where = generator(condition=CoordinatesSettings(tokens=16))
    assert len(where.sample()) == 1
    assert len(where.sample(coordinates=torch.rand(3, 8, 8))) == 3
    assert isinstance(where.condition, Condition)


def test_numbers_of_numpy_are_written_as_numbers(model):
    ask = {"num": np.int64(2), "seed": np.int32(7), "temperature": np.float32(0.5), "top_k": torch.tensor(3)}
    drawn = model.sample(**ask, label=0, guidance_scale=torch.tensor(1.5), micro_batch=np.int16(1))
    plain = model.sample(num=2, seed=7, temperature=0.5, top_k=3, label=0, guidance_scale=1.5, micro_batch=1)
    assert [one.info for one in drawn] == [one.info for one in plain]
    metadata = json.loads(drawn[1].info[imaging.METADATA])
    assert (metadata["seed"], metadata["temperature"], metadata["top_k"]) == (8, 0.5, 3)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("cfg_scale", "guidance_scale="),
        ("guidance", "guidance_scale="),
        ("num_images", "num="),
        ("n", "num="),
        ("batch_size", "micro_batch="),
        ("height", "size=(height, width)"),
        ("width", "size=(height, width)"),
        ("prompt", "label="),
        ("class_label", "label="),
        ("temp", "temperature="),
        ("temprature", "temperature="),
        ("generator", "seed="),
        ("output_type", ".images"),
        ("output", ".tensors"),
        ("samples", "num="),
        ("verbose", "progress="),
    ],
)
def test_names_from_elsewhere_name_ours(model, pixels, name, ours):
    for draw in (model.sample, lambda **options: model.complete(pixels, **options)):
        with pytest.raises(UserError, match=f"options of this method.*, got {name}=") as caught:
            draw(**{"label": 0, name: 1})
        assert ours in caught.value.remedy
    with pytest.raises(UserError, match="takes no condition") as caught:
        generator(condition=NoConditionSettings()).sample(**{name: 1})
    assert (ours in caught.value.remedy) == (ours != "label=")


def test_options_of_the_other_method(model, pixels):
    with pytest.raises(UserError, match="complete takes it"):
        model.sample(label=0, keep=0.5)
    with pytest.raises(UserError, match="the size is that of the image"):
        model.complete(pixels, label=0, size=(8, 8))


def wrong_values(model, pixels, floats, folder: Path) -> dict:
    """Calls that a person would try, none of which can work."""
    tokenizer, sample, complete = model.tokenizer, model.sample, model.complete
    (folder / "text.png").write_text("no image")
    (folder / "photos").mkdir()
    (folder / "photos" / "mine.txt").write_text("mine")
    bad = [None, 5, 2.5, "nowhere.png", b"bytes", {}, [], [[1, 2]], object(), np.zeros(3), np.array("x")]
    bad += [
        pixels.astype(np.int64),
        np.zeros((8, 12, 7), np.uint8),
        pixels[None, None],
    ]
    bad += [
        torch.zeros(8),
        torch.zeros(3, 9, 12),
        torch.zeros(2, 8, 12),
        torch.zeros(1, 3, 8, 12).long(),
        str(folder),
    ]
    bad += [torch.zeros(3, 8, 12, dtype=torch.complex64), torch.zeros(3, 8, 12).bool(), folder / "text.png"]
    bad += [
        floats / 2 + 0.5,
        floats * 127.5 + 127.5,
        floats * math.nan,
        [pixels, None],
        [floats, pixels[:4]],
        iter([]),
    ]
    bad += [
        np.zeros((8, 12, 3), object),
        np.zeros((8, 12, 3), np.uint32),
        np.zeros((0, 0, 3), np.uint8),
        set(),
    ]
    calls = {f"encode {number}": lambda one=one: tokenizer.encode(one) for number, one in enumerate(bad)}
    calls |= {
        f"reconstruct {number}": lambda one=one: tokenizer.reconstruct(one) for number, one in enumerate(bad)
    }
    calls |= {
        f"nats {number}": lambda one=one: model.nats_per_token(one, label=0) for number, one in enumerate(bad)
    }
    calls |= {f"complete {number}": lambda one=one: complete(one, label=0) for number, one in enumerate(bad)}
    calls |= {f"call {number}": lambda one=one: tokenizer(one) for number, one in enumerate(bad)}
    calls |= {
        f"iter of {number}": lambda one=one: model.iter_samples(image=one, label=0)
        for number, one in enumerate(bad)
        if one is not None  # new images
    }
    for number, one in enumerate(
        [None, 5, "x", pixels, Image.fromarray(pixels), [floats], torch.zeros(3, 9, 8)]
    ):
        calls[f"latents {number}"] = lambda one=one: tokenizer.latents(one)
    for number, one in enumerate(
        [
            None,
            "codes",
            2.5,
            torch.zeros(1, 4, 4),
            torch.full((1, 2, 2), 99),
            [[1], [1, 2]],
            torch.zeros(4).long(),
            [["a"]],
            np.zeros((2, 2)),
            -np.ones((2, 2), int),
            torch.zeros(1, 0, 4).long(),
            {},
            [],
        ]
    ):
        calls[f"decode {number}"] = lambda one=one: tokenizer.decode(one)
        calls[f"logits {number}"] = lambda one=one: model.logits(one, label=0)
    for tile in ("32", 2, 8.5, 0):
        calls[f"tile {tile}"] = lambda tile=tile: tokenizer.encode(floats, tile=tile)
    options = {
        "num": (0, -1, 1.5, "4", [], float("nan")),
        "seed": (None, "1", 1.5, 2**70, [1, 2]),
        "temperature": (0, "hot", None, [1.0], 1j, torch.ones(2)),
        "top_k": (0, "5", 2.5),
        "top_p": (0, 2, "most"),
        "min_p": (-1, "0.1"),
        "guidance_scale": ("strong", None, math.inf),
        "stride": (0, 1.5, None, "2"),
        "micro_batch": (0, "all", 1.5),
        "speculative": (0, None, "yes"),
        "output": (None, "png", 3, ["pil"], np.zeros(2)),
        "label": (
            None,
            3,
            -1,
            1.0,
            "sand",
            b"moon",
            {},
            {"moon"},
            [],
            [None],
            ["moon", "sand"],
            [[0]],
            object(),
        ),
        "map": ("map.png",),
        "labels": (1,),
        "guidance": (2.0,),
        "mask_image": ("mask.png",),
        "init_image": ("a.png",),
        "num_inference_steps": (50,),
        "no_such": (1,),
    }
    for name, values in options.items():
        for number, value in enumerate(values):
            given = {"label": 0, name: value}
            calls[f"sample {name} {number}"] = lambda given=given: sample(**given)
            calls[f"complete {name} {number}"] = lambda given=given: complete(pixels, **given)
            calls[f"iter {name} {number}"] = lambda given=given: model.iter_samples(**given)
            calls[f"batches {name} {number}"] = lambda given=given: model.iter_batches(image=pixels, **given)
    for number, size in enumerate(
        [0, -8, 9, 2.5, "8x", "8x8x8", "big", (8,), (8, 8, 8), (8, None), (0, 8), [], {}, 6]
    ):
        calls[f"size {number}"] = lambda size=size: sample(label=0, size=size)
    for number, keep in enumerate(["half", "top:2", "middle", "centre:x", 2, -0.5, math.nan, [0.5]]):
        calls[f"keep {number}"] = lambda keep=keep: complete(pixels, keep=keep, label=0)
    for number, path in enumerate(
        [None, 5, "", "nowhere", [], b"run", folder / "photos", folder / "text.png", model]
    ):
        calls[f"load {number}"] = lambda path=path: smalti.load(path)
    smalti.save(model, folder / "model")
    for number, device in enumerate(["gpu", 3.5, None, "cuda:99", [], "tpu"]):
        if device is not None:  # torch's default
            calls[f"device {number}"] = lambda device=device: smalti.load(folder / "model", device)
    for number, dtype in enumerate(["half", 16, torch.int8, [], "float16", {}]):
        calls[f"dtype {number}"] = lambda dtype=dtype: smalti.load(folder / "model", dtype=dtype)
    for number, one in enumerate([None, "model", {}, model.state_dict(), model.prior, [model]]):
        calls[f"save {number}"] = lambda one=one: smalti.save(one, folder / "new")
    for number, path in enumerate([None, 5, "", folder / "photos", folder / "text.png", []]):
        calls[f"save to {number}"] = lambda path=path: smalti.save(model, path)
    for number, told in enumerate([5, [1], {"model": model}, {"at": {1, 2}}, {(1, 2): 3}]):
        calls[f"provenance {number}"] = lambda told=told: smalti.save(model, folder / "new", told)
    for number, one in enumerate(
        [
            None,
            5,
            "a.png",
            b"x",
            {},
            [None],
            floats[:2],
            floats[0],
            [1],
            floats / 2 + 0.5,
            floats * 127.5 + 127.5,
            torch.zeros(1, 4, 4).long(),
            pixels / 255,
            Image.new("F", (4, 3)),
            np.zeros((0, 4, 3), np.uint8),
            floats[:, :0],
            object(),
        ]
    ):
        calls[f"save_all {number}"] = lambda one=one: smalti.save_all(one, folder / "out")
    for number, path in enumerate([None, 5, "", []]):
        calls[f"save_all to {number}"] = lambda path=path: smalti.save_all([Image.fromarray(pixels)], path)
    for number, first in enumerate(["1", None, 1.5, -1]):
        calls[f"first {number}"] = lambda first=first: smalti.save_all(floats, folder / "out", first)
    return calls


def test_wrong_values_are_answered_in_one_line(model, pixels, floats, tmp_path):
    calls = wrong_values(model, pixels, floats, tmp_path)
    assert len(calls) > 300
    answers = {}
    for name, call in calls.items():
        try:
            answers[name] = repr(call())[:80]
        except UserError as told:
            lines = str(told).splitlines()
            fine = len(lines) == 1 and all((told.expected, told.got, told.remedy)) and len(lines[0]) < 400
            answers[name] = "" if fine else f"unclear: {told}"
        except Exception as other:  # noqa: BLE001
            answers[name] = f"{type(other).__name__}: {other}"
    wrong = {name: answer for name, answer in answers.items() if answer}
    assert not wrong, "\n".join(f"{name}: {answer}" for name, answer in wrong.items())
    assert (tmp_path / "photos" / "mine.txt").read_text() == "mine", "another's folder was replaced"


def test_wrong_values_in_training(tmp_path, photos, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(json.dumps(TOKENIZER_TRAINING))
    wrong = [{"recipe": one} for one in (None, 5, "", "no_such", ["a"], {}, "nowhere.yaml")]
    wrong += [{"data": one} for one in (5, "nowhere", [], ["a", "b"], {}, "")] + [
        {"out": one} for one in (5, [], "")
    ]
    settings = {
        "steps": ("many", None, 0, 1.5),
        "batch": (0, "four", [4]),
        "size": ("16x", (16,), 16.5, None, (16, 16, 16)),
    }
    settings |= {
        "optimizer": (1e-4, "adam"),
        "optimizer.lr": ("fast", -1, math.nan),
        "init_from": (5, [], "nowhere"),
    }
    settings |= {
        "losses": (None, 5, []),
        "network": (5, {"kind": "unet"}),
        "quantizer": ("vq", {"kind": 3}),
        "lr": (1,),
    }
    settings |= {
        "batch_size": (4,),
        "device": ("gpu", 3),
        "precision": (16, "half"),
        "data.root": (5, None),
        "kind": (3,),
    }
    settings |= {
        "condition": ("label", 5),
        "crop": (5,),
        "seed": ("x", 2.5),
        "quantizer.codebook_size": ("many",),
    }
    wrong += [{name: value} for name, values in settings.items() for value in values]
    answers = {}
    for change in wrong:
        given = {"recipe": "mine.yaml", "data": photos, "out": tmp_path / "run", **change}
        with pytest.raises(UserError) as caught:
            smalti.train(**given)
        answers[str(change)] = str(caught.value)
        assert not (tmp_path / "run").exists(), change
    assert all(len(answer.splitlines()) == 1 for answer in answers.values()), answers


def test_images_to_save(tmp_path, pixels, floats):
    image = Image.fromarray(pixels)
    several = [image, pixels, floats, torch.from_numpy(pixels).permute(2, 0, 1), pixels[None], (pixels,)]
    paths = smalti.save_all(several, tmp_path)
    assert [path.name for path in paths] == [f"{index:05}.png" for index in range(6)]
    assert all(np.array_equal(np.asarray(Image.open(path)), pixels) for path in paths)
    for number, one in enumerate((image, pixels, floats, floats[None], np.stack([pixels]), iter([image]))):
        (path,) = smalti.save_all(one, str(tmp_path / str(number)), 3)
        assert path == tmp_path / str(number) / "00003.png"
        assert np.array_equal(np.asarray(Image.open(path)), pixels)
    (path,) = smalti.save_all(pixels[..., :1], tmp_path / "gray")
    assert imaging.read_header(path).mode == "L"
    smalti.save_all(floats * 1.5, tmp_path / "beyond")  # what a decoder gives is clipped
    assert smalti.save_all(floats[None][:0], tmp_path / "none") == []


def test_a_tokenizer_without_a_codebook_takes_them_too(pixels, floats):
    network = NetworkSettings(**NETWORK, multipliers=(1, 1))
    tokenizer = Tokenizer(TokenizerSettings(network=network, quantizer=GaussianSettings())).eval()
    torch.testing.assert_close(tokenizer.reconstruct(pixels), tokenizer.reconstruct(floats))
    with pytest.raises(UserError, match="multiply by 2"):
        tokenizer.reconstruct(floats / 2 + 0.5)


@pytest.mark.parametrize(
    ("keep", "rows"), [(0.7, 3), (0.6, 2), (0.9, 4), (0.1, 0), (0.13, 1), (0.25, 1), (1, 4)]
)
def test_keep_is_rounded_to_whole_rows(model, pixels, keep, rows):
    (image,) = model.complete(pixels, keep=keep, label=0, seed=3)
    assert json.loads(image.info[imaging.METADATA])["rows_kept"] == rows
    (codes,) = model.complete(pixels, keep=keep, label=0, seed=3).codes
    (whole,) = model.tokenizer.encode(pixels)
    assert codes[:rows].equal(whole[:rows])
    drawn = model.complete(np.zeros_like(pixels), keep=0.0, label=0, seed=3).codes[0]
    assert rows or codes.equal(drawn), "a row was kept"


def test_metadata_say_how_many_went_together(model):
    (image, _) = model.sample(num=2, label=0, micro_batch=2, speculative=3)
    metadata = json.loads(image.info[imaging.METADATA])
    assert (metadata["micro_batch"], metadata["speculative"], metadata["stride"]) == (2, 3, 1)
    (image,) = model.sample(label=0, size=(8, 12), stride=2)
    assert json.loads(image.info[imaging.METADATA])["stride"] == 2


def test_the_last_seed_there_is(model):
    assert len(model.sample(num=2, label=0, seed=2**63 - 2)) == 2
    with pytest.raises(UserError, match="for seed"):
        model.sample(num=3, label=0, seed=2**63 - 2)
    assert len(model.sample(num=1, label=0, seed=-(2**63))) == 1
