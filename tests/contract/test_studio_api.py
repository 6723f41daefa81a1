"""The studio's API: what it draws is what the library draws, what is wrong is said in one line."""

import json
import socket
import struct
import threading
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from studios import drawn, events_of, image_of, opened, picture, url
from tiny import LABELS, generator

import smalti
from smalti import imaging
from smalti.orders import inverse
from smalti.studio import looking, openapi, pictures
from smalti.studio.drawing import Drawing, previewed
from smalti.studio.jobs import Job
from smalti.studio.limits import Limits
from smalti.studio.serve import listen


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def studio(folder):
    made = opened(folder, upload_pixels=10_000, pixels=2_000, num=9, text=100)
    yield made
    made.jobs.close()
    made.turns.close()


@pytest.fixture(scope="module")
def labelled(folder, studio):
    return smalti.load(folder / "labelled")


def png_of(client, job, index=0):
    answer = client.get(f"/api/jobs/{job}/images/{index}.png")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    return image_of(answer.content)


def refusal(answer, status=400) -> str:
    told = answer.json()
    assert answer.status_code == status, told
    assert set(told) == {"expected", "got", "remedy"}
    assert all(isinstance(one, str) and one and "Traceback" not in one for one in told.values())
    return f"{told['expected']}, {told['got']}; {told['remedy']}"


def test_an_image_is_that_of_the_library_to_the_last_bit(client, labelled):
    wish = {"num": 3, "seed": 7, "temperature": 0.9, "top_k": 8, "top_p": 0.95, "guidance_scale": 1.5}
    job, events = drawn(client, model="labelled", condition={"label": "moon"}, **wish)
    ours = labelled.sample(label="moon", micro_batch=1, **wish)
    for index, image in enumerate(ours):
        found = png_of(client, job, index)
        assert np.array_equal(np.asarray(found), np.asarray(image))
        assert json.loads(found.info["smalti"]) == ours.metadata[index]
    told = [data for _, name, data in events if name == "image"]
    assert [one["metadata"] for one in told] == ours.metadata
    assert [one["seed"] for one in told] == [7, 8, 9]
    assert [one["url"] for one in told] == [f"/api/jobs/{job}/images/{index}.png" for index in range(3)]
    assert events[-1][1] == "done"


@pytest.mark.parametrize(
    ("model", "more", "options"),
    [
        ("labelled", {"condition": {"label": 1}, "size": [12, 16], "stride": 2}, {"label": 1}),
        (
            "labelled",
            {"condition": {"label": ["brick", "moon"]}, "mix": "left-right"},
            {"label": ["brick", "moon"]},
        ),
        ("labelled", {"condition": {"label": ["brick", 2]}, "micro_batch": 2}, {"label": ["brick", 2]}),
        (
            "masked",
            {"options": {"steps": 3, "order": "halton"}, "micro_batch": 2},
            {"steps": 3, "order": "halton"},
        ),
    ],
)
def test_each_option_reaches_the_model(client, folder, model, more, options):
    job, _ = drawn(client, model=model, num=2, seed=1, **more)
    said = {name: value for name, value in more.items() if name not in ("condition", "options")}
    ours = smalti.load(folder / model).sample(2, seed=1, **{"micro_batch": 1, **said, **options})
    for index, image in enumerate(ours):
        assert np.array_equal(np.asarray(png_of(client, job, index)), np.asarray(image))


def test_an_image_is_completed_as_the_library_does_it(client, labelled):
    image = picture()
    mask = np.zeros((8, 12, 4), np.uint8)  # as a browser's canvas gives it
    mask[..., 3] = 255
    mask[2:6, 4:12, :3] = 255
    wish = {"model": "labelled", "condition": {"label": 0}, "num": 2, "seed": 3}
    job, events = drawn(client, "/api/complete", image=url(image), mask=url(Image.fromarray(mask)), **wish)
    ours = labelled.complete(image, mask[..., 0] > 0, label=0, num=2, seed=3, micro_batch=1)
    for index, found in enumerate(ours):
        assert np.array_equal(np.asarray(png_of(client, job, index)), np.asarray(found))
    order = next(data["order"] for _, name, data in events if name == "image")
    assert [[came == 0 for came in row] for row in order] == (mask[::2, ::2, 0] == 0).tolist()
    assert sorted(came for row in order for came in row if came > 0) == list(range(1, 9))


