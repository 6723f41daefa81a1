#!/usr/bin/env bash
# Guess: a picture with a palette (mode P, as label maps in colours are) comes back from an optimized dataset as
# the picture that it was: its colours, or at least an error.
# Seen: litdata 0.2.76 (Pillow 13.0.0) stores mode, size and indices, and no palette: what comes back is of mode
# P with an empty palette. convert("RGB") of it, which loaders do, is black everywhere; no error. Pictures of modes
# RGB, RGBA, LA, 1, F and I;16 come back as they were.
set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install --quiet litdata==0.2.76 pillow==13.0.0 numpy==2.1.3 torch==2.13.0 2>"$room/pip.log" || { cat "$room/pip.log" >&2; exit 3; }
cd "$room"
cat > find.py <<'PYTHON'
import numpy as np
from litdata import StreamingDataset, optimize
from PIL import Image

COLOURS = [0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255]


def picture(number):
    if number == 0:
        found = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6) % 4)
        found.putpalette(COLOURS)
        return {"picture": found}
    return {"picture": Image.fromarray((np.arange(24, dtype=np.uint16) * 999).reshape(4, 6))}


if __name__ == "__main__":
    optimize(picture, [0, 1], "kept", num_workers=1, chunk_bytes="1MB")
    kept = {found.mode: found for found in (row["picture"] for row in StreamingDataset("kept"))}
    for given in (picture(0)["picture"], picture(1)["picture"]):
        found = kept[given.mode]
        assert np.array_equal(np.asarray(found), np.asarray(given)), "numbers are kept"
        if given.mode == "P":
            was, now = (np.unique(one.convert("RGB"), axis=None).tolist() for one in (given, found))
            print(f"mode P in RGB: values {was} were given, {now} come back")
            assert was == [0, 255]
            assert now == [0], "the behaviour has changed"
PYTHON
venv/bin/python find.py 2>find.log || { cat find.log >&2; exit 1; }
