"""What a comparison says: rows as they come, what of the paper holds, pictures; JSON that page.py reads."""

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import chart
import torch
from common import Lab, Options
from PIL import Image
from torch import Tensor

from smalti import imaging

SHOWN = 64  # pixels a side on sheets at most, so that they stay small


class Mean(float):
    """Over seeds; knows how far these lie apart."""

    def __new__(cls, values: Sequence[float]) -> "Mean":
        found = super().__new__(cls, sum(values) / len(values))
        found.spread = max(values) - min(values)
        return found


class Report:
    """Rows measured one by one and kept as they come, what was predicted, what is so."""

    def __init__(self, options: Options, module: Mapping[str, Any], lab: Lab) -> None:
        """module: the script's globals(), with __doc__, PAPER and PREDICTION."""
        self.path = options.out / f"{Path(str(module['__file__'])).stem}.json"
        form = {"name": options.name, **asdict(options.form)}
        self.done = _rows(self.path, form)
        seeds = "" if len(options.seeds) == options.form.seeds else f" --seeds {len(options.seeds)}"
        question, _, how = str(module["__doc__"]).partition("\n\n")
        self.told = {
            "name": self.path.stem,
            "question": " ".join(question.split()),
            "how": " ".join(how.split("\n\n    python")[0].split()),
            "paper": module["PAPER"],
            "prediction": module["PREDICTION"],
            "form": form,
            "space": lab.space_name,
            "distance": lab.distance_name,
            "command": f"python experiments/paper/{self.path.stem}.py --form {options.name}{seeds}",
            "date": date.today().isoformat(),
            "torch": torch.__version__,
            "machine": platform.machine(),
            "keys": [],
        }
        self.rows: list[dict[str, Any]] = []
        self.claims: list[dict[str, Any]] = []
        self.pictures: list[dict[str, Any]] = []

    def row(self, key: Mapping[str, Any], measure: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """A row of the table, measured unless an earlier run of this form did."""
        found = next((one for one in self.done if all(one.get(name) == key[name] for name in key)), None)
        self.told["keys"] = [name for name in key if name != "seed"]
        self.rows.append(found or {**key, **measure()})
        print(json.dumps(self.rows[-1]), flush=True)
        self.write()
        return self.rows[-1]

    def values(self, column: str, **key: Any) -> list[float]:
        """What rows with these values have in a column, seed by seed."""
        rows = [row for row in self.rows if all(row.get(name) == key[name] for name in key)]
        return [row[column] for row in rows if row.get(column) is not None]

    def mean(self, column: str, **key: Any) -> "Mean | None":
        """Over seeds; None where there is nothing."""
        found = self.values(column, **key)
        return Mean(found) if found else None

    def claim(self, what: str, *numbers: float | None) -> None:
        """Something of the paper that holds here if the numbers rise; None among them: it was not run.

        It is clear where neighbours lie further apart than the seeds of either.
        """
        known = [number for number in numbers if number is not None]
        holds = all(low < high for low, high in pairwise(known))
        run = len(known) == len(numbers) > 1
        spreads = [getattr(number, "spread", 0.0) for number in known]
        gaps = [abs(high - low) for low, high in pairwise(known)]
        clear = all(gap > max(both) for gap, both in zip(gaps, pairwise(spreads), strict=True))
        holds = holds if run else None
        self.claims.append({"what": what, "holds": holds, "clear": clear, "numbers": list(numbers)})
        print(self.claims[-1], flush=True)
        self.write()

    def sheet(self, images: Tensor, columns: int, rows: Sequence[str], name: str = "") -> None:
        """Save a grid of images, whose rows are these."""
        file = f"{self.path.stem}{name}.png"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if images.shape[-1] > SHOWN:
            images = imaging.resize(images, (SHOWN, SHOWN))
        grid = imaging.to_uint8(imaging.grid(images.clamp(-1, 1), columns=columns))
        Image.fromarray(grid.permute(1, 2, 0).numpy()).save(self.path.parent / file, optimize=True)
        self.pictures.append({"file": file, "rows": list(rows)})
        self.write()

    def chart(self, curves: chart.Curves, across: str, up: str, name: str = "-curve") -> None:
        """Save curves, points by name; what they are over and of."""
        file = f"{self.path.stem}{name}.png"
        chart.draw(curves, across, up).save(self.path.parent / file, optimize=True)
        self.pictures.append({"file": file, "rows": []})
        self.write()

    def write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        whole = {**self.told, "claims": self.claims, "pictures": self.pictures, "rows": self.rows}
        self.path.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


def _rows(path: Path, form: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Those of an earlier run of a form, as it is now."""
    if not path.exists():
        return []
    found = json.loads(path.read_text(encoding="utf-8"))
    alike = json.loads(json.dumps(form)) | {"seeds": found["form"]["seeds"]}  # a row is of one seed
    return found["rows"] if found["form"] == alike else []
