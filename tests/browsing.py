"""The studio in a browser: its server in a thread, the system's Chromium, and what a hand does."""

import base64
import io
import json
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright import sync_api

from smalti.studio.app import Studio
from smalti.studio.safety import Door
from smalti.studio.serve import listen

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(
    BROWSER is None and not os.environ.get("CI"),  # where tests must not be left out they fail
    reason="no Chromium is installed: apt-get install chromium",
)
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
PATIENCE = 60_000  # milliseconds: machines on which this runs are busy


@contextmanager
def launched() -> Iterator[sync_api.Browser]:
    """A browser with a fresh profile."""
    assert BROWSER is not None, "no Chromium is installed: apt-get install chromium"
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def serving(studio: Studio) -> Iterator[str]:
    """A studio that answers on a port of its own; gives its address."""
    listening = listen("127.0.0.1", 0)
    door = Door("127.0.0.1", listening.getsockname()[1], None, studio.limits.upload_bytes)
    how = uvicorn.Config(studio.app(door), log_level="warning", timeout_graceful_shutdown=5)
    server = uvicorn.Server(how)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield door.address
    studio.jobs.close()
    studio.turns.close()
    server.should_exit = True
    thread.join(30)


@contextmanager
def visiting(browser, address: str, tab: str, size=(1280, 800), **more) -> Iterator[sync_api.Page]:
    """The page at a tab; when it is left, nothing has gone wrong in its console."""
    wrong: list[str] = []
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, **more)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.on("console", lambda told: wrong.append(told.text) if told.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(f"{address}#{tab}")
    page.get_by_role("tab").first.wait_for()
    yield page
    context.close()
    assert wrong == []


def panel(page, name: str):
    """What a tab shows."""
    return page.get_by_role("tabpanel", name=name)


def drawn(place, count: int):
    """Wait until so many pictures hang at a place; gives them."""
    place.locator(".tile.done").nth(count - 1).wait_for()
    return place.locator(".tile.done .frame img")


def drag(page, element, start, end) -> None:
    """Drag over an element, from and to shares of its sides."""
    box = element.bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=4)
    page.mouse.up()


def barriers(page, rules: Sequence[str] = ("wcag2a", "wcag2aa", "wcag21aa", "best-practice")) -> str:
    """What bars the way of some people on what is shown, in words; by axe's rules."""
    found = Axe().run(page, options={"runOnly": list(rules)})
    return found.generate_report() if found.violations_count else ""


def asked(request) -> dict:
    """What a request that was waited for asks."""
    return json.loads(request.value.post_data)


def png(image) -> bytes:
    """The file that an image on the page shows."""
    return base64.b64decode(image.get_attribute("src").removeprefix("data:image/png;base64,"))


def pixels(data: bytes | str, mode: str = "RGB") -> np.ndarray:
    """The pixels of a file, or of a data URL."""
    file = base64.b64decode(data.partition(",")[2]) if isinstance(data, str) else data
    return np.asarray(Image.open(io.BytesIO(file)).convert(mode))
