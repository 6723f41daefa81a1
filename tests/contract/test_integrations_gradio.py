"""The Gradio app for hosted demos, started as its host starts it and asked over HTTP as browsers ask."""

import importlib.util
import io
import json
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from tiny import generator, of_images

import smalti
from smalti.conditions.boxes import BoxesSettings
from smalti.conditions.computed.edges import EdgesSettings

APP = Path(__file__).parents[2] / "integrations" / "gradio" / "app.py"

if importlib.util.find_spec("gradio") is None:
    pytest.skip("gradio is not installed: it wants an older Pillow than ours", allow_module_level=True)


@contextmanager
def served(model: Path):
    """Within, the app serves a model; gives a client of it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {"SMALTI_MODEL": str(model), "GRADIO_SERVER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, str(APP)], env={**os.environ, **own}, stdout=subprocess.DEVNULL
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            for _ in range(600):
                try:
                    client.get("/config").raise_for_status()
                    break
                except httpx.TransportError:
                    assert process.poll() is None
                    time.sleep(0.1)
            yield client
    finally:
        process.terminate()
        process.wait()


def drawn(client, *asked):
    """Ask for images; gives those that were there at each event, and what the last event is called."""
    number = client.post("/gradio_api/call/draw", json={"data": asked}).raise_for_status().json()["event_id"]
    text = client.get(f"/gradio_api/call/draw/{number}").text
    events = [part.splitlines() for part in text.strip().split("\n\n")]
    told = [
        (event.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for event, data in events
    ]
    shown = [data[0] for kind, data in told if kind == "generating"]
    return shown, told[-1]


def opened(client, found):
    return Image.open(io.BytesIO(client.get(found["image"]["url"]).content))


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels") / "model"
    smalti.save(generator(), folder)
    with served(folder) as client:
        yield client, smalti.load(folder)


def test_images_come_one_by_one_and_are_those_of_smalti(labels):
    client, model = labels
    shown, (last, data) = drawn(client, 3, 5, 8, 12, 1.5, "moon")
    assert [len(images) for images in shown] == [1, 2, 3]
    assert last == "complete"
    ours = model.sample(3, (8, 12), 5, label="moon", guidance_scale=1.5, micro_batch=1)
    for found, one in zip(data[0], ours, strict=True):
        image = opened(client, found)
        assert np.array_equal(np.asarray(image), np.asarray(one))
        assert image.info["smalti"] == one.info["smalti"]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ((1, 5, 9, 12, 1, "moon"), "multiples of 2 pixels"),
        ((1000, 5, 8, 12, 1, "moon"), "greater than maximum value 8"),
        ((1, 5, 8, 4096, 1, "moon"), "greater than maximum value 32"),
        ((1, 5, 8, 12, 1, "sun"), "sun"),
    ],
)
def test_a_mistake_is_told(labels, asked, expected):
    client, _ = labels
    shown, (last, data) = drawn(client, *asked)
    assert not shown
    assert last == "error"
    assert expected in json.dumps(data)


def test_nothing_is_told_to_anyone(labels):
    client, _ = labels
    told = client.get("/config").json()
    assert told["analytics_enabled"] is False
    assert [one["api_name"] for one in told["dependencies"] if one["api_visibility"] == "public"] == ["draw"]


def test_an_image_is_what_a_computed_map_is_of(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    smalti.save(of_images(EdgesSettings(sigma=1.0)), tmp_path / "model")
    with served(tmp_path / "model") as client:
        files = {"files": ("photo.png", (tmp_path / "photo.png").read_bytes(), "image/png")}
        (path,) = client.post("/gradio_api/upload", files=files).raise_for_status().json()
        image = {"path": path, "meta": {"_type": "gradio.FileData"}}
        _, (_, data) = drawn(client, 1, 0, 8, 12, 1, image)
        found = opened(client, data[0][0])
    model = smalti.load(tmp_path / "model")
    (ours,) = model.sample(1, (8, 12), from_image=tmp_path / "photo.png", micro_batch=1)
    assert np.array_equal(np.asarray(found), np.asarray(ours))


def test_it_is_for_models_that_its_fields_can_tell(tmp_path):
    boxes = generator(condition=BoxesSettings(classes=2, names=("cat", "dog"), dropout=0.1))
    smalti.save(boxes, tmp_path / "model")
    environment = {**os.environ, "SMALTI_MODEL": str(tmp_path / "model")}
    done = subprocess.run([sys.executable, str(APP)], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("got boxes; give another SMALTI_MODEL")
