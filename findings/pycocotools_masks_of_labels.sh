#!/usr/bin/env bash
# Guess: encode() counts every value but 0 as set, as annotation tools' maps of 0, 1, 2 .. and masks of 0,
# 128, 255 would need.
# Seen: pycocotools 2.0.11 ends a run at every change of value and takes each next run for the other state:
# 0 1 2 0 comes back as 0 1 0 1. Areas, boxes and IoU follow; nothing is said. A mask enlarged with smooth
# edges is enough. `mask > 0` first is the way.
set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install --quiet pycocotools==2.0.11 numpy==2.4.6 2>"$room/pip.log" || { cat "$room/pip.log" >&2; exit 3; }
cd "$room"
venv/bin/python - <<'PYTHON'
import numpy as np
from pycocotools import mask

labels = np.zeros((6, 9), np.uint8)
labels[1:4, 1:5] = 1
labels[2:5, 5:8] = 2
labels[4, 1:8] = 3
coded = mask.encode(np.asfortranarray(labels))
right = mask.encode(np.asfortranarray(labels > 0).astype(np.uint8, order="F"))
print("values in\n", labels, "\ndecoded\n", mask.decode(coded))
print("area", mask.area(coded), "pixels above 0", np.count_nonzero(labels), "area of mask > 0", mask.area(right))
assert np.array_equal(mask.decode(right), labels > 0)
column = np.array([[0], [1], [2], [0]], np.uint8, order="F")
assert mask.decode(mask.encode(column)).ravel().tolist() == [0, 1, 0, 1], "the behaviour has changed"
assert mask.area(coded) != np.count_nonzero(labels), "the behaviour has changed"
PYTHON
