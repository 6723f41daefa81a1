"""A person starts the studio and asks it: by the command, on a port, as others do meanwhile."""

import os
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
import yaml
from PIL import Image
from studios import url

from smalti.imaging import read_metadata
from smalti.studio import safety

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0  # seconds after which a test gives up


@contextmanager
def running(*words):
    """The command on a free port, and its address, while it runs; it must end quietly.

    With one thread, as the tests: another count rounds otherwise.
    """
    how = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "smalti", "studio", *map(str, words), "--port", "0", "--no-open"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=how) as process:
        try:
            found = re.search(r"(http://\S+)", process.stderr.readline())
            assert found, process.stderr.read()
            yield found[1]
        finally:
            process.terminate()
            said = process.stderr.read()
    assert process.returncode in (0, -15), said
    assert "Traceback" not in said, said


@pytest.fixture(scope="module")
def address():
    with running() as found:
        yield found


def asks(address, **more) -> httpx.Client:
    return httpx.Client(base_url=address, timeout=PATIENCE, **more)


def events(client, job):
    """Event and data of a job as they come."""
    with client.stream("GET", f"/api/jobs/{job}/events") as answer:
        name = ""
        for line in answer.iter_lines():
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                yield name, yaml.safe_load(line[6:])


def begun(client, **more) -> str:
    wish = {"model": "emoji", "condition": {"text": "red heart"}, **more}
    answer = client.post("/api/sample", json=wish)
    assert answer.status_code == 202, answer.text
    return answer.json()["job"]


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_the_page_is_there_before_the_models(address):
    with asks(address) as client:
        assert "<html" in client.get("/").text
        assert [one["name"] for one in client.get("/api/models").json()] == ["emoji"]


def test_an_image_is_that_of_the_command(address, smalti_command, home):
    more = ("--seed", 3, "--guidance", 2, "--top-p", 0.95, "--micro-batch", 1)
    status, _, said = smalti_command("sample", "emoji", "drawn", "--text", "red heart", "--num", 2, *more)
    assert status == 0, said
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 16, 40, 50))
    mask.save("mask.png")
    how = ("--mask", "mask.png", "--text", "apple", "--seed", 1, "--micro-batch", 1)
    status, _, said = smalti_command("complete", "emoji", "drawn/00000.png", "completed", *how)
    assert status == 0, said
    with asks(address) as client:
        job = begun(client, num=2, seed=3, guidance_scale=2, top_p=0.95)
        names = [name for name, _ in events(client, job)]
        assert names[-3:].count("image") >= 1
        assert names[-1] == "done"
        for index in range(2):
            Path(f"{index}.png").write_bytes(client.get(f"/api/jobs/{job}/images/{index}.png").content)
            assert np.array_equal(pixels(f"{index}.png"), pixels(f"drawn/{index:05}.png"))
            assert read_metadata(f"{index}.png") == read_metadata(f"drawn/{index:05}.png")
        data = Path("drawn/00000.png").read_bytes()
        wish = {"image": url(data), "mask": url(mask), "condition": {"text": "apple"}, "seed": 1}
        job = client.post("/api/complete", json={"model": "emoji", **wish}).json()["job"]
        assert [name for name, _ in events(client, job)][-1] == "done"
        Path("c.png").write_bytes(client.get(f"/api/jobs/{job}/images/0.png").content)
    assert np.array_equal(pixels("c.png"), pixels("completed/00000.png"))


def test_eight_people_at_once_get_what_each_gets_alone(address):
    alone, ends, images = {}, {}, {}
    with asks(address) as client:
        for seed in range(8):
            job = begun(client, seed=seed)
            assert list(events(client, job))[-1][0] == "done"
            alone[seed] = client.get(f"/api/jobs/{job}/images/0.png").content
    ready = threading.Barrier(8)

    def person(seed):
        with asks(address) as client:
            client.get("/api/limits")
            ready.wait(PATIENCE)
            begin = time.monotonic()
            job = begun(client, seed=seed)
            assert [name for name, _ in events(client, job)][-1] == "done"
            ends[seed] = time.monotonic() - begin
            images[seed] = client.get(f"/api/jobs/{job}/images/0.png").content

    people = [threading.Thread(target=person, args=(seed,)) for seed in range(8)]
    for one in people:
        one.start()
    for one in people:
        one.join(PATIENCE)
    assert images == alone, "whatever the turns"
    assert len(ends) == 8


