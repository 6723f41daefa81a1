"""The studio's page, used in a browser as a person would: every tab, by mouse, by keyboard, on a phone."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from browsing import asked, drag, drawn, launched, needs_browser, panel, pixels, png, serving, visiting
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
from smalti.studio.runs import Runs
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings

# addresses of the drawn images that the page fetched
LOADED = """() => performance.getEntriesByType("resource").map((one) => one.name)
  .filter((name) => name.includes("/images/"))"""
# of a canvas of 4 x 4 cells those that are covered
COVERED = """(canvas) => Array.from({length: 16}, (_, cell) =>
  canvas.getContext("2d").getImageData(cell % 4, Math.floor(cell / 4), 1, 1).data[3] === 255)"""
WORDS = "woman scientist: medium-dark skin tone"  # with which it begins
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
def runs(tmp_path_factory) -> Path:
    """A run at step 20 of 40."""
    root = tmp_path_factory.mktemp("runs") / "photos"
    (root / "samples").mkdir(parents=True)
    (root / "settings.yaml").write_text(yaml.safe_dump({"kind": "prior", "steps": 40}))
    lines = [{"step": step, "kind": "train", "loss/total": 1 / step, "loss/l1": 0.5} for step in range(1, 21)]
    lines += [
        {"step": 20, "kind": "alarm", "name": "codebook_collapse", "finding": "9 codes", "remedy": "wait"}
    ]
    lines += [{"step": 20, "kind": "validation", "psnr": 17.25}]
    (root / "log.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    Image.new("RGB", (24, 12), "teal").save(root / "samples" / "step-00000020.png")
    return root


@pytest.fixture(scope="module")
def address(models, runs):
    with serving(Studio(models, Runs(runs.parent), Limits())) as found:
        yield found


@pytest.fixture(scope="module")
def browser():
    with launched() as found:
        yield found


@pytest.fixture
def opened(browser, address):
    return lambda tab="sample", **more: visiting(browser, address, tab, **more)


@needs_browser
def test_the_first_pictures_hang_by_themselves_and_are_those_of_the_library(opened, models, address):
    with opened() as page:
        wall = panel(page, "Sample")
        images = drawn(wall, 4)
        found = [png(image) for image in images.all()]
        job = page.evaluate(LOADED)[0]
        assert page.request.get(job).body() == found[0]
        made = json.loads(Image.open(io.BytesIO(found[2])).info[imaging.METADATA])
        assert (made["seed"], made["text"], made["guidance"]) == (2, WORDS, 3.0)
        told = {"text": WORDS, "guidance_scale": 3.0, "micro_batch": 1}
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
        assert f"--text '{WORDS}' --seed 1 --micro-batch 1" in closer.get_by_label("Command").inner_text()
        with page.expect_download() as saving:
            closer.get_by_role("link", name="Save").click()
        assert Path(saving.value.path()).read_bytes() == data
        assert saving.value.suggested_filename == "woman-scientist-medium-dark-skin-tone-1.png"
        closer.get_by_role("button", name="Again with").click()
        assert page.get_by_label("Seed", exact=True).input_value() == "1"
        assert page.get_by_label("Pictures").input_value() == "4"
        wall.locator(".tile").first.hover()
        with page.expect_request("**/api/sample") as request:
            wall.get_by_role("button", name="More like this").first.click()
        assert (asked(request)["seed"], asked(request)["num"]) == (4, 4)
        wall.get_by_role("button", name="Stop").click()
        wall.get_by_text("Stopped").wait_for()


@needs_browser
def test_a_part_is_drawn_anew_taken_and_taken_back(opened, tmp_path):
    picture = np.zeros((64, 64, 3), dtype=np.uint8)
    picture[:, :32] = (200, 40, 40)
    Image.fromarray(picture).save(tmp_path / "half.png")
    with opened("complete") as page:
        place = panel(page, "Complete")
        with page.expect_file_chooser() as choosing:
            place.get_by_role("button", name="Open a picture").click()
        choosing.value.set_files(tmp_path / "half.png")
        cells = place.get_by_role("application")
        place.get_by_role("button", name="Draw anew").click()
        assert "Paint what is to be drawn anew" in place.get_by_role("alert").inner_text()
        drag(page, cells, (0.8, 0.3), (0.8, 0.55))  # a brush of three cells: columns 5 to 7, rows 1 to 5
        place.get_by_text("Rectangle").click()
        cells.focus()
        for key in ["ArrowLeft"] * 9 + ["ArrowDown"] * 9 + [" ", "ArrowRight", "ArrowUp", " "]:
            page.keyboard.press(key)
        place.get_by_text("Eraser").click()
        page.keyboard.press("Tab")
        place.get_by_label("Pictures").fill("2")
        with page.expect_request("**/api/complete") as request:
            place.get_by_role("button", name="Draw anew").click()
        mask = pixels(asked(request)["mask"], "L").reshape(8, 8, 8, 8).min((1, 3)) == 255
        assert mask[6:, :2].all()
        assert mask[2:5, 6].all()
        assert not mask[:, 2:5].any()
        assert asked(request)["size"] == [64, 64]
        images = drawn(place, 2)
        made = json.loads(Image.open(io.BytesIO(png(images.first))).info[imaging.METADATA])
        np.testing.assert_array_equal(np.array(made["mask"], dtype=bool), mask)
        place.locator(".tile").nth(1).hover()
        taken = png(images.nth(1))
        place.get_by_role("button", name="Take").nth(1).click()
        before = place.get_by_alt_text("The picture that is worked on")
        assert png(before) == taken
        place.get_by_role("button", name="Back to the one before").click()
        np.testing.assert_array_equal(pixels(png(before)), picture)


def painted(page, model: str):
    """Choose a model that is painted for; gives its tab and what is painted on."""
    place = panel(page, "Paint")
    place.get_by_label("Model").select_option(model)
    return place, place.locator(".layer, .sheet").first


@needs_browser
def test_what_is_painted_is_what_the_model_is_told(opened):
    with opened("paint") as page:
        place, surface = painted(page, "streets")
        place.get_by_text("3", exact=True).click()
        with page.expect_request("**/api/sample") as request:
            drag(page, surface, (0.2, 0.3), (0.8, 0.3))
        told = pixels(asked(request)["condition"]["map"], "L")
        assert told.shape == (8, 8)
        assert set(np.unique(told)) == {0, 3}
        assert (told[2, 1:7] == 3).all()
        drawn(place, 1)
        place.get_by_text("4", exact=True).click()
        with page.expect_request("**/api/complete") as request:  # what changed alone is drawn anew
            drag(page, surface, (0.9, 0.95), (0.95, 0.95))
        assert pixels(asked(request)["mask"], "L")[0, 0] == 0
        assert pixels(asked(request)["mask"], "L")[7, 7] == 255
        assert asked(request)["image"].startswith("/api/jobs/")
        place.get_by_text("Drawn in").wait_for()
        place, surface = painted(page, "sketches")
        with page.expect_request("**/api/sample") as request:
            drag(page, surface, (0.1, 0.1), (0.1, 0.9))
        edges = pixels(asked(request)["condition"]["map"], "L")
        assert (edges[1:-1, edges.shape[1] // 10] == 255).all()
        assert edges[:, edges.shape[1] // 2 :].max() == 0
        drawn(place, 1)


@needs_browser
def test_boxes_points_and_joints_are_dragged_named_and_moved_by_keys(opened):
    with opened("paint") as page:
        place, sheet = painted(page, "boxes")
        page.wait_for_timeout(100)
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
def test_a_canvas_grows_by_its_borders(opened):
    with opened("canvas") as page:
        place = panel(page, "Canvas")
        place.get_by_label("Model").select_option("labels")
        place.get_by_text("Left → right").click()
        place.get_by_label("Class").nth(1).select_option("moon")
        with page.expect_request("**/api/sample") as request:
            place.get_by_role("button", name="Begin anew").click()
        assert asked(request)["condition"] == {"label": ["brick", "moon"]}
        assert asked(request)["mix"] == "left-right"
        place.get_by_text("Drawn in").wait_for()
        place.get_by_text("One", exact=True).click()
        grip = place.get_by_role("button", name="Grow to the right")
        scale = place.get_by_alt_text("Canvas of").bounding_box()["width"] / 8
        box = grip.bounding_box()
        page.mouse.move(box["x"] + 13, box["y"] + 40)
        page.mouse.down()
        page.mouse.move(box["x"] + 13 + 6 * scale, box["y"] + 40, steps=3)
        with page.expect_request("**/api/complete") as request:
            page.mouse.up()
        assert asked(request)["size"] == [8, 14]
        mask = pixels(asked(request)["mask"], "L")
        assert mask.shape == (8, 14)
        assert mask[:, :8].max() == 0
        assert mask[:, 8:].min() == 255
        place.get_by_alt_text("Canvas of 14 times 8 pixels").wait_for()
        place.get_by_role("button", name="Grow up").focus()
        page.keyboard.press("ArrowUp")
        with page.expect_request("**/api/complete") as request:
            page.keyboard.press("Enter")
        assert asked(request)["size"] == [10, 14]
        place.get_by_alt_text("Canvas of 14 times 10 pixels").wait_for()
        place.get_by_role("button", name="Back").click()
        place.get_by_alt_text("Canvas of 14 times 8 pixels").wait_for()


@needs_browser
def test_codes_likelihoods_and_the_order_are_looked_into(opened, models):
    with opened() as page:
        wall = panel(page, "Sample")
        wall.get_by_label("Model").select_option("labels")
        wall.get_by_label("Pictures").fill("1")
        wall.get_by_role("button", name="Stop").click()
        wall.get_by_role("button", name="Draw", exact=True).click()
        wall.get_by_role("heading", name="brick").wait_for()
        data = png(wall.locator(".hung").first.locator(".tile.done img").first)
        wall.locator(".frame").first.click()
        page.get_by_role("dialog").get_by_role("button", name="Look inside").click()
        place = panel(page, "Look inside")
        place.get_by_text(re.compile("4 . 4 codes out of 12")).wait_for()
        model = models.pipeline("labels")
        codes = model.sample(num=1, label="brick", guidance_scale=1.5, micro_batch=1).codes
        rebuilt = place.get_by_alt_text("What came out of its codes")
        np.testing.assert_array_equal(
            pixels(png(rebuilt)), pixels(data)
        )  # a drawn picture is what its codes tell
        counts = sorted(np.bincount(codes.flatten().numpy()), reverse=True)
        shown = place.get_by_role("button", name=re.compile("code .*: show where"))
        assert f"{counts[0]} times" in shown.first.get_attribute("aria-label")
        assert shown.count() == int((np.array(counts) > 0).sum())
        mean = re.search(r"mean ([\d.]+) nats", place.get_by_text("nats a cell").inner_text())[1]
        assert float(mean) == pytest.approx(model.nats_per_token(codes, label="brick"), abs=0.01)
        place.get_by_label("Pass of the drawing").fill("3")
        assert place.locator(".overlay canvas").last.evaluate(COVERED) == [False] * 3 + [True] * 13


@needs_browser
def test_two_settings_are_compared_from_the_same_seeds(opened):
    with opened("compare") as page:
        place = panel(page, "Compare")
        for side in "AB":
            place.get_by_role("region", name=f"Side {side}").get_by_label("Model").select_option("labels")
        other = place.get_by_role("region", name="Side B")
        other.get_by_label("Top k").fill("1")
        place.get_by_label("Pictures each").fill("2")
        place.get_by_role("button", name="Draw both").first.click()
        for side in "AB":
            region = place.get_by_role("region", name=f"Side {side}")
            seeds = drawn(region, 2).evaluate_all("(all) => all.map((one) => one.alt)")
            assert [alt.rpartition(" ")[2] for alt in seeds] == ["0", "1"]
            region.get_by_text("nats a cell").wait_for()
        sides = [float(place.locator(".numbers dd").nth(at).inner_text()) for at in (2, 5)]
        assert sides[1] < sides[0]  # greedy draws are the likelier ones


@needs_browser
def test_a_run_is_watched_while_it_goes_on(opened, runs):
    with opened("runs") as page:
        place = panel(page, "Runs")
        place.get_by_role("button", name="photos").wait_for()
        assert "step 20 of 40" in place.get_by_role("button", name="photos").inner_text()
        place.get_by_text("step 20, codebook collapse: 9 codes: wait").wait_for()
        place.get_by_role("img", name="loss: at step 20 total 0.05, l1 0.5").wait_for()
        place.get_by_role("img", name="validation: psnr: at step 20 psnr 17.3").wait_for()
        assert place.get_by_alt_text("Samples at step 20").evaluate("(image) => image.naturalWidth") == 24
        with (runs / "log.jsonl").open("a") as log:
            log.write(json.dumps({"step": 21, "kind": "train", "loss/total": 2.0, "loss/l1": 0.25}) + "\n")
        place.get_by_role("img", name="loss: at step 21 total 2, l1 0.25").wait_for()


@needs_browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_bars_the_way(opened, theme):
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="pip install 'smalti[dev]' for axe"
    )
    with opened(color_scheme=theme) as page:
        drawn(panel(page, "Sample"), 4)
        for name in TABS:
            page.get_by_role("tab", name=name).click()
            page.wait_for_timeout(300)
            found = axe.Axe().run(
                page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "best-practice"]}
            )
            assert found.violations_count == 0, f"{name}: {found.generate_report()}"


@needs_browser
def test_a_phone_shows_all_without_scrolling_sideways(opened):
    with opened(size=(390, 844), has_touch=True, is_mobile=True) as page:
        drawn(panel(page, "Sample"), 1)
        for name in TABS:
            page.get_by_role("tab", name=name).click()
            page.wait_for_timeout(300)
            assert page.evaluate("document.documentElement.scrollWidth") == 390, name


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
def test_twenty_requests_at_once_all_come_back(opened):
    with opened() as page:
        wall = panel(page, "Sample")
        wall.get_by_role("button", name="Stop").click()
        wall.get_by_label("Model").select_option("labels")
        wall.get_by_label("Pictures").fill("1")
        before = wall.locator(".tile.done").count()
        for seed in range(20):
            wall.get_by_label("Seed", exact=True).fill(str(100 + seed))
            wall.get_by_role("button", name="Draw", exact=True).click()
        images = drawn(wall, before + 20)
        alts = images.evaluate_all("(all) => all.map((one) => one.alt)")
        assert {f"brick, seed {100 + seed}" for seed in range(20)} <= set(alts)


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


def test_the_page_is_light_and_asks_nobody_else():
    files = [path for path in PAGE.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 150_000  # of 400 kB that it may have
    for path in files:
        text = path.read_text(encoding="utf-8")
        outside = set(re.findall(r"https?://[^\"'\s)]+", text)) - {"http://www.w3.org/2000/svg"}
        assert not outside, path
        assert not re.search(r"<[^>]*\son\w+=|<style|style=\"|javascript:", text), path
        assert len(text.splitlines()) <= 300, path
