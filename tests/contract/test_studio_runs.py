"""Runs in the studio: read while they go on, and nothing outside of their folder."""

import json

import pytest
import yaml
from PIL import Image
from studios import client_of, opened

from smalti.errors import UserError
from smalti.studio import runs as runs_module
from smalti.studio.runs import Runs


def line(step, kind="train", **values):
    return json.dumps({"step": step, "kind": kind, **values}) + "\n"


def run_in(folder, name="photos", steps=40, lines=()):
    root = folder / name
    (root / "samples").mkdir(parents=True)
    (root / "settings.yaml").write_text(yaml.safe_dump({"kind": "prior", "steps": steps}))
    (root / "log.jsonl").write_text("".join(lines) or line(0, "note", text="begun"))
    return root


@pytest.fixture
def folder(tmp_path):
    train = [line(step, loss=1 / step) for step in range(1, 21)]
    alarm = line(20, "alarm", name="codebook_collapse", finding="few", remedy="fewer codes")
    root = run_in(tmp_path / "runs", lines=[*train, alarm, line(20, "validation", fid=3.5)])
    for step in (10, 20):
        Image.new("RGB", (4, 2)).save(root / "samples" / f"step-{step:08}.png")
    run_in(tmp_path / "runs", "done", steps=5, lines=[line(5, loss="nan")])
    (tmp_path / "runs" / "models").mkdir()
    secret = run_in(tmp_path, "secret")
    (tmp_path / "runs" / "link").symlink_to(secret)
    return tmp_path / "runs"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def client(models, folder):
    with client_of(opened(models, runs=folder)) as found:
        yield found


def test_runs_are_listed(client):
    found = {one["name"]: one for one in client.get("/api/runs").json()}
    assert set(found) == {"photos", "done"}
    photos = found["photos"]
    assert {name: photos[name] for name in ("kind", "step", "steps", "state", "alarms")} == {
        "kind": "prior",
        "step": 20,
        "steps": 40,
        "state": "running",
        "alarms": 1,
    }
    assert found["done"]["state"] == "done"


def test_a_run_that_is_quiet_has_stopped(folder, monkeypatch):
    monkeypatch.setattr(runs_module, "QUIET", -1.0)
    assert {one["name"]: one["state"] for one in Runs(folder).list()} == {"photos": "stopped", "done": "done"}


def test_a_run_is_told(client, monkeypatch):
    monkeypatch.setattr(runs_module, "LINES", 8)
    told = client.get("/api/runs/photos").json()
    train = [one["step"] for one in told["lines"] if one["kind"] == "train"]
    assert train == [2, 5, 8, 11, 14, 17, 20]
    assert [one["fid"] for one in told["lines"] if one["kind"] == "validation"] == [3.5]
    assert [one["remedy"] for one in told["alarms"]] == ["fewer codes"]
    assert [one["step"] for one in told["sheets"]] == [10, 20]
    answer = client.get(told["sheets"][0]["url"])
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert client.get("/api/runs/photos/samples/11.png").status_code == 404


@pytest.mark.parametrize(
    "name", ["link", "secret", "..", "../secret", "models", "%2e%2e", "photos/../../secret", ""]
)
def test_nothing_else_is_read(client, name):
    assert client.get(f"/api/runs/{name}").status_code in (400, 404) or not name
    assert client.get(f"/api/runs/{name}/samples/0.png").status_code in (400, 404)
    assert client.get(f"/api/runs/{name}/events").status_code in (400, 404)


def test_a_folder_that_is_a_run(folder):
    assert [one["name"] for one in Runs(folder / "photos").list()] == ["photos"]
    with pytest.raises(UserError, match="a folder of runs"):
        Runs(folder / "nothing")
    assert Runs(None).list() == []


async def followed(runs, at, count, change):
    """The first events of a run, between which it changes."""
    found, changes = [], iter(change)
    async for event in runs.follow("photos", at):
        found.append((event.number, event.name, event.data))
        if len(found) == count:
            return found
        next(changes, lambda: None)()
    raise AssertionError("it ended")


def test_a_run_is_followed(folder, monkeypatch):
    import anyio

    monkeypatch.setattr(runs_module, "EVERY", 0.01)
    log, runs = folder / "photos" / "log.jsonl", Runs(folder)
    at = runs.tell("photos")["at"]

    def more(text):
        with log.open("a") as file:
            file.write(text)

    def drawn():
        more(line(22, loss=0.2)[20:])
        Image.new("RGB", (4, 2)).save(folder / "photos" / "samples" / "step-00000022.png")

    more(line(21, loss=0.3) + line(22, loss=0.2)[:20])  # of which one is half written
    found = anyio.run(followed, runs, at, 5, [drawn, lambda: None, lambda: log.write_text(line(3, loss=0.5))])
    assert [(name, data.get("step")) for _, name, data in found] == [
        ("line", 21),
        ("line", 22),
        ("sheet", 22),
        ("again", None),
        ("line", 3),
    ]
    assert [number for number, _, _ in found][:2] == [
        at + len(line(21, loss=0.3)),
        at + 2 * len(line(21, loss=0.3)),
    ]
