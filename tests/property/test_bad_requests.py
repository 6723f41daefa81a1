"""Requests of the API with anything in them: an answer, or a refusal in one line; never a traceback."""

import json
from functools import partial
from random import Random

import httpx2
import mutations
import pytest
import trials
from studios import events_of, opened, picture, url
from test_bad_images import seeds

_IMAGE = url(picture())
_WISHES = (
    (
        "/api/sample",
        {"model": "labelled", "num": 1, "seed": 3, "condition": {"label": "moon"}, "size": [8, 12]},
    ),
    (
        "/api/sample",
        {
            "model": "labelled",
            "num": 2,
            "temperature": 0.9,
            "top_k": 4,
            "top_p": 0.9,
            "condition": {"label": [0, 1]},
        },
    ),
    ("/api/sample", {"model": "masked", "options": {"steps": 2, "order": "halton"}, "guidance_scale": 1.0}),
    ("/api/complete", {"model": "labelled", "image": _IMAGE, "keep": "left:0.5", "condition": {"label": 1}}),
    ("/api/complete", {"model": "masked", "image": _IMAGE, "mask": _IMAGE, "size": [8, 12], "stride": 1}),
    (
        "/api/complete",
        {"model": "labelled", "image": _IMAGE, "at": [0, 1], "size": [12, 16], "condition": {"label": 0}},
    ),
    ("/api/encode", {"model": "tokenizer", "image": _IMAGE, "size": [8, 12]}),
    ("/api/encode", {"model": "labelled", "image": _IMAGE, "condition": {"label": 2}}),
    ("/api/reconstruct", {"model": "tokenizer", "image": _IMAGE}),
    ("/api/decode", {"model": "tokenizer", "codes": [[0, 1, 2], [3, 4, 11]]}),
)
_ASKED = (
    "/api/codebook/tokenizer?codes=1,2&columns=2",
    "/api/occurrences/tokenizer?code=3",
    "/api/runs/first",
    "/api/runs/first/events?at=0",
    "/api/runs/first/samples/3.png",
    "/api/jobs/abc/events",
    "/api/jobs/abc/images/0.png",
)


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    limits = {"upload_pixels": 10_000, "pixels": 2_000, "num": 3, "text": 100, "seconds": 20.0}
    made = opened(tmp_path_factory.mktemp("models"), runs=tmp_path_factory.mktemp("runs"), **limits)
    yield made
    made.jobs.close()
    made.turns.close()


@pytest.fixture(scope="module")
def client(studio):
    from studios import client_of

    with client_of(studio) as found:
        yield found


def asked(rng: Random, client):
    """One request and its answer; None where the client itself refuses to send it."""
    if rng.random() < 0.15:
        path = mutations.changed_text(rng, rng.choice(_ASKED)[5:])
        try:
            return client.request(
                rng.choice(("GET", "GET", "DELETE", "POST", "PUT")), f"/api/{path}", timeout=20
            )
        except (httpx2.InvalidURL, ValueError):  # no address
            return None
    path, wish = rng.choice(_WISHES)
    if rng.random() < 0.3 and "image" in wish:
        data = list(seeds().values())
        wish = {
            **wish,
            rng.choice(("image", "mask")): url(mutations.changed_bytes(rng, rng.choice(data), data)),
        }
        return client.post(path, json=wish)
    return client.post(
        path, content=mutations.as_json(rng, wish), headers={"content-type": "application/json"}
    )


def check(answer, client) -> None:
    """An answer is one, or says what was expected, what came and what to do; a job that began ends well."""
    assert answer.status_code < 500, f"{answer.status_code}: {answer.text[:300]}"
    if answer.status_code >= 400:
        told = answer.json()
        assert set(told) == {"expected", "got", "remedy"}
        assert all(isinstance(one, str) and "\n" not in one for one in told.values()), told
    if answer.status_code == 202:
        (*_, (_, name, told)) = events_of(client, answer.json()["job"])
        assert name in ("done", "failed"), name
        assert name == "done" or "terminal" not in told["remedy"], told


@trials.counts(quick=80, slow=1500)
def test_changed_requests(count, client, record_property):
    def work(number: int) -> None:
        answer = asked(mutations.chance("requests", number), client)
        if answer is not None:
            check(answer, client)

    trials.survive("requests", (partial(work, number) for number in range(count)), record_property)


def test_what_is_sound_is_answered(client):
    for path, wish in _WISHES:
        answer = client.post(path, content=json.dumps(wish))
        assert answer.status_code in (200, 202), answer.text
        check(answer, client)
