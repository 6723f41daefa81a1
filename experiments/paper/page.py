"""Write docs/experiments.md from the JSON of the comparisons: predictions, tables, what is so, pictures.

python experiments/paper/page.py
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from smalti.about import markdown

ROOT = Path(__file__).parents[2]
FOLDER, PAGE = ROOT / "docs" / "experiments", ROOT / "docs" / "experiments.md"
TITLES = {  # in the order of the page
    "table1": "Table 1: transformer against PixelSNAIL",
    "figure7": "Figure 7: why not pixels",
    "figure8": "Figure 8: how strongly to compress",
    "figure9": "Figure 9: VQVAE against VQGAN",
    "figure30": "Figure 30: orders",
    "table4": "Table 4: k, p and rejection",
    "table5": "Table 5: reconstruction",
    "windows": "Sliding windows with and without coordinates",
}
HEAD = """# The paper's comparisons in small

What "Taming Transformers for High-Resolution Image Synthesis" (arXiv:2012.09841) compared, again in small
with smalti on real images, and whether it comes out the same way. Figures are numbered as in its version 1.
Written by `python experiments/paper/page.py` from [the JSON](experiments); not to be edited by hand.

Each prediction was written before its script ran. A row is the mean over seeds, with the spread between them
(highest less lowest) in brackets where there is more than one. One seed says little about small differences.
"""
HOW = """## How it is measured

- `make experiments DATA=IMAGES` runs everything in its full form; `FORM=small` is what this page shows where
  it says so. Models are trained once and shared by the scripts, and what was ended goes on.
- Images: 3,226 renderings of emoji, transparency laid on white, in nine unequal groups, some 8 % held out;
  they are not part of the project. Any folder of images will do: with a `captions.csv` (file, group, split)
  groups are classes.
- FD is the Frechet distance over the features of the network that is named, to held-out images; sets of equal
  size within a table. It is biased upwards for so few images, so compare within a table only.
- Seconds are those of the processor on one thread: other programs ran beside.
"""
DIRECTIONS = {True: "**as in the paper**", False: "**not as in the paper**", None: "not run"}


def main() -> None:
    PAGE.write_text(page(FOLDER), encoding="utf-8")


def page(folder: Path) -> str:
    """The whole text, from the JSON and the remarks in a folder."""
    told = folder / "remarks.yaml"
    remarks = yaml.safe_load(told.read_text(encoding="utf-8")) if told.exists() else {}
    found = {name: _read(folder / f"{name}.json") for name in TITLES}
    parts = [
        HEAD,
        "## What came out\n",
        markdown(("what the paper says", "here", "seeds", "where"), _summary(found)),
    ]
    for name, result in found.items():
        parts.append(f"## {TITLES[name]}\n")
        parts.append("Not run.\n" if result is None else _section(result, remarks.get(name, "")))
    return "\n".join([*parts, HOW])


def _summary(found: Mapping[str, Any]) -> Iterable[list[str]]:
    for name, result in found.items():
        link = f"[{TITLES[name].partition(':')[0]}](#{_anchor(TITLES[name])})"
        for claim in result["claims"] if result else []:
            yield [claim["what"], _direction(claim), str(_seeds(result)), link]
        if result is None:
            yield [TITLES[name], "not run", "", link]


def _direction(claim: Mapping[str, Any]) -> str:
    within = "" if claim["clear"] or claim["holds"] is None else ", within the spread of seeds"
    return DIRECTIONS[claim["holds"]] + within


def _seeds(result: Mapping[str, Any]) -> int:
    return len({row["seed"] for row in result["rows"]})


def _section(result: Mapping[str, Any], remark: str) -> str:
    form = result["form"]
    sizes = (
        f"{form['side']} px, tokenizers of {form['tokenizer_steps']} steps, priors of {form['prior_steps']}, "
        f"{form['layers']} layers of {form['width']}, sets of at most {form['samples']} images"
    )
    seeds = _seeds(result)
    lines = [
        f"{result['question']} {result['how']}\n",
        f"- The paper: {result['paper']}.",
        f"- Predicted: {result['prediction']}.",
        f"- Form `{form['name']}`: {sizes}; {seeds} seed{'s' if seeds > 1 else ''}; {result['date']}, "
        f"torch {result['torch']}; `{result['command']}`.\n",
        _table(result),
        *(f"- {claim['what']}: {_direction(claim)} ({_numbers(claim)})." for claim in result["claims"]),
        "",
        *([remark.strip() + "\n"] if remark else []),
    ]
    for picture in result["pictures"]:
        rows = f"Rows: {', '.join(picture['rows'])}." if picture["rows"] else ""
        lines.append(f"![{result['name']}](experiments/{picture['file']})\n\n{rows}\n")
    return "\n".join(lines)


def _table(result: Mapping[str, Any]) -> str:
    """Rows that differ by their seed alone are one."""
    keys, groups = result["keys"], {}
    for row in result["rows"]:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    columns = [
        name for name in dict.fromkeys(name for row in result["rows"] for name in row) if name not in keys
    ]
    columns = [name for name in columns if name != "seed"]
    names = {"distance": result["distance"], "FD": f"{result['space']}-FD"}
    lines = [
        [*map(_shown, key), *(_cell([row.get(column) for row in rows]) for column in columns)]
        for key, rows in groups.items()
    ]
    return markdown((*keys, *(names.get(column, column) for column in columns)), lines)


def _cell(values: Sequence[Any]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "not run"
    mean = fmean(known)
    spread = f" ({_shown(max(known) - min(known))})" if len(known) > 1 and isinstance(known[0], float) else ""
    return _shown(mean if isinstance(known[0], float) else known[0]) + spread


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
    return "all" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _numbers(claim: Mapping[str, Any]) -> str:
    return ", ".join("not run" if value is None else _shown(value) for value in claim["numbers"])


def _anchor(title: str) -> str:
    kept = "".join(letter for letter in title.lower() if letter.isalnum() or letter in " -")
    return kept.replace(" ", "-")


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


if __name__ == "__main__":
    main()
