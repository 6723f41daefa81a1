#!/usr/bin/env bash
# Guess: A 16-bit PNG gives its stored values; the chunk sBIT, which says how many bits were measured,
# changes none of them.
# Seen: SimpleITK 2.5.7 shifts: with sBIT 12 the stored 64,000 is read as 4,000 (Pillow 13.0.0, imagecodecs
# 2026.3.6, OpenCV 5.0.0.93: 64,000). A folder in which some pictures carry the chunk has two scales,
# silently.
set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install --quiet SimpleITK==2.5.7 pillow==13.0.0 imagecodecs==2026.3.6 opencv-python-headless==5.0.0.93 numpy==2.4.6 2>"$room/pip.log" || { cat "$room/pip.log" >&2; exit 3; }
cd "$room"
venv/bin/python - <<'PYTHON'
import struct
import zlib

import cv2
import imagecodecs
import numpy as np
import SimpleITK
from PIL import Image


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


stored = np.array([[16, 32, 64000, 65520], [160, 1600, 16000, 48]], np.uint16)
rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in stored)
for name, extra in (("plain", b""), ("sbit", chunk(b"sBIT", b"\x0c"))):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 2, 16, 0, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path = f"{name}.png"
    with open(path, "wb") as file:
        file.write(data)
    for other in (np.asarray(Image.open(path)), cv2.imread(path, cv2.IMREAD_UNCHANGED), imagecodecs.png_decode(data)):
        assert np.array_equal(other, stored)
    read = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path))
    print(name, "SimpleITK", read[0])
    assert np.array_equal(read, stored >> 4 if name == "sbit" else stored), "the behaviour has changed"
PYTHON
