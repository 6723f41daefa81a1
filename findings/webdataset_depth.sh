#!/usr/bin/env bash
# Guess: decode('l') of a 16-bit PNG gives the value's share of the range, v / 65535, or a float of the
# value.
# Seen: webdataset 1.0.2 (Pillow 13.0.0) clips at 255 before it divides: 0, 100, 300, 65535 become 0, 0.39,
# 1, 1. A folder of depth maps in millimetres is white from the first 26 cm on, silently, with every decoder
# but the raw bytes.
set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install --quiet webdataset==1.0.2 pillow==13.0.0 numpy==2.4.6 2>"$room/pip.log" || { cat "$room/pip.log" >&2; exit 3; }
cd "$room"
venv/bin/python - <<'PYTHON'
import io
import tarfile

import numpy as np
import webdataset
from PIL import Image

depth = np.array([[0, 100, 300, 65535], [50, 1000, 5000, 255]], np.uint16)
buffer = io.BytesIO()
Image.fromarray(depth).save(buffer, "PNG")
with tarfile.open("shard.tar", "w") as shard:
    entry = tarfile.TarInfo("a.png")
    entry.size = len(buffer.getvalue())
    shard.addfile(entry, io.BytesIO(buffer.getvalue()))
for kind in ("l", "l8"):
    stream = webdataset.WebDataset("shard.tar", shardshuffle=False, empty_check=False).decode(kind)
    values = next(iter(stream))["png"]
    print(kind, depth[0], "->", values[0])
    clipped = np.minimum(depth, 255)
    wanted = clipped / 255 if kind == "l" else clipped
    assert np.allclose(values, wanted), "the behaviour has changed"
PYTHON
