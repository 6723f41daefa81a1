#!/usr/bin/env bash
# Guess: Encoders take a big-endian array, as Pillow hands out for a big-endian TIFF, at its values, or
# refuse it.
# Seen: imagecodecs 2026.3.6 refuses in png, jpegxl, jpegxr, jpegls, webp, lerc, and in jpeg2k takes the
# bytes for little-endian: 1003 becomes 60163, in a lossless file, silently.
set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install --quiet imagecodecs==2026.3.6 pillow==13.0.0 tifffile==2026.3.3 numpy==2.4.6 2>"$room/pip.log" || { cat "$room/pip.log" >&2; exit 3; }
cd "$room"
venv/bin/python - <<'PYTHON'
import imagecodecs
import numpy as np
import tifffile
from PIL import Image

values = (np.arange(24, dtype=np.uint16) * 1000 + 3).reshape(4, 6)
tifffile.imwrite("big.tif", values, byteorder=">", predictor=2, compression="zlib")
read = np.asarray(Image.open("big.tif"))
assert read.dtype == np.dtype(">u2"), read.dtype
assert np.array_equal(read, values)
for name in ("png", "jpegxl", "jpegls"):
    try:
        getattr(imagecodecs, name + "_encode")(read)
    except ValueError as problem:
        print(name, "refuses:", problem)
    else:
        raise SystemExit(f"the behaviour has changed: {name} takes it")
coded = imagecodecs.jpeg2k_encode(read, level=0, reversible=True)
back = imagecodecs.jpeg2k_decode(coded)
print("jpeg2k", values[0], "->", back[0])
assert np.array_equal(back, values.byteswap()), "the behaviour has changed"
assert np.array_equal(imagecodecs.jpeg2k_decode(imagecodecs.jpeg2k_encode(values, level=0)), values)
PYTHON
