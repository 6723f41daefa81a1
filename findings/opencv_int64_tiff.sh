#!/usr/bin/env bash
# Guess: imwrite of int64 (a depth that OpenCV 5 knows) to TIFF keeps the values, or gives False.
# Seen: OpenCV 5.0.0.93 gives True and writes 32 bits: 2**31 comes back as -2**31, 2**40 + 5 as 5; nothing
# is printed. Instance ids of panoptic maps are such numbers.
set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install --quiet opencv-python-headless==5.0.0.93 numpy==2.4.6 2>"$room/pip.log" || { cat "$room/pip.log" >&2; exit 3; }
cd "$room"
venv/bin/python - <<'PYTHON'
import cv2
import numpy as np

ids = np.array([[2**40 + 5, 2**31, -1], [7, 8, 9]], np.int64)
done = cv2.imwrite("ids.tif", ids)
read = cv2.imread("ids.tif", cv2.IMREAD_UNCHANGED)
print("said", done, "wrote", ids.tolist(), "in the file", read.dtype, read.tolist())
assert done, "the behaviour has changed"
assert read.dtype == np.int32, "the behaviour has changed"
assert np.array_equal(read, ids.astype(np.int32)), "the behaviour has changed"
PYTHON
