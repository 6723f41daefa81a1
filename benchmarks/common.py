"""What every benchmark does alike: both sides in turns, a table, and JSON that says where it was measured."""

import argparse
import gc
import json
import math
import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import memory as held
import torch
from tqdm import tqdm

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
    figures: bool  # the sizes that figures are asked for, and no others; fewer turns
    out: Path  # folder of the JSON
    device: torch.device


def options(description: str | None) -> Options:
    """Read --short, --out, --device and --threads."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--short", action="store_true", help="smaller sizes, fewer turns")
    parser.add_argument("--figures", action="store_true", help="only the sizes that figures are asked for")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"), help="folder of the JSON")
    parser.add_argument("--device", default="cpu", help="cpu, cuda ...")
    parser.add_argument("--threads", type=int, help="of torch; its own choice unless given")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    torch.backends.cudnn.allow_tf32 = False  # float32 means float32: with TF32 equal weights give other codes
    return Options(short=given.short, figures=given.figures, out=given.out, device=torch.device(given.device))


def seconds(work: Work) -> float:
    """Of one call, until the accelerator is done."""
    held.wait()
    begin = time.perf_counter()
    work()
    held.wait()
    return time.perf_counter() - begin


def race(
    ways: Mapping[str, Work],
    turns: int,
    warm_up: int = 1,
    *,
    enough: float = math.inf,
    memory: dict[str, int | None] | None = None,
) -> dict[str, list[float]]:
    """Seconds of every way in every turn, one way after the other in each.

    enough: after so many seconds no further turn begins; a ratio says how many turns it is of.
    memory: is filled with every way's peak memory in the first turn.
    """
    bar = tqdm(total=(warm_up + turns) * len(ways), leave=False)  # on a terminal and off: it is stderr
    for _ in range(warm_up):
        for name, work in ways.items():
            bar.set_description(f"{name}, first call")
            work()
            bar.update()
    gc.collect()
    found: dict[str, list[float]] = {name: [] for name in ways}
    begin = time.perf_counter()
    for turn in range(turns):
        if turn and time.perf_counter() - begin > enough:
            break
        names = list(ways) if turn % 2 == 0 else list(reversed(ways))  # nobody always comes second
        for name in names:
            bar.set_description(name)
            before = held.watch() if memory is not None and not turn else None
            found[name].append(seconds(ways[name]))
            if memory is not None and not turn:
                memory[name] = held.most_since(before)
            bar.update()
    bar.close()
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


def machine(device: torch.device) -> dict[str, Any]:
    """Where a figure was taken."""
    cuda = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if cuda else _processor(),
        "accelerator": cuda,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
    }


def report(
    name: str,
    rows: Iterable[Mapping[str, Any]],
    out: Path,
    *,
    device: torch.device | None = None,
    **more: Any,
) -> None:
    """Print each row as it comes, with all so far in out/name.json; at the end print them as a table.

    Values are Ratios, numbers, words or lists of these. The question is the docstring's first paragraph.
    """
    where = machine(device or torch.device("cpu"))
    out.mkdir(parents=True, exist_ok=True)
    asked = (sys.modules["__main__"].__doc__ or "").split("\n\n")[0].strip().replace("\n", " ")
    told = {"name": name, "question": asked, "command": _command(), "short": "--short" in sys.argv}
    told["date"] = date.today().isoformat()
    print(f"{name}: {where['device']}, {where['threads']} threads, torch {where['versions']['torch']}")
    done: list[Mapping[str, Any]] = []
    for row in rows:  # which are measured one by one: a run that is ended keeps those it has
        done.append(row)
        plain = [{key: asdict(v) if isinstance(v, Ratio) else v for key, v in each.items()} for each in done]
        whole = {**told, **where, **more, "rows": plain}
        (out / f"{name}.json").write_text(json.dumps(whole, indent=1, default=str) + "\n", encoding="utf-8")
        print(", ".join(f"{key} {show(value)}" for key, value in row.items()), flush=True)
    for line in table(done):
        print(line)


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines of text, a column as wide as its widest cell."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns, *([show(row.get(column, "")) for column in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in cells
    ]


def word(dtype: torch.dtype) -> str:
    """Of a type of numbers: float32, bfloat16."""
    return str(dtype).removeprefix("torch.")


def show(value: Any) -> str:
    """A cell of a table, out of a row or of its JSON."""
    if isinstance(value, Ratio):
        value = asdict(value)
    if isinstance(value, Mapping):
        return f"{value['middle']:.2f}x ({value['low']:.2f} .. {value['high']:.2f})"
    if isinstance(value, list | tuple):
        return ", ".join(map(show, value))
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


def _command() -> str:
    """As it is typed at the root of the repository, without the folder of the JSON."""
    words = [f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]
    if "--out" in words:
        at = words.index("--out")
        del words[at : at + 2]
    return " ".join(["python", *words])


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
