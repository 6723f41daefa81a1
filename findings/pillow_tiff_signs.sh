#!/usr/bin/env bash
# Guess: TIFFs of int8 and of uint32 are read at their values, or refused, as float64 is.
# Seen: Pillow 13.0.0 reads int8 as uint8 (-1 as 255) and uint32 as int32 (2**32 - 1 as -1), silently; int16
# it reads right. tifffile 2026.3.3 and OpenCV 5.0.0.93 read all three right. Instance ids and signed
# residuals turn over.
set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install --quiet pillow==13.0.0 tifffile==2026.3.3 opencv-python-headless==5.0.0.93 numpy==2.4.6 2>"$room/pip.log" || { cat "$room/pip.log" >&2; exit 3; }
cd "$room"
venv/bin/python - <<'PYTHON'
import cv2
import numpy as np
import tifffile
from PIL import Image

cases = {
    "int8": ([-1, -128, 127, 7], [255, 128, 127, 7]),
    "int16": ([-1, -1000, 127, 7], [-1, -1000, 127, 7]),
    "uint32": ([1, 2**31, 2**32 - 1, 7], [1, -(2**31), -1, 7]),
}
for kind, (stored, got) in cases.items():
    values = np.array([stored, stored[::-1]]).astype(kind)
    tifffile.imwrite("v.tif", values)
    assert np.array_equal(cv2.imread("v.tif", cv2.IMREAD_UNCHANGED), values)
    read = np.asarray(Image.open("v.tif"))
    print(kind, stored, "Pillow", read.dtype, read[0])
    assert read[0].tolist() == got, "the behaviour has changed"
PYTHON
