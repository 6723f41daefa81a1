#!/usr/bin/env bash
# Guess: ImageStat gives least, largest and mean of a 16-bit picture in its own units, as getextrema() does.
# Seen: Pillow 13.0.0's histogram, on which ImageStat stands, counts as many bytes a row as the row has
# values, that is both bytes of the left half: for 0, 300, 1000, 65279 the mean is 11.25 and the extrema (0,
# 44), while getextrema() of the same picture says (0, 65279). No error. A normalisation made with ImageStat
# is noise.
set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install --quiet pillow==13.0.0 numpy==2.4.6 2>"$room/pip.log" || { cat "$room/pip.log" >&2; exit 3; }
cd "$room"
venv/bin/python - <<'PYTHON'
import numpy as np
from PIL import Image, ImageStat

values = np.array([[0, 300, 1000, 65279]], np.uint16)
picture = Image.fromarray(values)
told = ImageStat.Stat(picture)
print("mode", picture.mode, "mean", told.mean, "extrema", told.extrema)
print("numpy's mean", values.mean(), "getextrema", picture.getextrema())
assert picture.getextrema() == (0, 65279)
left = values.astype("<u2").view(np.uint8)[:, :4]
assert told.mean == [left.mean()], "the behaviour has changed"
assert told.extrema == [(left.min(), left.max())], "the behaviour has changed"
PYTHON
