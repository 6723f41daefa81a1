"""Does a text prior of the emoji do as it is told? Skin tones on captions that were never trained.

A classifier of six tones (the five, and none) learns from the training images of people: a histogram of
colours beside features of MobileNetV2. It judges the held-out images, which is the ceiling, and drawn
ones of their captions; those of captions exchanged among them are the floor. `smalti evaluate` has the
other numbers: captions found among 20, groups.

    python experiments/emoji.py MODEL EMOJI OUT [GUIDANCE]

EMOJI: a folder with captions.csv (file, caption, group, split). Prediction: .95 of the real held-out
ones are named rightly, .8 of the drawn ones: a tone is a word of its own and stands in a fifth of all
captions.
"""

import csv
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import smalti
from smalti import imaging
from smalti.features import SPACES
from smalti.metrics.obeyed.probes import classifier

TONES = ("light", "medium-light", "medium", "medium-dark", "dark")
PEOPLE, EACH, BINS, SHOWN = "people-body", 2, 8, 12


@dataclass(frozen=True)
class Row:
    file: Path
    caption: str
    split: str

    @property
    def tone(self) -> int:
        """Its number; 5 where none is named."""
        named = [
            word.strip().removesuffix(" skin tone") for word in self.caption.replace(":", ",").split(",")
        ]
        found = [TONES.index(word) for word in named if word in TONES]
        return found[0] if found else len(TONES)


def main(model: str, data: Path, out: Path, guidance: float) -> None:
    pipeline, rows = smalti.Pipeline.from_pretrained(model), read(data)
    size = pipeline.crop_size
    train = [row for row in rows if row.split == "train"]
    held = [row for row in rows if row.split == "val"]
    learned = classifier(looks(opened(train, size)), tones(train))
    real = opened(held, size)
    captions = [row.caption for row in held for _ in range(EACH)]
    drawn = pipeline.sample(num=len(captions), text=captions, guidance_scale=guidance).tensors.clamp(-1, 1)
    wanted = tones(held).repeat_interleave(EACH)
    said = {"real": (tones(held), learned.predict(looks(real).numpy()))}
    said["drawn"] = wanted, learned.predict(looks(drawn).numpy())
    said["exchanged"] = wanted.roll(EACH), said["drawn"][1]
    found = {name: share(*pair) for name, pair in said.items()}
    found |= {"captions": len(held), "each": EACH, "guidance": guidance, "model": pipeline.fingerprint}
    out.mkdir(parents=True, exist_ok=True)
    (out / "tones.json").write_text(json.dumps(found, indent=2) + "\n")
    chosen = [index * len(held) // SHOWN for index in range(SHOWN)]
    four = pipeline.sample(
        num=4 * SHOWN, text=[held[i].caption for i in chosen for _ in range(4)], guidance_scale=guidance
    ).tensors.clamp(-1, 1)
    pairs = torch.cat([torch.cat([real[i][None], four[4 * n : 4 * n + 4]]) for n, i in enumerate(chosen)])
    told = {"captions": [held[i].caption for i in chosen], "columns": "real, four drawn"}
    imaging.save_png(out / "captions.png", imaging.grid(imaging.to_uint8(pairs), columns=10), told)
    print(json.dumps(found, indent=2))


def read(data: Path) -> list[Row]:
    with (data / "captions.csv").open(encoding="utf-8", newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["group"] == PEOPLE]
    return [Row(data / line["file"], line["caption"], line["split"]) for line in lines]


def opened(rows: list[Row], size: tuple[int, int]) -> Tensor:
    return torch.stack([imaging.resize(imaging.to_float(imaging.open_rgb(row.file)), size) for row in rows])


def tones(rows: list[Row]) -> Tensor:
    return torch.tensor([row.tone for row in rows])


def looks(images: Tensor) -> Tensor:
    """Features of a network, and square roots of the shares of BINS ** 3 colours."""
    levels = ((images.clamp(-1, 1) + 1) * (BINS / 2)).long().clamp(max=BINS - 1)
    numbers = (levels[:, 0] * BINS + levels[:, 1]) * BINS + levels[:, 2]
    colours = torch.stack([torch.bincount(one.flatten(), minlength=BINS**3) for one in numbers]).float()
    colours = (colours / colours.sum(1, keepdim=True)).sqrt()
    return torch.cat([SPACES["mobilenet_v2"].read().features(images), 10 * colours], 1)


def share(wanted: Tensor, said: object) -> dict[str, float]:
    """Of all, and of those captions that name a tone, in which the tone is the one that is asked for."""
    right, named = torch.as_tensor(said) == wanted, wanted < len(TONES)
    return {"six": right.float().mean().item(), "named": right[named].float().mean().item()}


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4]) if len(sys.argv) > 4 else 2.0)
