"""A person with files of more than 8 bits, or of other bands than three: from `smalti train` to the pixel."""

import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
import yaml
from PIL import Image
from tiny import TOKENIZER_TRAINING

from smalti import imaging, library
from smalti.data.shards import ShardsSettings, TokenShards
from smalti.reading import values
from smalti.reading.pixels import PixelReading, open_pixels
from smalti.tokenizer import Tokenizer
from smalti.training.tokenizer_task import TokenizerTask

SIDES = (16, 24)
COUNT = 4
ONE = ("network.in_channels=1", "network.out_channels=1")
FIVE = ("network.in_channels=5", "network.out_channels=5")
PRIOR = {
    "kind": "prior",
    "data": {"kind": "folder", "val_share": 0.2},
    "size": list(SIDES),
    "crop": {"resize": "none"},
    "batch": 2,
    "steps": 1,
    "prior": {"kind": "gpt", "layers": 1, "heads": 2, "width": 16},
    "condition": {"kind": "none"},
}


def arrays(kind):
    dice = np.random.default_rng(0)
    many = {"rgb12": 3, "five": 5}.get(kind, 1)
    low, top, dtype = {
        "ct": (-996, 1999, np.int16),
        "float": (0, 2**20, np.float32),
        "gray8": (0, 255, np.uint8),
    }.get(kind, (0, 4095, np.uint16))
    for _ in range(COUNT):
        found = dice.integers(low, top, (*SIDES, many), endpoint=True).astype(dtype)
        found.flat[0], found.flat[1] = low, top
        found = found / np.float32(2**20) if kind == "float" else found
        yield found[..., 0] if many == 1 else found


