"""Does a model do as it is told? Numbers and a sheet of one task, on held-out conditions.

Of each held-out image the model is told what it was trained to be told, and draws another. A judge holds the
drawn ones against what was asked for (drawn) and what was asked for another image (exchanged); beside them
stand the real images (ceiling) and the tokenizer's reconstructions of these, which no prior can pass. Scenes
are judged by a network that learned from scenes, see sight.py; other images by the judges of smalti evaluate.

    python experiments/tasks/obey.py OUT MODEL DATA [--sight FILE] [--num 256] [--guidance 1] [--top-p 1]

DATA: `scenes`, or the folder that the model was trained on. Writes OUT.json and OUT.png: rows are conditions,
of each what is told, the real image, its reconstruction, and three drawn ones.
"""

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sight import JUDGES, read
from torch import Tensor

import smalti
from smalti import imaging
from smalti.data.protocol import Batch
from smalti.evaluation.data import at_most
from smalti.evaluation.described import drawn as shown
from smalti.evaluation.described import open_described, value
from smalti.evaluation.fakes import known
from smalti.evaluation.sets import Cut, ImageSet
from smalti.evaluation.settings import EvaluationSettings
from smalti.features import SPACES
from smalti.imaging import eight_bit
from smalti.metrics.obeyed.choice import judge_of
from smalti.metrics.obeyed.protocol import Judge, Lazy, Pairs, obeyed
from smalti.pipeline import Pipeline

ROWS, DRAWN, LARGER = 8, 3, 2  # of the sheet; pixels a side that show a pixel
AGAIN = 64  # images that are drawn twice, to see how far draws lie apart


@dataclass(frozen=True)
class Artist:
    """A model, and how it draws."""

    model: Pipeline
    how: dict[str, float]

    def draw(self, told: Batch, seed: int) -> Tensor:
        """Return an image for each sample of a batch, image i by seed + i."""
        made = self.model.sample(num=told.size, seed=seed, **self.how, **known(self.model, told))
        return eight_bit(made.tensors)


def main() -> None:
    given = options()
    torch.set_num_threads(1)
    artist = Artist(
        smalti.Pipeline.from_pretrained(given.model),
        {"guidance_scale": given.guidance, "top_p": given.top_p},
    )
    model = artist.model
    held, train = open_described(given.data, Cut(size=model.crop_size), EvaluationSettings(), model)
    held = at_most(held, given.num)
    told = held.described(range(len(held)))
    judge, learned = judge_for(model, value(model, told), given.sight), None
    if judge.learns:
        assert train is not None, "there is something to learn from"
        learned = pairs(model, at_most(train, judge.most))
    begun = time.monotonic()
    fake = artist.draw(told, 0)
    seconds = (time.monotonic() - begun) / len(fake)
    found = measure(judge, model, told, fake, learned)
    few, real = held.described(range(min(AGAIN, len(held)))), told.images[:AGAIN]
    found["apart"] = {
        "drawn": away(fake[: len(real)], artist.draw(few, 10_000)),
        "real": away(real, real.roll(1, 0)),
    }
    about = {"model": model.fingerprint, "data": given.data.name, "images": len(fake), **artist.how}
    about |= {"seconds an image": round(seconds, 3), "numbers": found}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.with_suffix(".json").write_text(json.dumps(about, indent=2) + "\n")
    sheet(artist, held, given.out.with_suffix(".png"))
    print(json.dumps(found, indent=2))


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in ("out", "model", "data"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--sight", type=Path)
    parser.add_argument("--num", type=int, default=256)
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--top-p", type=float, default=1.0)
    return parser.parse_args()


def judge_for(model: Pipeline, conditions: Any, sight: Path | None) -> Judge:
    """Return the judge that sees scenes, if there is one and the task is one of its own, else the usual."""
    condition: Any = model.condition
    kind = condition.argument
    if kind == "map" and condition.compute is None:
        kind = "segmentation" if condition.of_classes else "depth"
    if sight is not None and kind in JUDGES:
        return JUDGES[kind](read(sight))
    found = judge_of(condition, SPACES["mobilenet_v2"].read(), conditions)
    assert found is not None, "a task that can be judged"
    return found


def pairs(model: Pipeline, found: ImageSet) -> Pairs:
    """Return images and conditions for a judge, read when they are learned from."""
    return Pairs(
        images=Lazy(len(found), found.batch),
        conditions=Lazy(len(found), lambda rows: value(model, found.described(rows))),
    )


def measure(
    judge: Judge, model: Pipeline, told: Batch, fake: Tensor, learned: Pairs | None
) -> dict[str, dict[str, float]]:
    """Return for each of the judge's names the numbers of drawn, exchanged, rebuilt and real images."""
    conditions = value(model, told)
    conditions = conditions if isinstance(conditions, Tensor) else list(conditions)
    rebuilt = eight_bit(model.tokenizer.reconstruct(told.images))
    sides = [Pairs(images=images, conditions=conditions) for images in (fake, rebuilt, told.images)]
    values = obeyed(judge, sides[0], real=sides[2], train=learned)
    others = obeyed(judge, sides[1], real=sides[2])
    found = {}
    for name, one in values.items():
        numbers = {"drawn": one.value, "exchanged": one.floor, "rebuilt": others[name].value}
        found[name] = {what: round(x, 4) for what, x in {**numbers, "real": one.ceiling}.items()}
    return found


def away(one: Tensor, other: Tensor) -> float:
    """Return the root of the mean squared difference of images, in levels of 255."""
    return round(((one - other) * 127.5).square().mean().sqrt().item(), 2)


def sheet(artist: Artist, held: ImageSet, path: Path) -> None:
    """Save what is told, the real image, its reconstruction and drawn ones, of some conditions."""
    told = held.described([index * len(held) // ROWS for index in range(ROWS)])
    conditions, columns = value(artist.model, told), [told.images]
    columns.append(eight_bit(artist.model.tokenizer.reconstruct(told.images)))
    columns += [artist.draw(told, 100 * number) for number in range(DRAWN)]
    about: dict[str, Any] = {"columns": "real, rebuilt, drawn"}
    if isinstance(conditions, Tensor) or not isinstance(conditions[0], str):
        columns.insert(0, shown(conditions, artist.model.crop_size))
        about["columns"] = f"told, {about['columns']}"
    else:
        about["texts"] = list(conditions)
    pixels = imaging.to_uint8(torch.stack(columns, 1).flatten(0, 1))
    grid = imaging.grid(
        pixels.repeat_interleave(LARGER, 2).repeat_interleave(LARGER, 3), columns=len(columns)
    )
    path.unlink(missing_ok=True)  # of the run before
    imaging.save_png(path, grid, about)


if __name__ == "__main__":
    main()