def test_an_image_that_was_drawn_goes_on_with_the_codes_it_was_drawn_of(client, labelled, studio):
    first, _ = drawn(client, model="labelled", condition={"label": 2}, seed=5)
    address = f"/api/jobs/{first}/images/0.png"
    codes = studio.jobs.find(first).images[0].codes
    told = client.post("/api/encode", json={"model": "labelled", "image": address}).json()
    assert told == {"codes": codes.tolist(), "nats": None}
    job, _ = drawn(
        client, "/api/complete", model="labelled", condition={"label": 2}, image=address, keep="left:0.5"
    )
    assert torch.equal(studio.jobs.find(job).images[0].codes[:, :3], codes[:, :3])
    other, _ = drawn(client, "/api/complete", model="masked", image=address, keep="left:0.5")
    encoded = smalti.Tokenizer.encode(studio.models.get("masked").tokenizer, labelled.tokenizer.decode(codes))
    assert studio.jobs.find(other).images[0].codes.shape == encoded[0].shape
    gone = client.post("/api/encode", json={"model": "labelled", "image": "/api/jobs/nobody/images/0.png"})
    assert "that a job of this studio drew" in refusal(gone)


def test_a_canvas_grows_around_an_image(client, labelled, studio):
    first, _ = drawn(client, model="labelled", condition={"label": 2}, seed=5)
    codes = studio.jobs.find(first).images[0].codes
    wish = {"model": "labelled", "condition": {"label": 1}, "size": [12, 16], "seed": 1}
    image, mask = f"/api/jobs/{first}/images/0.png", Image.new("L", (16, 12))
    mask.paste(255, (4, 2, 6, 4))
    for at, more, gone in [([2, 1], {}, ()), ([0, 0], {"mask": url(mask)}, [(1, 2)])]:
        job, _ = drawn(client, "/api/complete", image=image, at=at, **wish, **more)
        grown = studio.jobs.find(job).images[0].codes
        assert grown.shape == (6, 8)
        kept = grown[at[0] : at[0] + 4, at[1] : at[1] + 6] == codes
        assert all(kept[cell] for cell in np.ndindex(4, 6) if cell not in gone)
        canvas, new = torch.zeros(6, 8, dtype=torch.int64), torch.ones(6, 8, dtype=torch.bool)
        canvas[at[0] : at[0] + 4, at[1] : at[1] + 6] = codes
        new[at[0] : at[0] + 4, at[1] : at[1] + 6] = False
        for cell in gone:
            new[cell] = True
        ours = labelled.complete(canvas, new, label=1, seed=1, micro_batch=1)
        assert torch.equal(ours.codes[0], grown)
    for at in ([3, 0], [0, -1], [0, 3]):
        answer = client.post("/api/complete", json={**wish, "image": image, "at": at})
        assert "at as the row and column" in refusal(answer)


def test_previews_show_what_is_laid_and_nothing_else(labelled):
    codes = labelled.sample(label=0).codes
    laid = torch.zeros_like(codes, dtype=torch.bool)
    laid[:, :2] = True
    (image,) = previewed(labelled.tokenizer, codes, laid)
    assert image.size == (12, 8)
    assert (np.asarray(image)[..., 3] == np.where(np.arange(8) < 4, 255, 0)[:, None]).all()
    (whole,) = previewed(labelled.tokenizer, codes, torch.ones_like(laid))
    ours = imaging.to_pil(labelled.tokenizer.decode(codes))[0]
    assert np.array_equal(np.asarray(whole)[..., :3], np.asarray(ours))
    other = torch.where(laid, codes, 11)
    assert np.array_equal(np.asarray(previewed(labelled.tokenizer, other, laid)[0]), np.asarray(image))


class Alone(Job):
    """A job whose own time goes on by `each` seconds a pass, whatever the clock says."""

    def __init__(self, each: float, listeners: int = 1) -> None:
        super().__init__("somebody", "labelled", 1, lambda job: iter(()), Limits())
        self.each, self.shown = each, []
        self.channel = SimpleNamespace(listeners=listeners, post=lambda *told: None, drop=lambda about: None)

    def draw(self, model, **more) -> None:
        for _ in Drawing(model, {"label": 0, **more})(self):
            self.spent += self.each

    def show(self, index, told) -> None:
        self.shown.append(told)


