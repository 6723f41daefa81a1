"""The way that README tells, from a folder of images to new ones: its own lines, run one after the other.

Then its Python, with the models that came of them.
"""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

README = Path(__file__).parents[2] / "README.md"
# what makes the training of hours one of a second, and an evaluation of 100 images one of six
LESS = {
    "tokenizer_300": "steps=2 batch=2 size=32 network.width=8 network.groups=4 network.latent_channels=8"
    " quantizer.codebook_size=16 quantize_start=1 losses.perceptual.weight=0 workers=0",
    "prior_300": "steps=2 batch=2 prior.layers=1 prior.heads=2 prior.width=16 workers=0",
    "evaluate": "--num 6 --split all --metrics fd --spaces lite0",
}


def block(kind: str) -> str:
    """The first block of a kind that README gives to train on a folder of one's own images."""
    text = README.read_text(encoding="utf-8").split("## Train on a folder of your own images")[1]
    return re.search(rf"```{kind}\n(.*?)```", text, re.DOTALL)[1]


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


@pytest.fixture
def images(home):
    """Two classes of six images."""
    chance = np.random.default_rng(0)
    for number in range(12):
        place = home / "IMAGES" / ("brick", "moon")[number % 2] / f"{number}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(chance.integers(0, 256, (140, 150, 3), np.uint8)).save(place)
    Image.new("RGB", (128, 128), "teal").save(home / "one.jpg")
    return home


def test_from_a_folder_of_images_to_new_ones(images, smalti_command):
    found = [line for line in block("bash").splitlines() if line.startswith("smalti ")]
    assert len(found) == 8
    for line in found:
        words = shlex.split(line.replace("IMAGES/one.jpg", "one.jpg").replace("CLASS", "moon"), comments=True)
        less = next((more for name, more in LESS.items() if name in words), "")
        status, out, err = smalti_command(*words[1:], *less.split())
        assert status == 0, (line, out, err)
    assert set(map(size_of, Path("drawn").glob("*.png"))) == {(512, 128)}
    assert len(list(Path("drawn").glob("*.png"))) == 8
    assert len(list(Path("best").glob("*.png"))) == 8
    assert len(list(Path("completed").glob("*.png"))) == 1
    assert list(map(size_of, Path("rebuilt").glob("*.png"))) == [(128, 128)]
    assert {one.name for one in Path("judged").iterdir()} >= {"metrics.json", "report.html"}
    Image.new("RGB", (128, 128), "teal").save("photo.png")
    names = {"images": ["photo.png", "one.jpg"]}
    exec(block("python"), names)
    assert [image.size for image in names["out"].images] == [(128, 128)] * 4
    assert names["wide"].images[0].size == (1024, 256)
    assert names["done"].images[0].size == (128, 128)
    assert names["again"].shape == (2, 3, 128, 128)
