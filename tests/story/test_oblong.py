"""Images of several shapes, trained on together: what is said, kept, drawn, encoded, gone on with."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from tiny import TOKENIZER_TRAINING, TRAINING

import smalti
from smalti import config, imaging, library
from smalti.data.coco_keypoints import CocoKeypoints, CocoKeypointsSettings
from smalti.data.scenes import Scenes, ScenesSettings
from smalti.data.shards import ShardsSettings, TokenShards
from smalti.training import log
from smalti.training.precompute import encode

SIZES = [[16, 16], [12, 20], [20, 12]]
SHAPES = {(40, 40): 9, (24, 40): 7, (40, 24): 6}  # of images, and how many
SMALL = {"crop": {"resize": "short"}, "sample_every": 4, "validate_every": 4, "checkpoint_every": 4}
TOKENIZER = {**TOKENIZER_TRAINING, **SMALL, "size": SIZES}
PRIOR = {
    **TRAINING,
    **SMALL,
    "kind": "prior",
    "size": SIZES,
    "tokenizer": "tok",
    "prior": {"kind": "modern", "layers": 1, "heads": 2, "width": 16},
}
SCRIPT = """
import json, sys, torch, smalti
torch.set_num_threads(1)
smalti.train(sys.argv[1], data=sys.argv[2], out=sys.argv[3], **json.loads(sys.argv[4]))
"""
STILL = {"crop.position": "center", "crop.flip": 0.0}


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Images of three shapes, a tokenizer and a prior that were trained on them for some steps."""
    folder = tmp_path_factory.mktemp("oblong")
    (folder / "images").mkdir()
    noise = np.random.default_rng(0)
    for number, (height, width) in enumerate(shape for shape, count in SHAPES.items() for _ in range(count)):
        pixels = noise.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number:02}.png")
    for name, recipe in (("tokenizer", TOKENIZER), ("prior", PRIOR)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    smalti.train(folder / "tokenizer.yaml", folder / "images", folder / "tok")
    train(folder, "prior")
    return folder


def train(home: Path, out: str, data: str = "images", recipe: str = "prior", **more) -> Path:
    more = {"tokenizer": home / "tok", **more} if recipe == "prior" else more
    more = {key: str(value) if isinstance(value, Path) else value for key, value in more.items()}
    return smalti.train(home / f"{recipe}.yaml", home / data, home / out, **more)


def tensors(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / "step-00000008" / "tensors.safetensors")


def figures(run: Path) -> list[dict]:
    kept = ("step", "loss/prior", "loss/autoencoder", "nats_per_token", "psnr")
    lines = [line for line in log.read(run / "log.jsonl") if line["kind"] in ("train", "validation")]
    return [{key: line[key] for key in kept if key in line} for line in lines]


def test_what_is_said_and_kept(home, smalti_command):
    words = ("train", home / "tokenizer.yaml", "--data", home / "images", "--out", home / "said")
    status, _, told = smalti_command(*words, "size=16x16,12x20,20x12,4x32", "steps=2")
    assert status == 0, told
    assert "crops: 7 images of 16 x 16, 7 images of 12 x 20, 5 images of 20 x 12" in told
    assert "0 images of 4 x 32; no image is near 4 x 32" in told
    assert "batch=4 is more than" not in told
    settings = yaml.safe_load((home / "said" / "settings.yaml").read_text())
    assert settings["size"] == [*SIZES, [4, 32]]
    assert library.trained_sizes(home / "said")[1:3] == ((12, 20), (20, 12))
    status, _, told = smalti_command(*words[:-1], home / "new", "size=16x16,12x21")
    assert (status, "size as a multiple of 2 (network.multipliers)" in told) == (2, True)
    assert "got 16 x 16 and 12 x 21; size=16,12x20" in told
    status, out, _ = smalti_command("info", home / "prior")
    assert (status, "crops 16 x 16, 12 x 20 and 20 x 12 pixels" in out) == (0, True)


@pytest.mark.parametrize(("run", "rows"), [("tok", (32, 24, 40)), ("prior", (16, 12, 20))])
def test_a_sheet_shows_each_size(home, run, rows):
    """One below the other, in the recipe's order: of those held out, 2, 0 and 1, or else trained on, 4."""
    sheet = imaging.open_rgb(home / run / "samples" / "step-00000008.png")
    assert sheet.shape[1:] == (sum(rows), 4 * 20)
    begins = (0, rows[0], rows[0] + rows[1])
    for begin, height, width in zip(begins, rows, (2 * 16, 4 * 20, 12), strict=True):
        part = sheet[:, begin : begin + height]
        assert (part[:, :, width:] == 255).all()
        assert not (part[:, :, width - 1] == 255).all()


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["tokenizer", "prior"])
def test_two_processes_train_what_one_does(home, recipe):
    """Each batch is of one size in both."""
    whole, two = home / {"tokenizer": "tok", "prior": "prior"}[recipe], home / f"two-{recipe}"
    changes = {} if recipe == "tokenizer" else {"tokenizer": str(home / "tok")}
    (home / "script.py").write_text(SCRIPT)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    words = [home / "script.py", home / f"{recipe}.yaml", home / "images", two, json.dumps(changes)]
    done = subprocess.run([*launch, *map(str, words)], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    for one, other in zip(figures(whole), figures(two), strict=True):
        assert other == pytest.approx(one, rel=1e-4)


@pytest.mark.parametrize("recipe", ["tokenizer", "prior"])
def test_a_run_goes_on_to_the_bit(home, recipe):
    begun = train(home, f"begun-{recipe}", recipe=recipe, steps=4)
    smalti.train(home / f"{recipe}.yaml", out=begun, resume=True, steps=8)
    whole = home / {"tokenizer": "tok", "prior": "prior"}[recipe]
    one, other = tensors(whole), tensors(begun)
    assert one.keys() == other.keys()
    assert all(one[name].equal(other[name]) for name in one)
    assert figures(whole) == figures(begun)
    for step in (4, 8):
        sheets = [run / "samples" / f"step-{step:08}.png" for run in (whole, begun)]
        assert sheets[0].read_bytes() == sheets[1].read_bytes()
    with pytest.raises(smalti.UserError, match=r"size=16,12x20,20x12, with which .*, got size=16,12x20;"):
        smalti.train(home / f"{recipe}.yaml", out=begun, resume=True, size=[[16, 16], [12, 20]])


def test_shards_train_as_their_images_do(home):
    images = train(home, "by-images", **STILL)
    recipe, settings = home / "prior.yaml", {**STILL, "tokenizer": str(home / "tok")}
    tokens = encode(
        smalti.load(home / "tok"), home / "images", home / "tokens", recipe=recipe, settings=settings
    )
    reader = TokenShards(ShardsSettings(root=tokens), "train")
    assert set(reader.summary().grids) == {(8, 8), (6, 10), (10, 6)}
    assert list(reader.sides()) == [(16, 16)] * 7 + [(12, 20)] * 7 + [(20, 12)] * 5
    shards = train(home, "by-shards", data="tokens", **STILL)
    assert figures(images) == figures(shards)
    assert library.fingerprint(smalti.load(images)) == library.fingerprint(smalti.load(shards))
    sheets = [run / "samples" / "step-00000008.png" for run in (images, shards)]
    assert sheets[0].read_bytes() == sheets[1].read_bytes()
    with pytest.raises(
        smalti.UserError, match="size as the shards have it, 16 x 16, 12 x 20 and 20 x 12, got 16 x 16"
    ):
        train(home, "refused", data="tokens", size=16)


def test_encoding_goes_on_in_any_bucket(home, monkeypatch):
    """Without a recipe the sizes are the tokenizer's, here by the command's word."""
    tokenizer, how = smalti.load(home / "tok"), {"size": "16,12x20,20x12", "crops": 2, "batch": 3}
    whole = encode(tokenizer, home / "images", home / "whole", **how)
    real, calls = smalti.Tokenizer.encode, []

    def encode_some(*args, **more):
        calls.append(1)
        if len(calls) == 7:
            raise ArithmeticError
        return real(*args, **more)

    with monkeypatch.context() as patched:
        patched.setattr(smalti.Tokenizer, "encode", encode_some)
        with pytest.raises(ArithmeticError):
            encode(tokenizer, home / "images", home / "parts", **how)
    encode(tokenizer, home / "images", home / "parts", **how, resume=True)
    for split in ("train", "val"):
        files = [sorted(folder.glob(f"{split}-*.safetensors")) for folder in (whole, home / "parts")]
        one, other = ([load_file(path)["codes"] for path in found] for found in files)
        assert [codes.shape for codes in one] == [codes.shape for codes in other]
        assert all(a.equal(b) for a, b in zip(one, other, strict=True))


def test_a_prior_goes_on_from_one_of_several_sizes(home):
    more = train(home, "more", init_from=home / "prior", steps=2)
    assert smalti.load(more).crop_sizes == ((16, 16), (12, 20), (20, 12))


def test_drawn_and_evaluated(home, smalti_command):
    status, out, told = smalti_command(
        "sample", home / "prior", home / "drawn", "--size", "12x20", "--num", "2"
    )
    assert status == 0, told
    assert [imaging.open_rgb(path).shape for path in out.split()] == [(3, 12, 20)] * 2
    words = ("evaluate", home / "prior", home / "images", "--metrics", "nats", "--num", "4")
    status, out, told = smalti_command(*words)
    assert status == 0, told
    assert "at 16 x 16 pixels, of those that the model was trained on: 16 x 16, 12 x 20 and 20 x 12" in out
    status, out, told = smalti_command(*words, "--size", "20x12")
    assert (status, "of those that" in out) == (0, False), told


def test_maps_of_every_cell(home):
    """Coordinates, of which each size has as many tokens as cells."""
    for kind in ("modern", "neighbourhood"):
        prior = {"kind": kind, "layers": 1, "heads": 2, "width": 16}
        run = train(home, f"told-{kind}", prior=prior, condition={"kind": "coordinates"}, steps=4)
        assert smalti.load(run).sample(size=(12, 20)).codes.shape == (1, 6, 10)


def test_scenes_are_made_in_several_sizes():
    how = ScenesSettings(size=((32, 32), (32, 48), (48, 32)), count=40)
    made = Scenes(how, "train")
    sides = list(made.sides())
    assert {sides.count(size) for size in how.sizes} <= set(range(8, 20))
    assert all(made[number].image.shape[1:] == sides[number] for number in range(3))
    assert list(made.summary().sides) == list(how.sizes)
    assert (
        made.summary().fingerprint()
        != Scenes(ScenesSettings(size=32, count=40), "train").summary().fingerprint()
    )
    assert config.parse(config.dump(how), ScenesSettings) == how


@pytest.mark.parametrize("orientation", [1, 6])
def test_figures_by_the_shape_of_what_is_shown_around_them(coco_keypoints, orientation):
    path = coco_keypoints / "train2017" / f"{0:012}.jpg"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.open(path).save(path, exif=exif)
    how = CocoKeypointsSettings(root=coco_keypoints, min_joints=1, min_height=8)
    reader = CocoKeypoints(how, "train")
    assert list(reader.sides()) == [tuple(reader[index].image.shape[1:]) for index in range(len(reader))]
