#!/usr/bin/env bash
# Guess: an uncompressed TIFF whose EXIF orientation turns it by a quarter gives the same pixels whether it is
# opened by its path or from memory.
# Seen: Pillow 13.0.0 maps such a file when it is opened by its path, and lays the rows out with the turned
# width: the pixels come out in another order, silently. From a BytesIO the same bytes come out right, and so
# does a file that is compressed.
set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install --quiet pillow==13.0.0 numpy==2.4.6 2>"$room/pip.log" || { cat "$room/pip.log" >&2; exit 3; }
cd "$room"
venv/bin/python - <<'PYTHON'
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

pixels = np.arange(24 * 36, dtype=np.uint8).reshape(24, 36)
for compression in (None, "tiff_deflate"):
    for orientation in (1, 3, 6, 8):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(pixels).save("a.tif", exif=exif, compression=compression)
        with Image.open("a.tif") as by_path, Image.open(BytesIO(Path("a.tif").read_bytes())) as by_bytes:
            path, memory = np.asarray(by_path), np.asarray(by_bytes)
        wanted = {1: pixels, 3: pixels[::-1, ::-1], 6: np.rot90(pixels, -1), 8: np.rot90(pixels)}[orientation]
        print(f"{compression}, orientation {orientation}: from memory right: {np.array_equal(memory, wanted)}, "
              f"by path right: {np.array_equal(path, wanted)}")
        assert np.array_equal(memory, wanted), "the behaviour has changed"
        expected = compression is not None or orientation in (1, 3)
        assert np.array_equal(path, wanted) == expected, "the behaviour has changed"
PYTHON
