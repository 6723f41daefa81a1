#!/usr/bin/env bash
# Guess: imread of a TIFF of three gray pages (a stack, a time series) gives (3, H, W), as for two and five
# pages.
# Seen: scikit-image 0.26.0 gives (2, H, W) and (5, H, W), but (H, W, 3) for three pages and (H, W, 4) for
# four: the stack has become a colour picture, silently; tifffile 2026.3.3 and imageio read (3, H, W).
set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install --quiet scikit-image==0.26.0 tifffile==2026.3.3 imageio==2.38.1 numpy==2.4.6 2>"$room/pip.log" || { cat "$room/pip.log" >&2; exit 3; }
cd "$room"
venv/bin/python - <<'PYTHON'
import imageio.v3 as imageio
import numpy as np
import skimage.io
import tifffile

for pages in (2, 3, 4, 5):
    stack = np.arange(pages * 10 * 12, dtype=np.uint16).reshape(pages, 10, 12)
    tifffile.imwrite("stack.tif", stack, photometric="minisblack")
    assert imageio.imread("stack.tif").shape == tifffile.imread("stack.tif").shape == stack.shape
    read = skimage.io.imread("stack.tif")
    print(pages, "pages: scikit-image", read.shape)
    turned = pages in (3, 4)
    assert read.shape == ((10, 12, pages) if turned else stack.shape), "the behaviour has changed"
    assert np.array_equal(np.moveaxis(read, -1, 0) if turned else read, stack)
PYTHON
