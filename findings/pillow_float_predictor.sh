#!/usr/bin/env bash
# Guess: A float TIFF with predictor 3 is read alike in both byte orders.
# Seen: Pillow 13.0.0 reads the little-endian file right and gives noise (1e-23, -4e8 ..) for the big-endian
# one, silently; tifffile 2026.3.3, which wrote both, and OpenCV 5.0.0.93 read both right. Scientific and
# remote-sensing floats lie in such files.
set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install --quiet pillow==13.0.0 tifffile==2026.3.3 imagecodecs==2026.3.6 opencv-python-headless==5.0.0.93 numpy==2.4.6 2>"$room/pip.log" || { cat "$room/pip.log" >&2; exit 3; }
cd "$room"
venv/bin/python - <<'PYTHON'
import cv2
import numpy as np
import tifffile
from PIL import Image

values = np.arange(24, dtype=np.float32).reshape(4, 6) / 10
for order, right in (("<", True), (">", False)):
    tifffile.imwrite("f.tif", values, byteorder=order, predictor=3, compression="zlib")
    read = np.asarray(Image.open("f.tif"))
    print(order, "Pillow", read[0])
    assert np.array_equal(tifffile.imread("f.tif"), values)
    assert np.array_equal(cv2.imread("f.tif", cv2.IMREAD_UNCHANGED), values)
    assert np.array_equal(read, values) == right, "the behaviour has changed"
PYTHON
