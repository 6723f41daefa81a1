"""Twenty captioned images unlike all that the model which ships has seen: houses, colours in their names.

For `smalti train prior_few_minutes`. Five of 25 are left out and can be asked for: red house with blue roof.

    python experiments/houses.py OUT
"""

import itertools
import sys
from pathlib import Path

from PIL import Image, ImageDraw

COLOURS = {"red": "#d33333", "blue": "#3366cc", "green": "#229933", "yellow": "#eecc22", "white": "#dddddd"}
DARK = "#444444"


def main(out: Path) -> None:
    out.mkdir(parents=True)
    names = list(COLOURS)
    left_out = set(zip(names, names[1:] + names[:1], strict=True))  # each colour once as wall, once as roof
    for wall, roof in itertools.product(names, names):
        if (wall, roof) not in left_out:
            house(COLOURS[wall], COLOURS[roof]).save(out / f"{wall}_house_with_{roof}_roof.png")


def house(walls: str, roof: str) -> Image.Image:
    image = Image.new("RGB", (128, 128), "white")
    pen = ImageDraw.Draw(image)
    pen.rectangle((28, 60, 100, 116), fill=walls, outline=DARK, width=3)
    pen.polygon([(16, 62), (64, 16), (112, 62)], fill=roof, outline=DARK)
    pen.rectangle((56, 84, 74, 116), fill="#774433")
    return image


if __name__ == "__main__":
    main(Path(sys.argv[1]))
