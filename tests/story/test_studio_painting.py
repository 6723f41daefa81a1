"""The studio's page: conditions that are painted, ways by keyboard, by screen reader and on a phone."""

import re

import numpy as np
import pytest
from browsing import asked, barriers, drag, drawn, needs_browser, panel, pixels, serving
from tiny import NETWORK, generator, of_images

import smalti
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
from smalti.studio.runs import Runs
from smalti.studio.turns import Turns
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings

TABS = ("Sample", "Complete", "Paint", "Canvas", "Look inside", "Compare", "Runs")
PAINTED = ("streets", "sketches", "boxes", "points", "poses")
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
    """A tiny one of classes, and one of each condition that is painted."""
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
    found = Models({name: folder / name for name in made})
    found.load()
    return found


@pytest.fixture(scope="module")
def address(models):
    with serving(Studio(models, Runs(None), Limits(), Turns())) as found:
        yield found


def painted(page, model: str):
    """Choose a model that is painted for, see it drawn at once; gives its tab and what is painted on."""
    place = panel(page, "Paint")
    place.get_by_label("Model").select_option(model)
    drawn(place, 1)
    return place, place.locator(".layer, .sheet").first


@needs_browser
def test_what_is_painted_is_what_the_model_is_told(opened):
    with opened("paint") as page:
        place, surface = painted(page, "streets")
        place.get_by_text("3", exact=True).click()
        place.get_by_text("The whole").click()
        with page.expect_request("**/api/sample") as request:
            drag(page, surface, (0.2, 0.3), (0.8, 0.3))
        told = pixels(asked(request)["condition"]["map"], "L")
        assert told.shape == (8, 8)
        assert set(np.unique(told)) == {0, 3}
        assert (told[2, 1:7] == 3).all()
        place.get_by_text("Drawn in").wait_for()
        place.get_by_text("Only what changed").click()
        place.get_by_text("4", exact=True).click()
        with page.expect_request("**/api/complete") as request:  # what changed alone is drawn anew
            drag(page, surface, (0.9, 0.95), (0.95, 0.95))
        assert pixels(asked(request)["mask"], "L")[0, 0] == 0
        assert pixels(asked(request)["mask"], "L")[7, 7] == 255
        assert asked(request)["image"].startswith("/api/jobs/")
        place.get_by_text("Drawn in").wait_for()
        place, surface = painted(page, "sketches")
        with page.expect_request("**/api/complete") as request:
            drag(page, surface, (0.1, 0.1), (0.1, 0.9))
        edges = pixels(asked(request)["condition"]["map"], "L")
        assert (edges[1:-1, edges.shape[1] // 10] == 255).all()
        assert edges[:, edges.shape[1] // 2 :].max() == 0
        drawn(place, 1)


@needs_browser
def test_boxes_points_and_joints_are_dragged_named_and_moved_by_keys(opened):
    with opened("paint") as page:
        place, sheet = painted(page, "boxes")
        with page.expect_request("**/api/sample") as request:
            drag(page, sheet, (0.05, 0.9), (0.2, 0.99))
        boxes = asked(request)["condition"]["boxes"]
        assert [name for name, *_ in boxes] == ["house", "house"]
        np.testing.assert_allclose(boxes[1][1:], [0.05, 0.9, 0.2, 0.99], atol=0.02)
        with page.expect_request("**/api/sample") as request:
            place.get_by_label("What it is").nth(1).select_option("dog")
        assert asked(request)["condition"]["boxes"][1][0] == "dog"
        drawn(place, 1)
        place.get_by_role("button", name="dog at").focus()
        with page.expect_request("**/api/sample") as request:
            page.keyboard.press("ArrowRight")
        np.testing.assert_allclose(asked(request)["condition"]["boxes"][1][1:4:2], [0.07, 0.22], atol=0.02)
        place, sheet = painted(page, "points")
        with page.expect_request("**/api/sample") as request:
            drag(page, sheet, (0.25, 0.75), (0.25, 0.75))
        np.testing.assert_allclose(asked(request)["condition"]["points"][1][1:], [0.25, 0.75], atol=0.02)
        place, sheet = painted(page, "poses")
        place.get_by_role("button", name="left wrist").focus()
        with page.expect_request("**/api/sample") as request:
            page.keyboard.press("ArrowUp")
        assert asked(request)["condition"]["keypoints"]["left_wrist"] == [0.68, 0.51, 2]
        with page.expect_request("**/api/sample") as request:
            place.get_by_text("Absent").click()
        assert asked(request)["condition"]["keypoints"]["left_wrist"] is None
        drawn(place, 1)


@needs_browser
def test_nothing_bars_the_way(opened):
    with opened() as page:
        page.get_by_label("Pictures").fill("1")
        page.get_by_role("button", name="Draw", exact=True).click()
        for name in TABS:
            page.get_by_role("tab", name=name).click()
            page.wait_for_timeout(300)
            assert barriers(page) == "", name
        for model in PAINTED:
            page.get_by_role("tab", name="Paint").click()
            painted(page, model)
            assert barriers(page) == "", model
        page.get_by_role("tab", name="Sample").click()
        drawn(panel(page, "Sample"), 1)
        page.locator(".frame").first.click()
        assert barriers(page) == ""


@needs_browser
def test_words_stand_out_in_the_dark_too(opened):
    with opened(color_scheme="dark") as page:
        for name in TABS:
            page.get_by_role("tab", name=name).click()
            page.wait_for_timeout(300)
            assert barriers(page, ["color-contrast"]) == "", name


@needs_browser
def test_a_phone_shows_all_without_scrolling_sideways(opened):
    with opened(size=(390, 844), has_touch=True, is_mobile=True) as page:
        drawn(panel(page, "Sample"), 1)
        for name in TABS:
            page.get_by_role("tab", name=name).click()
            page.wait_for_timeout(300)
            assert page.evaluate("document.documentElement.scrollWidth") == 390, name
        page.get_by_role("tab", name="Paint").click()
        for model in PAINTED:
            painted(page, model)
            assert page.evaluate("document.documentElement.scrollWidth") == 390, model


@needs_browser
def test_all_tabs_are_reached_by_keys_and_focus_is_seen(opened):
    with opened() as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the picture"
        page.keyboard.press("Tab")
        for name in [*TABS[1:], TABS[0]]:
            page.keyboard.press("ArrowRight")
            assert page.evaluate("document.activeElement.textContent") == name
            assert panel(page, name).is_visible()
        for _ in range(12):
            page.keyboard.press("Tab")
            outline = "getComputedStyle(document.activeElement).outlineStyle"
            shown = f"document.activeElement.matches(':focus-visible') && {outline} !== 'none'"
            assert page.evaluate(shown), page.evaluate("document.activeElement.outerHTML")


@needs_browser
def test_what_cannot_be_is_said_in_words(opened, tmp_path):
    (tmp_path / "letter.txt").write_text("no picture")
    (tmp_path / "broken.png").write_bytes(b"no picture either")
    with opened("inside") as page:
        place = panel(page, "Look inside")
        for name, words in (
            ("letter.txt", "letter.txt is no image"),
            ("broken.png", "no image that the browser can open"),
        ):
            with page.expect_file_chooser() as choosing:
                place.get_by_role("button", name="Open a picture").click()
            choosing.value.set_files(tmp_path / name)
            place.get_by_role("alert").filter(has_text=words).wait_for()
        page.get_by_role("tab", name="Paint").click()
        place = panel(page, "Paint")
        place.get_by_label("Model").select_option("streets")
        with page.expect_file_chooser() as choosing:
            place.get_by_role("button", name="Open a map").click()
        choosing.value.set_files(tmp_path / "broken.png")
        place.get_by_role("alert").filter(has_text="no image that the browser can open").wait_for()


def test_the_page_is_light_and_asks_nobody_else():
    files = [path for path in PAGE.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 200_000  # of 400 kB that it may have
    for path in files:
        text = path.read_text(encoding="utf-8")
        outside = set(re.findall(r"https?://[^\"'\s)]+", text)) - {"http://www.w3.org/2000/svg"}
        assert not outside, path
        assert not re.search(r"<[^>]*\son\w+=|<style|style=\"|javascript:", text), path
        assert len(text.splitlines()) <= 300, path
