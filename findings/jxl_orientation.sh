#!/usr/bin/env bash
# Guess: A JPEG with EXIF orientation 6, packed losslessly into JPEG XL, is upright or lies as stored in
# every decoder alike.
# Seen: imagecodecs 2026.3.6 turns it upright, pillow-jxl-plugin 1.3.8 gives the stored raster and leaves 6
# in the EXIF. Of a JPEG XL that the plugin itself encoded from the same pixels imagecodecs gives the stored
# raster: from the file's name nobody can tell. Boxes and maps lie across the picture with one of the two
# readers.
set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install --quiet imagecodecs==2026.3.6 pillow==13.0.0 pillow-jxl-plugin==1.3.8 numpy==2.4.6 2>"$room/pip.log" || { cat "$room/pip.log" >&2; exit 3; }
cd "$room"
venv/bin/python - <<'PYTHON'
import imagecodecs
import numpy as np
import pillow_jxl  # noqa: F401
from PIL import Image, ImageOps

pixels = np.zeros((32, 48, 3), np.uint8)
pixels[:16, :24, 0] = 255
exif = Image.Exif()
exif[274] = 6
Image.fromarray(pixels).save("stored.jpg", exif=exif, quality=95)
Image.open("stored.jpg").save("packed.jxl", lossless_jpeg=True)
Image.open("stored.jpg").save("encoded.jxl", lossless_jpeg=False)
sizes = {}
for name in ("packed", "encoded"):
    with open(f"{name}.jxl", "rb") as file:
        decoded = imagecodecs.jpegxl_decode(file.read())
    picture = Image.open(f"{name}.jxl")
    upright = ImageOps.exif_transpose(picture)
    sizes[name] = (decoded.shape[:2], picture.size[::-1], picture.getexif().get(274), upright.size[::-1])
    print(name, "imagecodecs, plugin, EXIF, plugin turned by it:", sizes[name])
assert sizes["packed"] == ((48, 32), (32, 48), 6, (48, 32)), "the behaviour has changed"
assert sizes["encoded"] == ((32, 48), (32, 48), 6, (48, 32)), "the behaviour has changed"
PYTHON
