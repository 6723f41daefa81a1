"""The log as a picture: a chart of each number over the steps, of training and of held-out images."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from smalti.metrics.report import HEIGHT, WIDTH, chart
from smalti.training import folder

POINTS = 300  # of a curve at most: the means of as many stretches of it
COLUMNS = 2
_STYLE = "text { font: 11px system-ui, sans-serif; fill: #666 }"

Points = list[tuple[float, float]]  # (step, value)


def write(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write a run's lines as SVG, which browsers show; numbers that never change are left out."""
    drawn = [chart(found, name) for name, found in _ordered(_curves(lines)).items()]
    rows = -(-len(drawn) // COLUMNS)
    size = f'width="{COLUMNS * WIDTH}" height="{rows * HEIGHT}"'
    placed = [
        f'<g transform="translate({number % COLUMNS * WIDTH} {number // COLUMNS * HEIGHT})">{one}</g>'
        for number, one in enumerate(drawn)
    ]
    ground = '<rect width="100%" height="100%" fill="#fafafa"/>'
    text = f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{_STYLE}</style>{ground}'
    folder.write(path, f"{text}{''.join(placed)}</svg>\n")


def _curves(lines: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Points]]:
    """Return points by the name of a number and the kind of line, train or validation."""
    found: dict[str, dict[str, Points]] = {}
    for line in lines:
        for name, value in line.items() if line["kind"] in ("train", "validation") else ():
            if name != "step" and isinstance(value, int | float) and math.isfinite(value):
                found.setdefault(name, {}).setdefault(line["kind"], []).append((line["step"], value))
    return {name: kinds for name, kinds in found.items() if _changes(kinds)}


def _changes(kinds: Mapping[str, Points]) -> bool:
    return any(len({value for _, value in points}) > 1 for points in kinds.values())


def _ordered(curves: Mapping[str, Mapping[str, Points]]) -> dict[str, dict[str, Points]]:
    """Return what was validated first, then the losses, and each curve in few points."""

    def rank(name: str) -> int:
        return 0 if "validation" in curves[name] else 1 if name.startswith("loss/") else 2

    return {
        name: {kind: _few(points) for kind, points in curves[name].items()}
        for name in sorted(curves, key=rank)
    }


def _few(points: Sequence[tuple[float, float]]) -> Points:
    size = -(-len(points) // POINTS)
    parts = [points[first : first + size] for first in range(0, len(points), size)]
    return [(part[-1][0], sum(value for _, value in part) / len(part)) for part in parts]
