#!/usr/bin/env bash
# Guess: A box given as a polygon covers as many pixels in every library, up to one row and column by
# rounding.
# Seen: The box from (2, 3) to (12, 9) has area 60. pycocotools 2.0.11 fills 60, Pillow 13.0.0, OpenCV
# 5.0.0.93 and scikit-image 0.26.0 fill 77 (28 % more: both borders belong); moved by half a pixel scikit-
# image falls to 60, the others stay. COCO areas and IoU of maps drawn by another library are off by that.
set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install --quiet pycocotools==2.0.11 pillow==13.0.0 opencv-python-headless==5.0.0.93 scikit-image==0.26.0 numpy==2.4.6 2>"$room/pip.log" || { cat "$room/pip.log" >&2; exit 3; }
cd "$room"
venv/bin/python - <<'PYTHON'
import cv2
import numpy as np
from PIL import Image, ImageDraw
from pycocotools import mask
from skimage.draw import polygon2mask

HEIGHT, WIDTH = 16, 22
seen = {}
for shift in (0.0, 0.5):
    points = np.array([[2, 3], [12, 3], [12, 9], [2, 9]]) + shift
    drawn = Image.new("L", (WIDTH, HEIGHT))
    ImageDraw.Draw(drawn).polygon(points.ravel().tolist(), fill=1)
    filled = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.fillPoly(filled, [np.floor(points).astype(np.int32)], 1)
    seen[shift] = {
        "pycocotools": int(mask.area(mask.frPyObjects([points.ravel().tolist()], HEIGHT, WIDTH))[0]),
        "Pillow": int(np.asarray(drawn).sum()),
        "OpenCV": int(filled.sum()),
        "scikit-image": int(polygon2mask((HEIGHT, WIDTH), points[:, ::-1]).sum()),
    }
    print("shift", shift, seen[shift])
assert seen[0.0] == {"pycocotools": 60, "Pillow": 77, "OpenCV": 77, "scikit-image": 77}, "the behaviour has changed"
assert seen[0.5] == {"pycocotools": 60, "Pillow": 77, "OpenCV": 77, "scikit-image": 60}, "the behaviour has changed"
PYTHON