@pytest.mark.parametrize(
    ("each", "cost", "cells"),
    [(0.0, 0.0, [1]), (0.125, 0.0, list(range(1, 24, 2))), (0.125, 0.25, [1, 13])],
)
def test_previews_take_a_share_of_the_turns_that_a_job_has(labelled, monkeypatch, each, cost, cells):
    now = [0.0]

    def preview(tokenizer, codes, laid):
        now[0] += cost
        return [picture()]

    monkeypatch.setattr("smalti.studio.drawing.previewed", preview)
    monkeypatch.setattr("smalti.studio.drawing.time", SimpleNamespace(monotonic=lambda: now[0]))
    seen, unseen = Alone(each), Alone(each, listeners=0)
    for job in (seen, unseen):
        job.draw(labelled)
    assert [told["cells"] for told in seen.shown] == cells
    assert all(told["preview"] for told in seen.shown)
    assert not any(told["preview"] for told in unseen.shown), "nobody looks"
    assert unseen.images[0].png == seen.images[0].png


@pytest.mark.parametrize(("each", "cells"), [(0.0, []), (0.125, [14, 16, 18, 20, 22])])
def test_a_part_that_is_drawn_anew_is_shown_only_where_that_takes_long(labelled, each, cells):
    job = Alone(each)
    job.draw(labelled, image=torch.zeros(3, 8, 12), keep="top:0.5")
    assert [told["cells"] for told in job.shown] == cells


def test_connections_are_told_to_wait_for_nothing():
    """Python's event loop does so where the socket says that it is TCP."""
    with listen("127.0.0.1", 0) as found:
        assert found.proto == socket.IPPROTO_TCP


def test_the_time_left_is_told_when_some_is_known(labelled, monkeypatch):
    now = iter(range(1000))
    monkeypatch.setattr("smalti.studio.drawing.time", SimpleNamespace(monotonic=lambda: next(now)))
    monkeypatch.setattr("smalti.studio.drawing.EVERY", 0.0)
    monkeypatch.setattr("smalti.studio.drawing.SHARE", 1e9)
    job = Alone(2.0, listeners=0)
    job.draw(labelled)
    assert [told["cells"] for told in job.shown] == list(range(1, 24, 2))
    left = [told["left_seconds"] for told in job.shown]
    assert left[0] is None, "of a cell of 24"
    assert left[1] == 35.0, "of three in five seconds"
    assert all(one > 0 for one in left[1:])


def test_events_say_how_far_an_image_is(client, studio, monkeypatch):
    monkeypatch.setattr("smalti.studio.drawing.EVERY", 0.0)
    job, events = drawn(client, model="labelled", condition={"label": 0}, num=2)
    numbers = [number for number, _, _ in events]
    assert numbers == sorted(set(numbers))
    assert [name for _, name, _ in events if name != "progress"] == ["image", "image", "done"]
    for _, name, data in events:
        if name == "progress":
            assert data["of"] == 24
            assert 0 < data["cells"] < 24
            assert data["index"] in (0, 1)
    assert [name for _, name, _ in events_of(client, job, after=numbers[-2])] == ["done"]
    assert (
        client.get(f"/api/jobs/{job}/events", headers={"last-event-id": str(numbers[-1])}).status_code == 204
    )
    told = client.get(f"/api/jobs/{job}").json()
    assert told["state"] == "done"
    assert [one["index"] for one in told["images"]] == [0, 1]


def test_a_tokenizer_is_looked_into(client, folder):
    tokenizer = smalti.load(folder / "tokenizer")
    image = picture(9, 13)  # cut to whole cells
    codes = tokenizer.encode(image.crop((0, 0, 12, 8)))[0]
    for model in ("tokenizer", "labelled"):
        assert (
            client.post("/api/encode", json={"model": model, "image": url(image)}).json()["codes"]
            == codes.tolist()
        )
    ours = imaging.to_pil(tokenizer.decode(codes))[0]
    told = client.post("/api/decode", json={"model": "tokenizer", "codes": codes.tolist()}).json()["image"]
    assert np.array_equal(np.asarray(image_of(told)), np.asarray(ours))
    told = client.post("/api/reconstruct", json={"model": "tokenizer", "image": url(image)}).json()["image"]
    assert np.array_equal(np.asarray(image_of(told)), np.asarray(ours))
    told = client.post(
        "/api/reconstruct", json={"model": "tokenizer", "image": url(image), "size": [4, 6]}
    ).json()
    assert image_of(told["image"]).size == (6, 4)


