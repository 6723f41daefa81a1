#!/usr/bin/env bash
# Guess: compression='jpeg' for uint16 values that need more than the 12 bits of that format is refused, in
# colour as in gray.
# Seen: tifffile 2026.3.3 with imagecodecs 2026.3.6 refuses the gray picture and writes the colour one:
# values come back modulo 4096 (32,640 as some 3,640), with JPEG's noise around the jumps. No error on
# either side.
set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install --quiet tifffile==2026.3.3 imagecodecs==2026.3.6 numpy==2.4.6 2>"$room/pip.log" || { cat "$room/pip.log" >&2; exit 3; }
cd "$room"
venv/bin/python - <<'PYTHON'
import numpy as np
import tifffile

colour = (np.arange(16 * 24 * 3).reshape(16, 24, 3) * 50).astype(np.uint16)
try:
    tifffile.imwrite("gray.tif", colour[..., 0], compression="jpeg", photometric="minisblack")
except Exception as problem:
    print("gray is refused:", problem)
else:
    raise SystemExit("the behaviour has changed: gray is written")
tifffile.imwrite("colour.tif", colour, compression="jpeg", photometric="rgb")
read = tifffile.imread("colour.tif")
print("largest", colour.max(), "came back as", read.max(), "row", colour[8, 8:12, 0], read[8, 8:12, 0])
assert read.dtype == np.uint16
assert read.max() <= 4095 < colour.max(), "the behaviour has changed"
small = (colour // 16).astype(np.uint16)  # within 12 bits it is an ordinary JPEG
tifffile.imwrite("small.tif", small, compression="jpeg", photometric="rgb")
assert np.abs(tifffile.imread("small.tif").astype(int) - small).mean() < 60
PYTHON
