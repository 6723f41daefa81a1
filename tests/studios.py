"""A studio with the smallest models, asked without a port."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from starlette.testclient import TestClient
from tiny import generator

from smalti import library
from smalti.conditions.none import NoConditionSettings
from smalti.studio.app import Studio
from smalti.studio.limits import Limits
from smalti.studio.models import Models, named
from smalti.studio.runs import Runs
from smalti.studio.safety import Door
from smalti.studio.turns import Turns

PORT = 7860
HERE = f"http://127.0.0.1:{PORT}"


def opened(folder: Path, *, runs: Path | None = None, **limits: Any) -> Studio:
    """A studio of factor 2 and 12 codes: `labelled` draws 8 x 12 pixels of a class, `masked` of nothing."""
    labelled = generator("gpt", grid=(4, 6))
    library.save(labelled, folder / "labelled")
    library.save(labelled.tokenizer, folder / "tokenizer")
    library.save(generator("masked", NoConditionSettings(), grid=(4, 6)), folder / "masked")
    models = Models(named([folder / name for name in ("labelled", "masked", "tokenizer")]))
    models.load()
    return Studio(models, Runs(runs), Limits(**limits), Turns())


def client_of(studio: Studio, token: str | None = None, host: str = "127.0.0.1", **more: Any) -> TestClient:
    """A browser or a program on this machine."""
    app = studio.app(Door(host, PORT, token, studio.limits.upload_bytes))
    return TestClient(app, base_url=HERE, raise_server_exceptions=False, **more)


def url(image: Image.Image | bytes, kind: str = "png") -> str:
    """An image as a data URL; bytes as they are."""
    if isinstance(image, bytes):
        data = image
    else:
        file = io.BytesIO()
        image.save(file, kind)
        data = file.getvalue()
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def picture(height: int = 8, width: int = 12, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """An image of noise, oblong."""
    bands = {"RGB": (3,), "L": (), "RGBA": (4,)}[mode]
    values = np.random.default_rng(seed).integers(0, 256, (height, width, *bands), np.uint8)
    if mode == "RGBA":
        values[..., 3] = 255
    return Image.fromarray(values)


def image_of(text: str | bytes) -> Image.Image:
    """The image of a data URL, or of a file's bytes."""
    data = text if isinstance(text, bytes) else base64.b64decode(text.partition(",")[2])
    return Image.open(io.BytesIO(data))


def events_of(
    client: TestClient, job: str, after: int | None = None
) -> list[tuple[int, str, dict[str, Any]]]:
    """All events of a job, to its end: number, name, data."""
    headers = {} if after is None else {"last-event-id": str(after)}
    answer = client.get(f"/api/jobs/{job}/events", headers=headers)
    found, lines = [], {}
    for line in answer.text.splitlines():
        name, _, value = line.partition(": ")
        if line:
            lines[name] = value
        elif "event" in lines:
            found.append((int(lines["id"]), lines["event"], json.loads(lines["data"])))
            lines = {}
    return found


def drawn(
    client: TestClient, path: str = "/api/sample", **wish: Any
) -> tuple[str, list[tuple[int, str, dict]]]:
    """A job that was asked for, and its events to the end."""
    answer = client.post(path, json=wish)
    assert answer.status_code == 202, answer.text
    job = answer.json()["job"]
    return job, events_of(client, job)
