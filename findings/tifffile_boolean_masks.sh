#!/usr/bin/env bash
# Guess: A boolean mask written by tifffile.imwrite is the same mask wherever it is read.
# Seen: tifffile 2026.3.3 stores booleans with the tag WhiteIsZero and the bits as they are: it reads True
# back, every reader that follows the tag reads the mask inverted (Pillow 13.0.0, OpenCV 5.0.0.93, libvips
# 8.18.7). photometric='minisblack' is the way.
set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install --quiet tifffile==2026.3.3 pillow==13.0.0 opencv-python-headless==5.0.0.93 pyvips==3.2.0 pyvips-binary==8.18.7 numpy==2.4.6 2>"$room/pip.log" || { cat "$room/pip.log" >&2; exit 3; }
cd "$room"
venv/bin/python - <<'PYTHON'
import cv2
import numpy as np
import pyvips
import tifffile
from PIL import Image

mask = np.zeros((5, 9), bool)
mask[1:3, 2:7] = True


def readings(path):
    return {
        "tifffile": tifffile.imread(path),
        "Pillow": np.asarray(Image.open(path)),
        "OpenCV": cv2.imread(path, cv2.IMREAD_UNCHANGED) > 0,
        "libvips": pyvips.Image.new_from_file(path).numpy() > 0,
    }


tifffile.imwrite("default.tif", mask)
tifffile.imwrite("told.tif", mask, photometric="minisblack")
print("set", mask.sum(), "of", mask.size, {name: int(read.sum()) for name, read in readings("default.tif").items()})
for name, read in readings("default.tif").items():
    assert np.array_equal(read, mask if name == "tifffile" else ~mask), "the behaviour has changed"
for read in readings("told.tif").values():
    assert np.array_equal(read, mask)
PYTHON