def test_how_likely_each_cell_is(client, labelled):
    image = picture()
    told = client.post(
        "/api/encode", json={"model": "labelled", "image": url(image), "condition": {"label": 1}}
    )
    nats = torch.tensor(told.json()["nats"])
    assert nats.shape == (4, 6)
    assert nats.mean().item() == pytest.approx(labelled.nats_per_token(image, label=1), abs=1e-4)
    codes = labelled.tokenizer.encode(image)
    one = labelled.logits(codes, label=1).log_softmax(-1)[0, 7, labelled.sequence(codes)[0, 7]]
    assert nats.flatten()[labelled.order[7]].item() == pytest.approx(-one.item(), abs=1e-4)
    larger = {"model": "labelled", "image": url(picture(12, 12)), "condition": {"label": 1}}
    assert client.post("/api/encode", json=larger).json()["nats"] is None
    masked = {"model": "masked", "image": url(image)}
    assert client.post("/api/encode", json=masked).json()["nats"] is None


def test_cells_are_told_where_they_lie_whatever_the_order():
    model = generator("gpt", LABELS, order="alternate", grid=(4, 6))
    codes = model.sample(label=0, seed=2).codes[0]
    found = torch.tensor(looking.nats(model, codes, {"label": 0})).flatten()
    scores = model.logits(codes[None], label=0)[0].log_softmax(-1)
    expected = -scores.gather(1, model.sequence(codes[None])[0][:, None])[:, 0][inverse(model.order)]
    assert torch.allclose(found, expected, atol=1e-4)


def test_pieces_of_the_codebook(client, folder):
    tokenizer = smalti.load(folder / "tokenizer")
    answer = client.get("/api/codebook/tokenizer?codes=3,0,11&columns=2")
    image = np.asarray(image_of(answer.content))
    assert image.shape == (4, 4, 3)
    three = np.asarray(imaging.to_pil(tokenizer.decode(torch.full((3, 3), 3)))[0])[2:4, 2:4]
    assert np.array_equal(image[:2, :2], three)
    assert image_of(client.get("/api/codebook/labelled").content).size == (24, 2)
    assert "codes from 0 to 11" in refusal(client.get("/api/codebook/tokenizer?codes=12"))
    assert "whole numbers" in refusal(client.get("/api/codebook/tokenizer?codes=-1"))
    assert "whole numbers" in refusal(client.get("/api/codebook/tokenizer?codes=1e9"))
    assert "columns" in refusal(client.get("/api/codebook/tokenizer?columns="))


