"""Who is let into the studio: this machine's page and programs; others by a token; nothing too large."""

import socket

import pytest
from studios import HERE, PORT, client_of, drawn, opened, picture, url

from smalti.errors import UserError
from smalti.studio import safety
from smalti.studio.safety import Door

TOKEN = "correct-horse-battery"


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    made = opened(tmp_path_factory.mktemp("models"), upload_bytes=100_000)
    yield made
    made.jobs.close()
    made.turns.close()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:7860", 200),
        ("localhost:7860", 200),
        ("LOCALHOST", 200),
        ("[::1]:7860", 200),
        ("evil.example:7860", 403),  # a name that its owner makes mean this machine
        ("127.0.0.1.evil.example", 403),
        ("192.168.1.7:7860", 403),
        ("", 403),
    ],
)
def test_only_names_of_this_machine(client, host, status):
    for path in ("/", "/api/limits"):
        assert client.get(path, headers={"host": host}).status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 202),
        ({"origin": HERE}, 202),
        ({"origin": HERE, "sec-fetch-site": "same-origin"}, 202),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-site"}, 403),  # another server here
        ({"origin": f"http://127.0.0.1:{PORT}.evil.example"}, 403),
        ({"origin": "null"}, 403),  # a file, or a frame in a sandbox
        ({"sec-fetch-site": "cross-site"}, 403),
    ],
)
def test_only_our_own_page_may_change_anything(client, studio, headers, status):
    wish = {"model": "masked"}
    answer = client.post("/api/sample", json=wish, headers=headers)
    assert answer.status_code == status
    job = answer.json()["job"] if status == 202 else drawn(client, **wish)[0]
    gone = client.delete(f"/api/jobs/{job}", headers=headers)
    assert gone.status_code == (200 if status == 202 else 403)


def test_other_pages_see_nothing(client):
    job, _ = drawn(client, model="masked")
    for path in ("/api/models", f"/api/jobs/{job}/images/0.png", "/index.html"):
        assert client.get(path, headers={"sec-fetch-site": "cross-site"}).status_code == 403
        answer = client.get(path, headers={"origin": "http://evil.example"})
        assert "access-control-allow-origin" not in answer.headers
    assert client.get("/", headers={"sec-fetch-site": "cross-site"}).status_code == 200, "a link to the page"


def test_every_answer_has_the_headers(client):
    for answer in (
        client.get("/"),
        client.get("/api/limits"),
        client.get("/nothing"),
        client.post("/api/sample"),
    ):
        for name in safety.HEADERS:
            assert name in answer.headers, answer.request.url
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_a_token_is_asked_for(studio):
    with client_of(studio, TOKEN) as client:
        for path in ("/", "/index.html", "/api/models", "/?token=wrong", "/api/models?token=" + TOKEN):
            assert client.get(path).status_code == 401
        assert client.get("/api/limits", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
        assert client.get("/api/limits", headers={"authorization": "Bearer wrong"}).status_code == 401
        answer = client.get(f"/?token={TOKEN}", follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        kept = next(one for one in answer.headers.get_list("set-cookie") if TOKEN in one)
        assert "HttpOnly" in kept
        assert "SameSite=Strict" in kept
        assert client.get("/api/limits").status_code == 200, "the cookie was kept"
        assert client.get("/").status_code == 200
        foreign = client.post("/api/sample", json={}, headers={"origin": "http://evil.example"})
        assert foreign.status_code == 403, "a token is no way around"


def test_others_come_by_address_or_by_this_machines_name(studio):
    with client_of(studio, TOKEN, host="0.0.0.0", headers={"authorization": f"Bearer {TOKEN}"}) as client:
        for host, status in [("192.168.1.7:7860", 200), ("evil.example", 403), ("localhost", 200)]:
            assert client.get("/api/limits", headers={"host": host}).status_code == status


def test_large_requests_are_not_read(client):
    body = {"model": "tokenizer", "image": url(picture(200, 300))}
    answer = client.post("/api/encode", json=body)
    assert answer.status_code == 413
    assert "at most 100000 bytes" in answer.json()["expected"]

    def pieces():
        for _ in range(1000):
            yield b"x" * 1000

    assert client.post("/api/encode", content=pieces()).status_code == 413
    assert client.post("/api/encode", content=b"", headers={"content-length": "-5"}).status_code == 413
    assert client.post("/api/sample", json={"model": "m" * 10**6}).status_code == 413


def test_no_file_beside_the_page_is_served(client):
    for path in ("/%2e%2e/app.py", "/..%2fapp.py", "/%2fetc/passwd", "/.%00./app.py", "/..%5capp.py"):
        assert client.get(path).status_code in (403, 404), path


def test_clients_are_told_apart_by_a_cookie(studio):
    with client_of(studio) as one, client_of(studio) as other:
        first = one.get("/").cookies[safety.CLIENT]
        assert "set-cookie" not in one.get("/").headers, "it is kept"
        assert other.get("/").cookies[safety.CLIENT] != first
        job = one.post("/api/sample", json={"model": "masked"}).json()["job"]
        assert studio.jobs.find(job).client == first
        odd = {"cookie": f'of another server={{"a": 1}}; x; {safety.CLIENT}={first}; ='}
        assert "set-cookie" not in one.get("/", headers=odd).headers
    with client_of(studio, cookies={safety.CLIENT: "a" * 5000}) as forged:
        assert len(forged.get("/").headers["set-cookie"]) < 200


def test_tokens_that_could_be_guessed():
    assert safety.checked(TOKEN) == TOKEN
    assert safety.checked(safety.new_token()) != safety.new_token()
    for token in ("short", "", "a b" * 10, "é" * 20, "x;y" * 10):
        with pytest.raises(UserError, match="at least 16"):
            safety.checked(token)


@pytest.mark.parametrize(
    ("host", "is_local"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False)],
)
def test_what_only_this_machine_can_reach(host, is_local):
    assert safety.is_loopback(host) == is_local


def test_addresses_that_are_printed():
    assert Door("127.0.0.1", 7860, None, 1).address == "http://127.0.0.1:7860/"
    assert Door("::1", 80, TOKEN, 1).address == f"http://[::1]:80/?token={TOKEN}"
    assert Door("0.0.0.0", 80, None, 1).address == f"http://{socket.gethostname()}:80/"
