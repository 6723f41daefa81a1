"""What a text prior does beside drawing: parts of images drawn anew, and two texts mixed. Two sheets.

    python experiments/tasks/edits.py OUT MODEL EMOJI [GUIDANCE]

EMOJI: a folder with captions.csv (file, caption, split); held-out images are completed. completed.png: a real
image, three with the lower half drawn anew, three with the middle drawn anew. mixed.png: a row of two texts,
from all of the first to all of the second.
"""

import csv
import sys
from pathlib import Path

import torch
from torch import Tensor

import smalti
from smalti import imaging

WORDS = ("woman", "cook", "face", "person", "flag")  # of captions, the first one with each
MIXED = (
    ("person: light skin tone", "person: dark skin tone"),
    ("man cook: medium skin tone", "woman cook: medium skin tone"),
    ("red heart", "green heart"),
    ("grinning face", "crying face"),
)
SHARES, EACH, LARGER = (0.0, 0.25, 0.5, 0.75, 1.0), 3, 2


def main(out: Path, model: str, data: Path, guidance: float) -> None:
    torch.set_num_threads(1)
    pipeline = smalti.Pipeline.from_pretrained(model)
    out.mkdir(parents=True, exist_ok=True)
    rows = chosen(data)
    images = torch.cat([completed(pipeline, data / row["file"], row["caption"], guidance) for row in rows])
    told = {"columns": "real, lower half drawn, middle drawn", "texts": [row["caption"] for row in rows]}
    save(images, 1 + 2 * EACH, out / "completed.png", told)
    mixed = [pipeline.sample(text=list(pair), mix=share, seed=3, guidance_scale=guidance).tensors
             for pair in MIXED for share in SHARES]  # fmt: skip
    save(torch.cat(mixed), len(SHARES), out / "mixed.png", {"texts": MIXED, "shares": SHARES})


def chosen(data: Path) -> list[dict[str, str]]:
    with (data / "captions.csv").open(encoding="utf-8", newline="") as file:
        held = [row for row in csv.DictReader(file) if row["split"] == "val"]
    found: list[dict[str, str]] = []
    for word in WORDS:
        found += [row for row in held if word in row["caption"] and row not in found][:1]
    return found


def completed(pipeline: smalti.Pipeline, path: Path, text: str, guidance: float) -> Tensor:
    real = imaging.resize(imaging.to_float(imaging.open_rgb(path))[None], pipeline.crop_size).clamp(-1, 1)
    height, width = pipeline.settings.grid
    middle = torch.zeros(height, width, dtype=torch.bool)
    middle[height // 4 : -(height // 4), width // 4 : -(width // 4)] = True
    told = {"text": text, "num": EACH, "guidance_scale": guidance}
    ways = (pipeline.complete(real[0], **how, **told) for how in ({"keep": "top"}, {"mask": middle}))
    return torch.cat([real, *(way.tensors for way in ways)])


def save(images: Tensor, columns: int, path: Path, told: dict[str, object]) -> None:
    pixels = imaging.to_uint8(images.clamp(-1, 1))
    sheet = imaging.grid(pixels.repeat_interleave(LARGER, 2).repeat_interleave(LARGER, 3), columns=columns)
    path.unlink(missing_ok=True)  # of the run before
    imaging.save_png(path, sheet, told)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), float(sys.argv[4]) if len(sys.argv) > 4 else 2.0)
