"""Curves as a small picture: no more than the comparisons need."""

from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

Curves = Mapping[str, Sequence[tuple[float, float]]]
SIZE, LEFT, RIGHT, TOP, BOTTOM = (480, 300), 70, 20, 30, 50  # pixels
COLOURS = ("#1f5fa8", "#c8511b", "#2e8b57", "#7d3c98", "#8a6d1d", "#444444", "#c0398b")


def draw(curves: Curves, across: str, up: str) -> Image.Image:
    """Curves by name, their points marked, on axes that span them; up to seven of them."""
    image = Image.new("RGB", SIZE, "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(size=12)
    xs, ys = ([point[axis] for points in curves.values() for point in points] for axis in (0, 1))
    spans = (min(xs), max(xs) or 1), (min(ys), max(ys))

    def place(point: tuple[float, float]) -> tuple[float, float]:
        shares = [
            (value - low) / ((high - low) or 1) for value, (low, high) in zip(point, spans, strict=True)
        ]
        width, height = SIZE[0] - LEFT - RIGHT, SIZE[1] - TOP - BOTTOM
        return LEFT + shares[0] * width, TOP + (1 - shares[1]) * height

    pen.rectangle((LEFT, TOP, SIZE[0] - RIGHT, SIZE[1] - BOTTOM), outline="#999999")
    for value in sorted(set(xs)) if len(set(xs)) <= 8 else spans[0]:
        pen.text((place((value, ys[0]))[0], SIZE[1] - BOTTOM + 4), f"{value:g}", "black", font, "ma")
    for value in spans[1]:
        pen.text((LEFT - 6, place((xs[0], value))[1]), f"{value:.4g}", "black", font, "rm")
    pen.text((SIZE[0] / 2, SIZE[1] - 24), across, "black", font, "ma")
    pen.text((LEFT, 8), up, "black", font)
    for number, (name, points) in enumerate(curves.items()):
        colour, path = COLOURS[number % len(COLOURS)], [place(point) for point in sorted(points)]
        pen.line(path, colour, 2)
        for x, y in path:
            pen.ellipse((x - 3, y - 3, x + 3, y + 3), colour)
        pen.text((SIZE[0] - RIGHT - 6, TOP + 6 + 16 * number), name, colour, font, "ra")
    return image
