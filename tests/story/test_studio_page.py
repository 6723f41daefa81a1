"""The studio's page, used in a browser as a person would: every tab, by mouse, by keyboard, on a phone."""

import base64
import io
import json
import re
import shutil
import socket
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from PIL import Image
from tiny import NETWORK, generator, of_images

import smalti
from smalti import imaging, shipped
from smalti.conditions.boxes import BoxesSettings
from smalti.conditions.computed.edges import EdgesSettings
from smalti.conditions.keypoints import KeypointsSettings
from smalti.conditions.map import MapSettings
from smalti.conditions.points import PointsSettings
from smalti.pipeline import Pipeline, PipelineSettings
from smalti.priors import PRIORS
from smalti.studio.app import PAGE, Studio
from smalti.studio.limits import Limits
from smalti.studio.models import Models
from smalti.studio.safety import Door
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright drives the browser: pip install -e '.[dev]'"
)
axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="axe looks for barriers: pip install -e '.[dev]'"
)

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="no chromium is installed: apt-get install chromium"
)
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
PATIENCE = 60_000  # milliseconds: machines on which this runs are busy
TABS = ("Sample", "Complete", "Paint", "Canvas", "Look inside", "Compare", "Runs")
THINGS = {"classes": 3, "names": ("house", "tree", "dog"), "max_objects": 4}


def of_maps() -> Pipeline:
    """A model that is told a map of five classes; factor 2, crops of 8 x 8 pixels."""
    network = NetworkSettings(**{**NETWORK, "multipliers": (1, 1)})
    classes = NetworkSettings(**{**NETWORK, "multipliers": (1, 1), "in_channels": 5, "out_channels": 5})
    maps = Tokenizer(TokenizerSettings(network=classes, content="segmentation"))
    prior = PRIORS["gpt"][0](layers=1, heads=2, width=16)
    settings = PipelineSettings(prior=prior, condition=MapSettings(), grid=(4, 4))
    return Pipeline(settings, Tokenizer(TokenizerSettings(network=network)), maps)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Models:
    """The one that ships first, then a tiny one of each condition that is painted."""
    folder = tmp_path_factory.mktemp("models")
    made = {
        "labels": generator(),
        "streets": of_maps(),
        "sketches": of_images(EdgesSettings()),
        "boxes": generator(condition=BoxesSettings(**THINGS)),
        "points": generator(condition=PointsSettings(**THINGS)),
        "poses": generator(condition=KeypointsSettings()),
    }
    for name, model in made.items():
        smalti.save(model, folder / name)
    found = Models({"emoji": shipped.models()["emoji"], **{name: folder / name for name in made}})
    found.load()
    return found


@pytest.fixture(scope="module")
def address(models):
    """A studio in a thread of its own."""
    listening = socket.create_server(("127.0.0.1", 0))
    door = Door("127.0.0.1", listening.getsockname()[1], None, Limits().upload_bytes)
    server = uvicorn.Server(uvicorn.Config(Studio(models).app(door), log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield door.address
    server.should_exit = True
    thread.join(30)


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture
def opened(browser, address):
    """Opens the page at a tab; no error may come to its console."""
    wrong = []

    @contextmanager
    def at(tab="sample", size=(1280, 800), **more):
        context = browser.new_context(viewport={"width": size[0], "height": size[1]}, **more)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on(
            "console", lambda told: wrong.append(told.text) if told.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(f"{address}#{tab}")
        page.get_by_role("tab").first.wait_for()
        yield page
        context.close()

    yield at
    assert wrong == []


def drawn(place, count: int):
    """Wait until so many pictures hang at a place; gives their frames."""
    place.locator(".tile.done").nth(count - 1).wait_for()
    return place.locator(".tile.done .frame img")


def png(image) -> bytes:
    return base64.b64decode(image.get_attribute("src").removeprefix("data:image/png;base64,"))


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def panel(page, name: str):
    return page.get_by_role("tabpanel", name=name)


def asked(request) -> dict:
    return json.loads(request.value.post_data)


def of_url(url: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("L"))


def drag(page, element, start, end) -> None:
    """Drag over an element, from and to shares of its sides."""
    box = element.bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=4)
    page.mouse.up()


@needs_browser
def test_the_first_pictures_hang_by_themselves_and_are_those_of_the_library(opened, models, address):
    with opened() as page:
        wall = panel(page, "Sample")
        images = drawn(wall, 4)
        found = [png(image) for image in images.all()]
        job = wall.evaluate(
            "() => performance.getEntriesByType('resource').map((one) => one.name).find((name) => name.includes('/images/0.png'))"
        )
        assert page.request.get(job).body() == found[0]
        made = json.loads(Image.open(io.BytesIO(found[2])).info[imaging.METADATA])
        assert (made["seed"], made["text"], made["guidance"]) == (2, "red heart", 3.0)
        told = {"text": "red heart", "guidance_scale": 3.0, "micro_batch": 1}
        same = models.pipeline("emoji").sample(num=1, seed=2, **told).images[0]
        np.testing.assert_array_equal(pixels(found[2]), np.asarray(same))


@needs_browser
def test_a_picture_is_looked_at_saved_and_gone_on_from(opened):
    with opened() as page:
        wall = panel(page, "Sample")
        page.get_by_label("Pictures").fill("2")
        data = png(drawn(wall, 4).nth(1))
        wall.locator(".frame").nth(1).click()
        closer = page.get_by_role("dialog")
        closer.get_by_text("How it was made").click()
        assert "guidance" in closer.get_by_role("table").inner_text()
        assert "--text 'red heart'" in closer.get_by_label("Command").inner_text()
        with page.expect_download() as saving:
            closer.get_by_role("link", name="Save").click()
        assert Path(saving.value.path()).read_bytes() == data
        assert saving.value.suggested_filename == "red-heart-1.png"
        closer.get_by_role("button", name="Again with").click()
        assert page.get_by_label("Seed", exact=True).input_value() == "1"
        assert page.get_by_label("Pictures").input_value() == "4"
        wall.locator(".tile").first.hover()
        with page.expect_request("**/api/sample") as request:
            wall.get_by_role("button", name="More like this").first.click()
        assert (asked(request)["seed"], asked(request)["num"]) == (4, 4)
        wall.get_by_role("button", name="Stop").click()
        wall.get_by_text("Stopped").wait_for()
