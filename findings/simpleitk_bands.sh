#!/usr/bin/env bash
# Guess: SimpleITK reads a TIFF of 2, 4 or 5 gray bands as a vector image, or refuses it.
# Seen: SimpleITK 2.5.7 gives one band of the right size in which each row holds the first W numbers of the
# stored row, so bands and places are mixed: 0 1 2 3 .. where band 0 has 0 5 10 15 ... No error. tifffile
# 2026.3.3 and libvips 8.18.7 read all bands.
set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install --quiet SimpleITK==2.5.7 tifffile==2026.3.3 pyvips==3.2.0 pyvips-binary==8.18.7 numpy==2.4.6 2>"$room/pip.log" || { cat "$room/pip.log" >&2; exit 3; }
cd "$room"
venv/bin/python - <<'PYTHON'
import numpy as np
import pyvips
import SimpleITK
import tifffile

for bands in (2, 4, 5):
    pixels = np.arange(6 * 8 * bands, dtype=np.uint16).reshape(6, 8, bands)
    path = f"{bands}.tif"
    tifffile.imwrite(path, pixels, photometric="minisblack", planarconfig="contig")
    assert np.array_equal(tifffile.imread(path), pixels)
    assert np.array_equal(pyvips.Image.new_from_file(path).numpy(), pixels)
    read = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path))
    print(bands, "bands: SimpleITK", read.shape, read[1], "band 0 has", pixels[1, :, 0])
    mixed = pixels.reshape(6, -1)[:, :8]
    assert read.shape == (6, 8), "the behaviour has changed"
    assert np.array_equal(read, mixed), "the behaviour has changed"
PYTHON
