"""The studio's page, used in a browser as a person would: each tab, what it asks for and what it shows."""

import io
import json
import re
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
import yaml
from browsing import (
    asked,
    barriers,
    drag,
    drawn,
    needs_browser,
    panel,
    pixels,
    png,
    serving,
)
from PIL import Image
from tiny import generator

import smalti
from smalti import imaging, shipped
from smalti.data.protocol import Sample
from smalti.data.shards import ShardMetadata, ShardWriter
from smalti.studio.app import Studio
from smalti.studio.limits import Limits
from smalti.studio.models import Models
from smalti.studio.runs import Runs
from smalti.studio.turns import Turns

# addresses of the drawn images that the page fetched
LOADED = """() => performance.getEntriesByType("resource").map((one) => one.name)
  .filter((name) => name.includes("/images/"))"""
# of a canvas of 4 x 4 cells those that are covered
COVERED = """(canvas) => Array.from({length: 16}, (_, cell) =>
  canvas.getContext("2d").getImageData(cell % 4, Math.floor(cell / 4), 1, 1).data[3] === 255)"""
# of one of 4 x 6 cells how many are not
BRIGHT = """(canvas) => canvas.getContext("2d").getImageData(0, 0, 6, 4).data
  .filter((value, index) => index % 4 === 3 && value === 0).length"""
WORDS = "woman scientist: medium-dark skin tone"  # with which it begins


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Models:
    """The one that ships, and a tiny one of three classes with shards of 30 images in its codes."""
    folder = tmp_path_factory.mktemp("models")
    smalti.save(generator(), folder / "labels")
    tokenizer = smalti.load(folder / "labels").tokenizer
    about = {"codebook_size": 12, "factor": tokenizer.factor, "classes": ()}
    made = ShardMetadata(tokenizer=tokenizer.fingerprint, **about)
    codes = (torch.arange(30 * 24) % 12).view(30, 4, 6)
    with ShardWriter(folder / "shards", made) as writer:
        writer.add("train", [Sample(codes=one) for one in codes])
        writer.close()
    paths = {"emoji": shipped.models()["emoji"], "labels": folder / "labels"}
    found = Models(paths, [folder / "shards"])
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
    with serving(Studio(models, Runs(runs.parent), Limits(), Turns())) as found:
        yield found


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
        page.get_by_label("In words").fill("xylotomy")
        page.get_by_label("Pictures").fill("1")
        wall.get_by_role("button", name="Draw", exact=True).click()
        wall.get_by_text("No caption of the training had: xylotomy; nothing was learned of it.").wait_for()
        wall.locator(".hung").nth(1).locator(".tile").first.hover()
        with page.expect_request("**/api/sample") as request:
            wall.locator(".hung").nth(1).get_by_role("button", name="More like this").first.click()
        assert (asked(request)["seed"], asked(request)["num"]) == (4, 4)
        wall.get_by_role("button", name="Stop").first.click()
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


@needs_browser
def test_a_canvas_grows_by_its_borders(opened):
    with opened("canvas") as page:
        place = panel(page, "Canvas")
        place.get_by_label("Model").select_option("labels")
        place.get_by_text("Left → right").click()
        place.get_by_label("At the other end").select_option("moon")
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
        assert asked(request)["at"] == [0, 0]
        assert asked(request)["image"].startswith("/api/jobs/")
        place.get_by_alt_text("Canvas of 14 times 8 pixels").wait_for()
        first = pixels(png(place.get_by_alt_text("Canvas of")))
        assert first.shape == (8, 14, 3)
        place.get_by_role("button", name="Grow up").focus()
        page.keyboard.press("ArrowUp")
        with page.expect_request("**/api/complete") as request:
            page.keyboard.press("Enter")
        assert (asked(request)["size"], asked(request)["at"]) == ([10, 14], [1, 0])
        place.get_by_alt_text("Canvas of 14 times 10 pixels").wait_for()
        place.get_by_role("button", name="Back").click()
        place.get_by_alt_text("Canvas of 14 times 8 pixels").wait_for()
        np.testing.assert_array_equal(pixels(png(place.get_by_alt_text("Canvas of"))), first)


@needs_browser
def test_back_goes_through_the_tabs(opened):
    with opened() as page:
        for name in ("Canvas", "Complete"):
            page.get_by_role("tab", name=name).click()
        panel(page, "Complete").get_by_text("Open a picture, or choose Complete below one").wait_for()
        for name in ("Canvas", "Sample"):
            page.go_back()
            panel(page, name).wait_for()
            assert page.get_by_role("tab", name=name).get_attribute("aria-selected") == "true"


@needs_browser
def test_codes_likelihoods_and_the_order_are_looked_into(opened, models):
    with opened() as page:
        wall = panel(page, "Sample")
        wall.get_by_label("Model").select_option("labels")
        wall.get_by_label("Pictures").fill("1")
        wall.get_by_role("button", name="Stop").first.click()
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
        shown.first.click()
        place.get_by_text("in the data set: 60 times, in 30 of 30 images").wait_for()
        examples = place.locator(".examples .overlay canvas")
        assert examples.count() == 12
        assert examples.last.evaluate(BRIGHT) == 2
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
        sheet = place.get_by_alt_text("Samples at step 20")
        sheet.scroll_into_view_if_needed()
        assert sheet.evaluate("(image) => image.decode().then(() => image.naturalWidth)") == 24
        assert barriers(page) == ""
        with (runs / "log.jsonl").open("a") as log:
            log.write(json.dumps({"step": 21, "kind": "train", "loss/total": 2.0, "loss/l1": 0.25}) + "\n")
        place.get_by_role("img", name="loss: at step 21 total 2, l1 0.25").wait_for()


@needs_browser
def test_twenty_requests_at_once_all_come_back(opened):
    with opened() as page:
        wall = panel(page, "Sample")
        wall.get_by_role("button", name="Stop").first.click()
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
def test_a_closed_page_stops_what_it_asked_for(opened, address):
    with opened("compare") as page:
        place = panel(page, "Compare")
        place.get_by_label("Pictures each").fill("64")
        with page.expect_response("**/api/sample") as answer:
            place.get_by_role("button", name="Draw both").first.click()
        job = answer.value.json()["job"]
        place.get_by_text("of 64 drawn").first.wait_for()
    with httpx.Client(base_url=address, timeout=60) as other:
        for _ in range(600):
            state = other.get(f"/api/jobs/{job}").json()["state"]
            if state not in ("queued", "running"):
                break
            time.sleep(0.05)
    assert state == "cancelled"
