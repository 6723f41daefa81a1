"""What every benchmark does alike: both sides in turns, a table, and JSON that says where it was measured."""

import argparse
import gc
import json
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import torch

Work = Callable[[], object]
PACKAGES = ("torch", "numpy", "transformers", "x-transformers", "diffusers", "vector-quantize-pytorch")


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """Two ways of the same work. A ratio belongs to one turn: what slows a machine slows both sides."""

    ours: float  # median seconds
    theirs: float
    low: float  # theirs / ours: how many times the other side's time is ours
    middle: float
    high: float
    turns: int


@dataclass(frozen=True, kw_only=True)
class Options:
    """What every script is told."""

    short: bool  # smaller sizes and fewer turns: does it run, and roughly how fast
    out: Path  # folder of the JSON
    device: torch.device


def options(description: str | None) -> Options:
    """Read --short, --out, --device and --threads."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--short", action="store_true", help="smaller sizes, fewer turns")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"), help="folder of the JSON")
    parser.add_argument("--device", default="cpu", help="cpu, cuda ...")
    parser.add_argument("--threads", type=int, help="of torch; its own choice unless given")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    return Options(short=given.short, out=given.out, device=torch.device(given.device))


def seconds(work: Work) -> float:
    """Of one call, until the accelerator is done."""
    _wait()
    begin = time.perf_counter()
    work()
    _wait()
    return time.perf_counter() - begin


def race(ways: Mapping[str, Work], turns: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Seconds of every way in every turn, one way after the other in each."""
    for _ in range(warm_up):
        for work in ways.values():
            work()
    gc.collect()
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns):
        names = list(ways) if turn % 2 == 0 else list(reversed(ways))  # nobody always comes second
        for name in names:
            found[name].append(seconds(ways[name]))
    return found


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """Of two lists of the same turns."""
    each = sorted(other / own for own, other in zip(ours, theirs, strict=True))
    return Ratio(
        ours=median(ours),
        theirs=median(theirs),
        low=each[0],
        middle=median(each),
        high=each[-1],
        turns=len(each),
    )


def compare(ours: Work, theirs: Work, repeats: int = 7) -> Ratio:
    """Time both sides in turns. Assert before that they give the same: nothing here does."""
    found = race({"ours": ours, "theirs": theirs}, repeats)
    return ratio(found["ours"], found["theirs"])


def peak_memory(work: Work) -> int | None:
    """Most bytes that a call holds beyond what was there before it; None where the system does not tell.

    On a CPU it is the process's resident memory, which counts what the allocator keeps: an upper bound, and
    0 for work that fits into what was freed before. Call it before anything larger has run.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        _wait()
        return torch.cuda.max_memory_allocated() - before
    try:
        Path("/proc/self/clear_refs").write_text("5")  # begins the high-water mark anew (man 5 proc)
        before = _resident("VmRSS")
    except OSError:
        return None
    work()
    return max(0, _resident("VmHWM") - before)


def machine(device: torch.device) -> dict[str, Any]:
    """Where a figure was taken."""
    cuda = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if cuda else _processor(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
    }


def report(
    name: str,
    rows: Sequence[Mapping[str, Any]],
    out: Path,
    *,
    device: torch.device | None = None,
    **more: Any,
) -> None:
    """Print rows as a table and write them to out/name.json; values may be Ratios, numbers or words."""
    where = machine(device or torch.device("cpu"))
    out.mkdir(parents=True, exist_ok=True)
    plain = [{key: asdict(v) if isinstance(v, Ratio) else v for key, v in row.items()} for row in rows]
    whole = {"name": name, "command": " ".join(sys.argv), **where, **more, "rows": plain}
    (out / f"{name}.json").write_text(json.dumps(whole, indent=1, default=str) + "\n", encoding="utf-8")
    print(f"{name}: {where['device']}, {where['threads']} threads, torch {where['versions']['torch']}")
    for line in table(rows):
        print(line)


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines of text, a column as wide as its widest cell."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns, *([_show(row.get(column, "")) for column in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in cells
    ]


def _show(value: Any) -> str:
    if isinstance(value, Ratio):
        return f"{value.middle:.2f}x ({value.low:.2f} .. {value.high:.2f})"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _resident(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {field} in /proc/self/status")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
