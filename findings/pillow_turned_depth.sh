#!/usr/bin/env bash
# Guess: Turning a picture of 16 bits with bilinear or bicubic filtering gives what turning its floats
# gives, rounded.
# Seen: Pillow 13.0.0 filters the two bytes of each value by themselves: a smooth ramp around 18,000 becomes
# values around 100, with no error. rotate() and transform() are hit, resize() and nearest are right. A
# depth map augmented by a turn is noise. Convert to mode F first.
set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install --quiet pillow==13.0.0 numpy==2.4.6 2>"$room/pip.log" || { cat "$room/pip.log" >&2; exit 3; }
cd "$room"
venv/bin/python - <<'PYTHON'
import numpy as np
from PIL import Image

ramp = np.add.outer(np.arange(40) * 600, np.arange(60) * 300).astype(np.uint16)
deep, floats = Image.fromarray(ramp), Image.fromarray(ramp.astype(np.float32))
assert (deep.mode, floats.mode) == ("I;16", "F")
shift = (Image.Transform.AFFINE, (1, 0, 0.5, 0, 1, 0.25))
ways = {
    "rotate": lambda image, how: image.rotate(7, resample=how),
    "transform": lambda image, how: image.transform(image.size, *shift, resample=how),
    "resize": lambda image, how: image.resize((45, 31), how),
}
inside = (slice(12, 24), slice(15, 40))
for way, turn in ways.items():
    for how in (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC):
        got, right = (np.asarray(turn(image, how), dtype=float)[inside] for image in (deep, floats))
        worst = np.abs(got - right).max()
        print(f"{way} {how.name}: {got[5, 5:9]} beside {right[5, 5:9].round()}, off by {worst:.0f} at most")
        assert (worst < 2) == (way == "resize"), "the behaviour has changed"
PYTHON
