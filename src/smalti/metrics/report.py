"""One page that a browser opens without a network: text, tables, images and curves, all inside the file."""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem }
h1, h2 { line-height: 1.2 } h2 { margin-top: 2.5rem; border-top: 1px solid #ddd; padding-top: 1rem }
table { border-collapse: collapse; margin: 1rem 0 }
td, th { padding: .25rem .8rem; border-bottom: 1px solid #ddd } th { text-align: left }
td.number { text-align: right; font-variant-numeric: tabular-nums }
figure { margin: 1rem 0 } figure img { max-width: 100%; image-rendering: pixelated; border: 1px solid #ddd }
figcaption, .note { color: #666; font-size: .9rem }
svg { background: #fafafa; border: 1px solid #ddd } svg text { font-size: 11px; fill: #666 }
"""
WIDTH, HEIGHT, _MARGIN = 500, 220, 34  # of a chart, in CSS pixels


class Report:
    """A page, filled from top to bottom."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._parts = [f"<h1>{html.escape(title)}</h1>"]

    def heading(self, text: str) -> None:
        """Begin a section."""
        self._parts.append(f"<h2>{html.escape(text)}</h2>")

    def text(self, text: str) -> None:
        """Add a paragraph."""
        self._parts.append(f"<p>{html.escape(text)}</p>")

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str | float]]) -> None:
        """Add a table; numbers are given four digits."""
        lines = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
        head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
        self._parts.append(f"<table><tr>{head}</tr>{lines}</table>")

    def image(self, image: Image.Image, caption: str, zoom: int = 1) -> None:
        """Add an image, inside the page; zoom enlarges each pixel to a square of that side."""
        buffer = io.BytesIO()
        image.save(buffer, format="PNG")
        data = base64.b64encode(buffer.getvalue()).decode()
        size = f'width="{image.width * zoom}"'
        self._parts.append(
            f'<figure><img {size} alt="{html.escape(caption)}" src="data:image/png;base64,{data}">'
            f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        )

    def curve(self, curves: Mapping[str, Sequence[tuple[float, float]]], caption: str) -> None:
        """Add a line chart of name -> [(x, y), ...]."""
        drawn = chart(curves)
        if drawn:
            self._parts.append(f"<figure>{drawn}<figcaption>{html.escape(caption)}</figcaption></figure>")

    def save(self, path: Path) -> Path:
        """Write the page; gives its path."""
        head = f'<meta charset="utf-8"><title>{html.escape(self.title)}</title><style>{_STYLE}</style>'
        path.write_text(
            f"<!doctype html><html lang='en'><head>{head}</head><body>{''.join(self._parts)}</body>",
            encoding="utf-8",
        )
        return path


def chart(curves: Mapping[str, Sequence[tuple[float, float]]], title: str = "") -> str:
    """Return a line chart of name -> [(x, y), ...] as an SVG element; of no points nothing."""
    points = [point for curve in curves.values() for point in curve]
    if not points:
        return ""
    (left, right), (low, high) = (_range([point[axis] for point in points]) for axis in (0, 1))

    def place(x: float, y: float) -> tuple[float, float]:
        across = _MARGIN + (x - left) / (right - left) * (WIDTH - 2 * _MARGIN)
        return across, HEIGHT - _MARGIN - (y - low) / (high - low) * (HEIGHT - 2 * _MARGIN)

    lines = []
    for index, (name, curve) in enumerate(curves.items()):
        colour = f"hsl({index * 137 % 360}, 60%, 42%)"  # 137 degrees apart: never two alike side by side
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in curve))
        lines.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{path}"/>')
        label = f'<text x="{WIDTH - _MARGIN}" y="{14 + 13 * index}" text-anchor="end"'
        lines.append(f'{label} style="fill:{colour}">{html.escape(name)}</text>')
    lines.append(f'<text x="2" y="{_MARGIN}">{high:.3g}</text>')
    lines.append(f'<text x="2" y="{HEIGHT - _MARGIN}">{low:.3g}</text>')
    lines.append(f'<text x="{WIDTH - _MARGIN}" y="{HEIGHT - 8}" text-anchor="end">{right:g}</text>')
    if title:
        lines.append(f'<text x="{_MARGIN}" y="14" style="font-weight:bold">{html.escape(title)}</text>')
    return f'<svg width="{WIDTH}" height="{HEIGHT}">{"".join(lines)}</svg>'


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return f"<td>{html.escape(value)}</td>"
    return f'<td class="number">{value:.4g}</td>'


def _range(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low, low + 1.0)
