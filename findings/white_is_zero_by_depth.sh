#!/usr/bin/env bash
# Guess: A reader that inverts WhiteIsZero TIFFs of 8 bits inverts those of 16 bits too.
# Seen: Pillow 13.0.0 and OpenCV 5.0.0.93 invert 8 bits and leave 16 bits as stored; libvips 8.18.7 inverts
# both; tifffile 2026.3.3 and SimpleITK 2.5.7 invert neither. The same X-ray in two depths is a negative of
# itself.
set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install --quiet tifffile==2026.3.3 pillow==13.0.0 opencv-python-headless==5.0.0.93 pyvips==3.2.0 pyvips-binary==8.18.7 SimpleITK==2.5.7 numpy==2.4.6 2>"$room/pip.log" || { cat "$room/pip.log" >&2; exit 3; }
cd "$room"
venv/bin/python - <<'PYTHON'
import cv2
import numpy as np
import pyvips
import SimpleITK
import tifffile
from PIL import Image

inverts = {"tifffile": "", "Pillow": "8", "OpenCV": "8", "libvips": "8 16", "SimpleITK": ""}
for bits in (8, 16):
    top = 2**bits - 1
    stored = np.array([[1, 2, top - 7, 9], [3, 4, 5, top]]).astype(f"u{bits // 8}")
    path = f"{bits}.tif"
    tifffile.imwrite(path, stored, photometric="miniswhite")
    read = {
        "tifffile": tifffile.imread(path),
        "Pillow": np.asarray(Image.open(path)),
        "OpenCV": cv2.imread(path, cv2.IMREAD_UNCHANGED),
        "libvips": pyvips.Image.new_from_file(path).numpy(),
        "SimpleITK": SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path)),
    }
    for name, values in read.items():
        inverted = str(bits) in inverts[name].split()
        print(bits, "bits", name, values[0], "inverted" if inverted else "as stored")
        assert np.array_equal(values, top - stored if inverted else stored), "the behaviour has changed"
PYTHON