@pytest.fixture
def folder(home):
    """A folder of four oblong TIFFs of a kind, and two tiny recipes."""
    crop = {"resize": "none", "flip": 0.0}
    recipe = {**TOKENIZER_TRAINING, "size": list(SIDES), "batch": 2, "steps": 1, "crop": crop}
    (home / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    (home / "prior.yaml").write_text(yaml.safe_dump(PRIOR))

    def make(kind):
        Path("in").mkdir(exist_ok=True)
        photometric = "rgb" if kind == "rgb12" else "minisblack"
        plan = {"planarconfig": "contig"} if kind in ("rgb12", "five") else {}
        for number, array in enumerate(arrays(kind)):
            tifffile.imwrite(f"in/{number}.tif", array, photometric=photometric, **plan)
        return Path("in")

    return make


@pytest.fixture
def seen(monkeypatch):
    """The images that training steps get."""
    batches, losses = [], TokenizerTask.losses

    def watched(task, batch, *more, **others):
        batches.append(batch.images)
        return losses(task, batch, *more, **others)

    monkeypatch.setattr(TokenizerTask, "losses", watched)
    return batches


@pytest.fixture
def perfect(monkeypatch):
    """A tokenizer that loses nothing: what is written is then what was read."""
    monkeypatch.setattr(Tokenizer, "reconstruct", lambda tokenizer, images, is_checked=False: images)


@pytest.mark.parametrize(
    ("kind", "settings", "suffix"),
    [
        ("gray12", ("data.range=[0, 4095]", *ONE), "png"),
        ("ct", ("data.range=[-1000, 2000]", *ONE), "tif"),
        ("float", ("data.range=[0.0, 1.0]", *ONE), "tif"),
        ("rgb12", ("data.range=[0, 4095]",), "png"),
        ("five", ("data.range=[0, 4095]", *FIVE), "tif"),
        ("gray8", ONE, "png"),
    ],
)
def test_the_range_of_training_is_that_of_use(smalti_command, folder, seen, perfect, kind, settings, suffix):
    data = folder(kind)
    status, _, told = smalti_command("train", "tiny.yaml", "--data", data, "--out", "run", *settings)
    assert status == 0, told
    written = [np.atleast_3d(array).astype(np.float64) for array in arrays(kind)]
    black, white = {"ct": (-1000, 2000), "float": (0, 1), "gray8": (0, 255)}.get(kind, (0, 4095))
    shares = torch.stack([torch.from_numpy((array - black) / (white - black)) for array in written])
    for image in torch.cat(seen).movedim(1, -1):
        apart = (shares - (image.double() + 1) / 2).abs().amax((1, 2, 3))
        assert apart.min() < 1e-6, "training saw none of the files, value by value"
    sheet = imaging.read_header(sorted(Path("run/samples").glob("*.png"))[-1])
    assert sheet.mode == ("L" if "network.in_channels=1" in settings else "RGB")
    assert smalti_command("reconstruct", "run", data, "out")[0] == 0
    for number, array in enumerate(arrays(kind)):
        path = Path(f"out/{number:05}-{number}.{suffix}")
        bands = range(array.shape[2] if array.ndim == 3 else 1)
        again = values.read(path, list(bands)).samples.transpose(1, 2, 0)
        assert np.abs(again - np.atleast_3d(array)).max() <= (1e-6 if kind == "float" else 0)
        assert imaging.read_metadata(path)["source"] == f"{number}.tif"


def test_percentiles_become_numbers_that_a_resumed_run_keeps(smalti_command, folder):
    data, settings = folder("gray12"), "data.range={percentiles: [0, 100]}"
    assert smalti_command("train", "tiny.yaml", settings, "--data", data, "--out", "run")[0] == 0
    assert yaml.safe_load(Path("run/settings.yaml").read_text())["data"]["range"] == [0.0, 4095.0]
    assert library.load("run").settings.pixels == PixelReading(range=(0.0, 4095.0))
    for path in data.glob("*.tif"):  # numbers by now: other files do not move them
        tifffile.imwrite(path, np.full(SIDES, 9, np.uint16))
    status, _, told = smalti_command("train", "tiny.yaml", "--resume", "--out", "run", "steps=2")
    assert status == 0, told
    assert library.load("run").settings.pixels == PixelReading(range=(0.0, 4095.0))


@pytest.mark.parametrize("kind", ["gray12", "ct", "float", "rgb12", "five"])
def test_the_remedy_that_the_report_names_works_when_typed(smalti_command, folder, kind):
    data = folder(kind)
    told, given = "", []
    for turn in range(3):
        command = ("train", "tiny.yaml", "--data", data, "--out", f"run{turn}", *given)
        status, _, told = smalti_command(*command)
        wanted = re.findall(r"(data\.\w+)='([^']*)'", told)
        if not wanted:
            break
        given += [f"{key}={value}" for key, value in dict(wanted[::-1]).items()]
    assert status == 0
    assert "warning" not in told
    assert turn == (2 if kind == "five" else 1)
    assert "with data.range in" in told
    assert "unreadable" not in told
    assert " 0.0% outside" in told


def test_a_prior_and_token_shards_read_as_the_tokenizer(smalti_command, folder):
    data = folder("five")
    given = ("tiny.yaml", "data.range=[0, 4095]", *FIVE, "--data", data, "--out", "run")
    assert smalti_command("train", *given)[0] == 0
    status, _, told = smalti_command("train", "prior.yaml", "--data", data, "--out", "prior", "tokenizer=run")
    assert status == 0, told
    kept = yaml.safe_load(Path("prior/settings.yaml").read_text())["data"]
    assert (kept["range"], kept["bands"]) == ([0.0, 4095.0], [0, 1, 2, 3, 4])
    status, _, told = smalti_command(
        "train", "prior.yaml", "--data", data, "--out", "other", "tokenizer=run", "data.range=[0, 99]"
    )
    assert status == 2
    assert "expected data.range as the tokenizer has it, (0.0, 4095.0), got (0.0, 99.0)" in told
    assert not Path("other").exists()
    assert smalti_command("encode", "run", data, "tokens", "--size", "16x24", "--scale", 1, 1)[0] == 0
    rows = TokenShards(ShardsSettings(root=Path("tokens")), "val")
    tokenizer, how = library.load("run"), PixelReading(range=(0, 4095), bands=(0, 1, 2, 3, 4))
    codes = {
        tuple(tokenizer.encode(imaging.to_float(open_pixels(path, how))[None]).flatten().tolist())
        for path in data.glob("*.tif")
    }
    assert len(rows) == 1
    assert tuple(rows[0].codes.flatten().tolist()) in codes
    for command in (("sample", "prior"), ("complete", "prior", "in/0.tif")):
        status, out, told = smalti_command(*command, f"{command[0]}d")
        assert status == 0, told
        drawn = tifffile.imread(out.strip())
        assert (drawn.shape, drawn.dtype) == ((*SIDES, 5), np.uint16)
        assert imaging.read_metadata(out.strip())["range"] == [0.0, 4095.0]
    told = imaging.to_float(open_pixels("in/0.tif", how))[None]
    kept = tokenizer.reconstruct(told)
    assert library.load("prior").complete("in/0.tif", keep=1.0).tensors.equal(kept)
    assert smalti_command("complete", "prior", "in/0.tif", "kept", "--keep", 1)[0] == 0
    expected = ((kept[0].double().clamp(-1, 1) + 1) / 2 * 4095).round().permute(1, 2, 0).numpy()
    assert (tifffile.imread("kept/00000.tif") == expected).all()


def test_what_cannot_be_looked_at_by_a_perceptual_loss_is_refused(smalti_command, folder):
    given = ("tiny.yaml", *FIVE, "losses.perceptual.weight=1.0", "losses.perceptual.kind=lpips")
    status, _, told = smalti_command("train", *given, "--data", folder("five"), "--out", "run")
    assert status == 2
    assert "got 5 channels; losses.perceptual.weight=0.0" in told


def test_images_above_the_limit_train_where_a_setting_allows_them(smalti_command, home, folder, monkeypatch):
    folder("gray8")
    for path in Path("in").glob("*.tif"):
        with Image.open(path) as image:
            image.resize((48, 32)).save(path.with_suffix(".png"))
        path.unlink()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    monkeypatch.setattr("smalti.opening.LIMIT", 600)
    given = ("train", "tiny.yaml", "--data", "in", "--out", "run")
    status, _, told = smalti_command(*given)
    assert status == 2
    (remedy,) = {*re.findall(r"data\.max_pixels=\d+", told)}
    assert "(1536 pixels, above the limit of 600)" in told
    status, _, told = smalti_command(*given, remedy)
    assert status == 0, told
