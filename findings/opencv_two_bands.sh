#!/usr/bin/env bash
# Guess: A TIFF of two 16-bit gray bands read with IMREAD_UNCHANGED has two bands, or the read fails.
# Seen: OpenCV 5.0.0.93 gives one band of 8 bits: the first band's high bytes, with no message; five bands
# fail with one. Two-band data (phase and amplitude, VV and VH) train on a 256th of the first.
set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install --quiet opencv-python-headless==5.0.0.93 tifffile==2026.3.3 numpy==2.4.6 2>"$room/pip.log" || { cat "$room/pip.log" >&2; exit 3; }
cd "$room"
venv/bin/python - <<'PYTHON'
import cv2
import numpy as np
import tifffile

stored = (np.arange(96, dtype=np.uint16) * 600).reshape(6, 8, 2)
tifffile.imwrite("two.tif", stored, photometric="minisblack", planarconfig="contig")
assert np.array_equal(tifffile.imread("two.tif"), stored)
read = cv2.imread("two.tif", cv2.IMREAD_UNCHANGED)
print("stored", stored.shape, stored.dtype, stored[0, :4, 0], "OpenCV", read.shape, read.dtype, read[0, :4])
assert read.shape == (6, 8), "the behaviour has changed"
assert read.dtype == np.uint8, "the behaviour has changed"
assert np.abs(read.astype(int) - stored[..., 0] / 256).max() <= 1, "the behaviour has changed"
PYTHON
