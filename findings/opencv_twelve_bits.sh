#!/usr/bin/env bash
# Guess: A gray TIFF of 12 bits a value is read with the numbers that it stores, 0 .. 4095, or refused.
# Seen: OpenCV 5.0.0.93 multiplies by 16, Pillow 13.0.0 and tifffile 2026.3.3 do not, libvips 8.18.7 and
# SimpleITK 2.5.7 refuse. A model trained from one reader sees the other's pictures sixteen times darker.
set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install --quiet opencv-python-headless==5.0.0.93 pillow==13.0.0 tifffile==2026.3.3 imagecodecs==2026.3.6 numpy==2.4.6 2>"$room/pip.log" || { cat "$room/pip.log" >&2; exit 3; }
cd "$room"
venv/bin/python - <<'PYTHON'
import cv2
import numpy as np
import tifffile
from PIL import Image

stored = (np.arange(24, dtype=np.uint16) * 170).reshape(4, 6)
tifffile.imwrite("t.tif", stored, bitspersample=12)
assert tifffile.TiffFile("t.tif").pages[0].bitspersample == 12
assert np.array_equal(tifffile.imread("t.tif"), stored)
assert np.array_equal(np.asarray(Image.open("t.tif")), stored)
read = cv2.imread("t.tif", cv2.IMREAD_UNCHANGED)
print("stored", stored[0], "OpenCV", read[0])
assert np.array_equal(read, stored * 16), "the behaviour has changed"
PYTHON
