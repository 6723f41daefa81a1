"""Pictures that tests train on, and one thread, so that numbers do not move."""

from pathlib import Path

import pytest
import torch
from PIL import Image


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with two classes of eight small pictures each: stripes that lie and stripes that stand."""
    generator = torch.Generator().manual_seed(0)
    folder = tmp_path / "photos"
    for name in ("lying", "standing"):
        (folder / name).mkdir(parents=True)
        for number in range(8):
            stripes = (torch.arange(40) + number) // 4 % 2 * 180
            picture = stripes.expand(40, 40) if name == "standing" else stripes.expand(40, 40).T
            noise = torch.randint(0, 60, (40, 40, 3), generator=generator)
            pixels = (picture[:, :, None] + noise).clamp(max=255).to(torch.uint8)
            Image.fromarray(pixels.numpy()).save(folder / name / f"{number}.png")
    return folder