def test_a_closed_tab_stops_its_job_only_where_it_asked(address):
    with asks(address) as client:
        for asked, state in ((False, "done"), (True, "cancelled")):
            job = begun(client, num=6, cancel_when_closed=asked)
            next(events(client, job))  # and the stream is closed
            end = time.monotonic() + PATIENCE
            while client.get(f"/api/jobs/{job}").json()["state"] == "running" and time.monotonic() < end:
                time.sleep(0.05)
            assert client.get(f"/api/jobs/{job}").json()["state"] == state


def test_a_cancelled_job_keeps_what_was_drawn(address):
    with asks(address) as client:
        job = begun(client, num=64)
        first, ended = None, []
        for name, data in events(client, job):
            if name == "image" and first is None:
                first = data
                kept = client.delete(f"/api/jobs/{job}").json()["images"]
            ended.append(name)
        told = client.get(f"/api/jobs/{job}").json()
        assert (ended[-1], told["state"]) == ("cancelled", "cancelled")
        assert told["images"] == kept  # nothing was drawn after the answer
        assert told["images"][0] == first
        assert client.get(first["url"]).status_code == 200


def test_words_that_were_never_learned_are_told(address):
    with asks(address) as client:
        wish = {"model": "emoji", "condition": {"text": "red xylotomy"}}
        (note,) = client.post("/api/sample", json=wish).json()["notes"]
        assert "no caption of the training had: xylotomy" in note


def test_others_come_by_a_token(home):
    with running("emoji", "--host", "0.0.0.0") as address:
        token = address.partition("token=")[2]
        assert len(token) >= safety.LEAST
        here = re.sub(r"//[^:/]+", "//127.0.0.1", address).partition("?")[0]
        with asks(here) as client:
            assert client.get("/api/limits").status_code == 401
            assert client.get("/", params={"token": token}).status_code == 303
            assert client.get("/api/limits").status_code == 200


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nothing",), "a model folder or a run folder, got nothing, which is not there"),
        (("begun",), "a run that has saved a model"),
        (("emoji", "--runs", "nothing"), "a folder of runs, got nothing"),
        (("--token", "short"), "a token of at least 16"),
        (("--port", "99999"), "99999 is not in the range"),
        (("emoji", "--shards", "nothing"), "a folder of token shards, got nothing"),
        (("--host", "no.such.host.invalid"), "a host that is an address of this machine"),
        (("--host", "192.0.2.1"), "a host that is an address of this machine"),
    ],
)
def test_mistakes_are_one_line(home, smalti_command, words, said):
    Path("begun").mkdir()
    Path("begun/settings.yaml").touch()
    status, _, told = smalti_command("studio", *words, "--no-open")
    assert status == 2
    assert said in told
    assert len([line for line in told.splitlines() if not line.startswith("the studio is at")]) == 1


def test_without_the_extra_it_says_what_to_install():
    code = "import sys; sys.modules['starlette'] = None; from smalti.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "studio"], capture_output=True, text=True)
    said = "smalti: expected the package starlette, got none; pip install 'smalti[studio]'\n"
    assert (done.returncode, done.stderr) == (2, said)


def test_the_client_of_the_documentation(address, home, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "studio.md").read_text(), re.DOTALL)
    assert code.count("studio.") == 3, "three lines of httpx"
    exec(code.replace("http://127.0.0.1:7860", address.rstrip("/")), {})
    assert pixels("heart.png").shape == (64, 64, 3)
