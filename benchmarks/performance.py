"""Write docs/performance.md from the benchmarks' JSON: the figures to reach, and where every table stands.

python benchmarks/performance.py
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from figures import FIGURES, Figure

from smalti.about import markdown

ROOT = Path(__file__).parents[1]
FOLDER, PAGE = ROOT / "docs" / "benchmarks", ROOT / "docs" / "performance.md"
Result = Mapping[str, Any]  # one file of JSON

HEAD = """# Performance

How fast smalti is against the algorithms of 2021 and against other libraries: how many times longer the other
side takes. Written by `python benchmarks/performance.py`; not to be edited by hand.
"""
HOW = """## How it is measured

Times mean little on a machine that others use too, so every figure is a **ratio**.

- Both sides run in one process, in turns, the order changing from turn to turn; a ratio belongs to one turn.
  Given are the median and, in brackets, the lowest and the highest.
- Both sides have the same weights (x-transformers has its own, of the same size). Before anything is timed
  their outputs are compared in float32: equal codes, losses within 1e-5, or images that differ by rounding
  alone; a difference ends the benchmark. Strides above 1 and priors with relative positions generate other
  codes by design and are held against their own plain rule. The loader's two sides cut images differently.
- Of the algorithm of 2021 on a canvas only the first cells are timed, since each costs the same; the time of
  the whole canvas is scaled up from them.
- The algorithms of 2021 are in `benchmarks/baselines`, written from a description and held by tests against
  recorded outputs of the original.
- Each file says when it was measured: what changed since then is not in it.
- A share is the time that the machine's limit allows over our time.
- `make bench` runs every script in a short form (smaller sizes, three turns), which shows that it runs and
  does not count for the figure asked for.
"""


def main() -> None:
    """Read, write."""
    PAGE.write_text(page(FOLDER), encoding="utf-8")


def page(folder: Path) -> str:
    """The whole text, from all JSON below a folder."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.json"))]
    devices = sorted({result["device"]: None for result in results})
    parts = [HEAD]
    for device in devices:
        here = [result for result in results if result["device"] == device]
        days = sorted({result["date"] for result in here})
        parts.append(f"## Figures to reach: {device}, {' and '.join(days)}\n\n{_figures(here)}")
    parts.append(HOW)
    parts.append("## Every row\n")
    lines = [_source(folder, path) for path in sorted(folder.rglob("*.json"))]
    parts.append(markdown(("question", "machine", "measured", "rows"), lines))
    return "\n".join(parts)


def _source(folder: Path, path: Path) -> list[str]:
    """One file of JSON: what it asks, where and when it was answered, and a link to it."""
    result = json.loads(path.read_text(encoding="utf-8"))
    where = f"{result['device']}, {result['threads']} threads, torch {result['versions']['torch']}"
    name = result["name"] + (" (short form)" if result["short"] else "")
    link = f"[{name}: {len(result['rows'])}]({folder.name}/{path.relative_to(folder).as_posix()})"
    return [result["question"], where, f"{result['date']}, `{result['command']}`", link]


def _figures(results: Sequence[Result]) -> str:
    accelerator = any(result["accelerator"] for result in results)
    by_name = {result["name"]: result for result in results}
    lines = [
        _figure(figure, by_name.get(figure.file), accelerator)
        for figure in FIGURES
        if figure.only_on in ("", "accelerator" if accelerator else "cpu")
    ]
    return markdown(("what", "at least", "measured", "reached", "command"), lines)


def _figure(figure: Figure, result: Result | None, accelerator: bool) -> list[str]:
    """One line: what was found, or that it was not measured."""
    goal = figure.on_accelerator if accelerator and figure.on_accelerator else figure.goal
    asked = "ahead" if goal is None else _shown(goal, figure)
    value = None if result is None else _found(figure, result)
    if result is None or value is None:
        return [figure.what, asked, "not measured", "", ""]
    measured, command = _shown(value, figure), f"`{result['command']}`"
    if result["short"]:  # of another size than the figure's
        return [figure.what, asked, f"{measured} *short*", "", command]
    middle = value["middle"] if isinstance(value, Mapping) else value
    reached = middle > 1 if goal is None else middle >= goal
    return [figure.what, asked, measured, "yes" if reached else "no", command]


def _found(figure: Figure, result: Result) -> Any:
    """The value of the row that a figure means; None where there is none, or more than one."""
    wanted = dict(figure.row) if result["short"] else {**figure.row, **figure.size}
    rows = [row for row in result["rows"] if all(row.get(key) == value for key, value in wanted.items())]
    return rows[0].get(figure.column) if len(rows) == 1 else None


def _shown(value: Any, figure: Figure) -> str:
    """A ratio in times, a share in per cent."""
    parts = [value[key] for key in ("middle", "low", "high")] if isinstance(value, Mapping) else [value]
    text = [f"{100 * one:.0f} %" if figure.column == "share" else f"{one:.3g}x" for one in parts]
    return text[0] if len(text) == 1 else f"{text[0]} ({text[1]} .. {text[2]})"


if __name__ == "__main__":
    main()