def png_of_size(height: int, width: int) -> bytes:
    """A PNG whose header promises so much, and in which little is."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


GOOD = url(picture())
BAD_IMAGES = {
    "100 megapixels": (url(png_of_size(10_000, 10_000)), "100000000 pixels, above the limit of 10000"),
    "far more": (url(png_of_size(2**31 - 1, 2**31 - 1)), "above the limit"),
    "a bit more": (url(picture(101, 100)), "10100 pixels, above the limit of 10000"),
    "half a file": (url(image_of(GOOD).tobytes()[:50]), "no format that Pillow knows"),
    "cut off": (GOOD[: 22 + len(GOOD) // 8 * 4], "an image that can be read"),
    "no base64": ("data:image/png;base64,%%%", "base64"),
    "not an image": ("data:text/html;base64,PGI+", "data:image/png"),
    "a path": ("/etc/passwd", "data:image/png"),
    "an address": ("http://169.254.169.254/x.png", "data:image/png"),
    "a job's": ("/api/jobs/../../x", "that a job of this studio drew"),
    "postscript": (
        url(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"),
        "EPS, which is no image of pixels",
    ),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("path", ["/api/complete", "/api/encode", "/api/reconstruct"])
@pytest.mark.parametrize("name", BAD_IMAGES)
def test_bad_images_are_refused(client, path, name):
    image, expected = BAD_IMAGES[name]
    body = {"model": "labelled", "image": image}
    body |= {"condition": {"label": 0}} if path == "/api/complete" else {}
    assert expected in refusal(client.post(path, json=body))


def wish(**more):
    return {"model": "labelled", "condition": {"label": 0}, **more}


BAD_WISHES = {
    "no model": ({"num": 1}, "request.model"),
    "another model": (wish(model="/etc/passwd"), "one of the opened models, labelled, masked, tokenizer"),
    "a tokenizer": (wish(model="tokenizer"), "a model that draws"),
    "a slip": (wish(temprature=1), "did you mean request.temperature"),
    "too many": (wish(num=10), "at most 9 images"),
    "none": (wish(num=0), "a number from 1"),
    "too many together": (wish(micro_batch=9), "micro_batch of at most 8"),
    "too large": (wish(size=[64, 64]), "at most 2000 pixels"),
    "too large together": (wish(size=[16, 20], micro_batch=8), "16 x 20, 8 together"),
    "between cells": (wish(size=[9, 12]), "multiples of 2"),
    "far too large": (wish(size=[10**9, 10**9]), "at most 2000 pixels"),
    "no size": (wish(size=[0, 0]), "size"),
    "negative": (wish(size=[-8, -12]), "size"),
    "a huge seed": (wish(seed=2**63), "64 bits"),
    "text for a number": (wish(temperature="hot"), "request.temperature"),
    "not a number": (
        '{"model": "labelled", "temperature": NaN, "condition": {"label": 0}}',
        "request.temperature",
    ),
    "no temperature": (wish(temperature=0), "temperature"),
    "another class": (wish(condition={"label": "bricks"}), "did you mean brick"),
    "no class": (wish(condition={}), "a label"),
    "another condition": (wish(condition={"text": "a brick"}), "condition among label"),
    "an option there": (wish(condition={"label": 0, "num": 10**6}), "condition among label"),
    "a file's name": (wish(condition={"from_image": "/etc/passwd"}), "an image as data:image/png"),
    "another prior's": (wish(options={"steps": 3}), "options among none"),
    "a megabyte of text": (wish(condition={"label": "brick" * 200_000}), "texts of at most 100 characters"),
    "a megabyte that seems an image": (
        wish(condition={"label": GOOD * 100}),
        "texts of at most 100 characters",
    ),
    "a text that begins as one": (wish(condition={"label": "data: moon"}), "the name or number of a class"),
    "a long key": (wish(condition={"x" * 10_000: 1}), "texts of at most 100 characters"),
    "deep": (wish(condition={"label": json.loads("[" * 30 + "]" * 30)}), "lists within lists"),
    "deeper": ("[" * 100_000, "a request in JSON"),
    "a list": ("[]", "a JSON object"),
    "no JSON": ("model=labelled", "a request in JSON"),
    "nothing": ("", "a request in JSON"),
    "no text": (b"\xff\xfe\x00", "a request in JSON"),
}


@pytest.mark.parametrize("name", BAD_WISHES)
def test_bad_wishes_are_refused(client, studio, name):
    body, expected = BAD_WISHES[name]
    data = body if isinstance(body, str | bytes) else json.dumps(body)
    assert expected in refusal(client.post("/api/sample", content=data))
    assert all(job.state != "running" for job in studio.jobs._all.values())


def test_many_images_are_no_way_around_the_limit(client):
    images = [url(Image.new("L", (60, 60))) for _ in range(3)]
    answer = client.post("/api/sample", json=wish(num=3, condition={"from_image": images}))
    assert "3600 pixels, above the limit of 2800" in refusal(answer)


def test_bad_codes_are_refused(client):
    for codes, expected in [
        ([[1, 2], [3]], "codes (b, h, w)"),
        ([[12, 0]], "codes from 0 to 11"),
        ([[10**30]], "codes (b, h, w)"),
        ([], "codes"),
        ([[0] * 100] * 100, "at most 2000 pixels"),
    ]:
        assert expected in refusal(client.post("/api/decode", json={"model": "tokenizer", "codes": codes})), (
            codes
        )


def test_what_is_not_there_is_said(client):
    for path in (
        "/api/nothing",
        "/nothing.js",
        "/api/jobs/none",
        "/api/jobs/none/events",
        "/../pyproject.toml",
    ):
        refusal(client.get(path), 404)
    refusal(client.delete("/api/sample"), 405)
    job, _ = drawn(client, **wish())
    assert "an image below 1" in refusal(client.get(f"/api/jobs/{job}/images/1.png"), 404)
    refusal(client.get(f"/api/jobs/{job}/images/-1.png"), 404)


def test_an_error_of_ours_is_said_without_a_traceback(client, monkeypatch):
    def breaks(*given):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(looking, "encoded", breaks)
    told = client.post("/api/encode", json={"model": "tokenizer", "image": GOOD})
    assert "ZeroDivisionError: oh" in refusal(told, 500)


def test_a_full_memory_is_one_line_and_the_next_request_is_answered(client, monkeypatch):
    def is_full(*given):
        raise MemoryError

    with monkeypatch.context() as within:
        within.setattr(looking, "encoded", is_full)
        within.setattr(Drawing, "_see", is_full)
        told = client.post("/api/encode", json={"model": "tokenizer", "image": GOOD})
        assert "memory for this request" in refusal(told, 503)
        _, events = drawn(client, **wish(size=[12, 16]))
        assert events[-1][1] == "failed"
        assert events[-1][2]["expected"] == "memory for this drawing"
    assert drawn(client, **wish())[1][-1][1] == "done"


def test_a_cancelled_job_lays_no_other_cell(client, monkeypatch):
    calls, reached, go = [], threading.Event(), threading.Event()
    before = Drawing._see

    def watch(self, codes, laid):
        calls.append(int(laid.sum()))
        if len(calls) == 4:
            reached.set()
            go.wait(60)
        before(self, codes, laid)

    monkeypatch.setattr(Drawing, "_see", watch)
    job = client.post("/api/sample", json=wish(num=9)).json()["job"]
    assert reached.wait(60)
    assert client.delete(f"/api/jobs/{job}").json()["state"] == "cancelled"
    assert events_of(client, job)[-1][1:] == ("cancelled", {})
    go.set()
    _, events = drawn(client, **wish(num=1))  # after the turn in which the other one is left
    assert events[-1][1] == "done"
    assert calls[:4] == [0, 1, 2, 3]
    assert calls[4] == 0, "of the next image"


def test_the_description_names_every_request_and_no_other(client, studio):
    told = client.get("/api/openapi.json").json()
    assert told["openapi"].startswith("3.1")
    there = {(one.plain, one.method.lower()) for one in studio.endpoints()}
    assert {(path, method) for path, methods in told["paths"].items() for method in methods} == there
    routes = client.app.app.routes[:-1]
    assert {(route.path, *route.methods & {"GET", "POST", "DELETE"}) for route in routes} == {
        (one.path, one.method) for one in studio.endpoints()
    }
    schemas = told["components"]["schemas"]
    assert schemas["Sampling"]["properties"]["num"]["default"] == 1
    assert set(schemas) == {"Mistake", "Sampling", "Completing", "Looking", "Decoding"}
    for path, methods in told["paths"].items():
        for one in methods.values():
            assert one["summary"].endswith("."), path
            named = {parameter["name"] for parameter in one["parameters"] if parameter["in"] == "path"}
            assert all(f"{{{name}}}" in path for name in named)
            assert len(named) == path.count("{")


def test_answers_have_what_the_description_says(client):
    schemas = {
        "/api/models": openapi.MODEL,
        "/api/models#conditions": openapi.CONDITION,
    }
    found = client.get("/api/models").json()
    assert [one["name"] for one in found] == ["labelled", "masked", "tokenizer"]
    for one in found:
        assert set(schemas["/api/models"]["required"]) <= set(one)
        for condition in one["conditions"]:
            assert set(schemas["/api/models#conditions"]["required"]) <= set(condition)
    job, events = drawn(client, **wish())
    assert set(client.get(f"/api/jobs/{job}").json()) == set(openapi.JOB["required"])
    image = next(data for _, name, data in events if name == "image")
    assert set(image) == set(openapi.IMAGE["required"])
    assert set(client.post("/api/sample", json=wish()).json()) == set(openapi.BEGUN["required"])
    assert client.get("/api/limits").json() == vars(
        Limits(upload_pixels=10_000, pixels=2_000, num=9, text=100)
    )


def test_formats_are_those_that_start_no_program():
    assert set(pictures.FORMATS) == {"PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF"}
