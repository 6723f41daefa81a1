"""How soon the studio is there and shows something, and what eight people at once cost one another.

The command is started with the model that ships, as a person does, and asked through its port: seconds until
the page is there and until its models are; from the click to the first preview and to the image; a quarter
of an image redrawn against all of it; images a second of eight people at once against the same one after the
other, and the longest wait of the eight against the shortest.

    python benchmarks/studio.py --short --out runs/benchmarks
"""

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import common
import httpx
from common import Options

PEOPLE = 8
WISH = {"model": "emoji", "condition": {"text": "red heart"}, "guidance_scale": 3.0}


def main() -> None:
    """One table, a row a question."""
    given = common.options(__doc__)
    common.report("studio", rows(given), given.out)


def rows(given: Options) -> Iterator[dict[str, Any]]:
    """Figures, each the median of several turns."""
    turns = 2 if given.short else 5
    starts = [started() for _ in range(turns)]
    for name, times in zip(("page is there", "models are there"), zip(*starts, strict=True), strict=True):
        yield {"what": f"seconds until the {name}", "value": median(times), "highest": max(times)}
    with studio() as address:
        with asks(address) as client:
            drawn(client)  # the first drawing of a process
            clicks = [drawn(client, seed=seed) for seed in range(turns)]
            whole, quarter = quarters(client, 5 * turns)  # a tenth of a second each
        for name, times in (
            ("first preview", [one for one, _ in clicks]),
            ("image", [two for _, two in clicks]),
        ):
            yield {
                "what": f"seconds from the click to the {name}",
                "value": median(times),
                "highest": max(times),
            }
        yield {"what": "a quarter redrawn against the whole", "times faster": common.ratio(quarter, whole)}
        num = 1 if given.short else 4
        pairs = [(at_once(address, num), one_by_one(address, num)) for _ in range(turns)]
        together, alone = [max(waits) for waits, _ in pairs], [seconds for _, seconds in pairs]
        row = {"what": f"{PEOPLE} people at once, {num} images each, against one after the other"}
        yield {**row, "times faster": common.ratio(together, alone)}
        unfair = [max(waits) / min(waits) for waits, _ in pairs]
        yield {
            "what": "longest wait of these against the shortest",
            "value": median(unfair),
            "highest": max(unfair),
        }


@contextmanager
def studio() -> Iterator[str]:
    """The command on a free port, and its address, while it runs."""
    command = [sys.executable, "-m", "smalti", "studio", "--port", "0", "--no-open"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None, "asked for"
        found = re.search(r"(http://\S+)", process.stderr.readline())
        assert found, "the command said no address"
        try:
            yield found[1]
        finally:
            process.terminate()
            process.stderr.read()


def asks(address: str) -> httpx.Client:
    """A person: cookies are kept."""
    return httpx.Client(base_url=address, timeout=600)


def started() -> tuple[float, float]:
    """Seconds from the command to the page, and to the list of models."""
    begin = time.perf_counter()
    with studio() as address, asks(address) as client:
        client.get("/").raise_for_status()
        page = time.perf_counter() - begin
        client.get("/api/models").raise_for_status()
        return page, time.perf_counter() - begin


def drawn(client: httpx.Client, path: str = "/api/sample", **more: Any) -> tuple[float, float]:
    """Seconds from a request to its first preview and to its end."""
    begin, first = time.perf_counter(), 0.0
    answer = client.post(path, json={**WISH, **more}).raise_for_status().json()
    with client.stream("GET", f"/api/jobs/{answer['job']}/events") as events:
        for line in events.iter_lines():
            if not first and '"preview": "data:' in line:
                first = time.perf_counter() - begin
    return first, time.perf_counter() - begin


def quarters(client: httpx.Client, turns: int) -> tuple[list[float], list[float]]:
    """Seconds of whole images, and of a quarter of each drawn anew: the lower right one."""
    job = client.post("/api/sample", json=WISH).json()["job"]
    client.get(f"/api/jobs/{job}/events")
    wish = {"image": f"/api/jobs/{job}/images/0.png", "mask": lower_right(64, 64)}
    pairs = [
        (drawn(client, seed=seed)[1], drawn(client, "/api/complete", seed=seed, **wish)[1])
        for seed in range(turns)
    ]
    return [whole for whole, _ in pairs], [quarter for _, quarter in pairs]


def lower_right(height: int, width: int) -> str:
    """A mask of the lower right quarter, as a data URL."""
    from PIL import Image

    from smalti.studio.pictures import picture

    mask = Image.new("L", (width, height))
    mask.paste(255, (width // 2, height // 2, width, height))
    return picture(mask)


def at_once(address: str, num: int) -> list[float]:
    """Seconds that each of the people waits who ask at the same moment."""
    ready, waits = threading.Barrier(PEOPLE), []

    def person(seed: int) -> None:
        with asks(address) as client:
            client.get("/api/limits")
            ready.wait()
            waits.append(drawn(client, num=num, seed=seed)[1])

    people = [threading.Thread(target=person, args=(100 * seed,)) for seed in range(PEOPLE)]
    for one in people:
        one.start()
    for one in people:
        one.join()
    assert len(waits) == PEOPLE, "somebody was left without"
    return waits


def one_by_one(address: str, num: int) -> float:
    """Seconds of the same requests, each after the one before."""
    with asks(address) as client:
        return sum(drawn(client, num=num, seed=100 * seed)[1] for seed in range(PEOPLE))


if __name__ == "__main__":
    main()
