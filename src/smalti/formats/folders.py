"""Where the weights lie that a path means: a file, parts that an index lists, a folder, a pipeline's."""

import json
import os
import re
from itertools import islice
from pathlib import Path
from typing import Any

from smalti.errors import UserError
from smalti.formats.kinds import check_folder, check_others

_WEIGHTS = (  # where a folder's weights may lie, the first that is there
    "checkpoints/last.ckpt",
    "last.ckpt",
    "model.ckpt",
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.bin",
    "model.safetensors",
    "pytorch_model.bin",
    "flax_model.msgpack",
)
_SUFFIXES = {".ckpt", ".pt", ".pth", ".bin", ".safetensors", ".msgpack"}
_PIPELINE = "model_index.json"
_STAGES = ("vae", "vqvae", "movq", "vqgan")  # where a pipeline of diffusers' keeps its tokenizer
_LOOKED_AT = 1000  # folders below one that holds nothing
_NAMED = 3  # of them in an error
_PART = re.compile(r"(.*-)(\d{5})(-of-)(\d{5})(\..*)")  # a part's name: its number from 1, and how many


def locate(path: Path) -> tuple[Path, tuple[Path, ...]]:
    """Return the file that a path means, and those that hold its weights: itself, or the parts that it lists.

    UserError for nothing, for several, for parts that are missing, and for kinds that cannot be read.
    """
    if path.is_dir():
        return _in_folder(path)
    if path.name.endswith(".json") and ".index." in path.name:
        return path, _listed(path)
    return _parts(path) if _named(path) else (path, (path,))


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object. UserError for anything else."""
    try:
        mapping = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as problem:
        raise UserError(f"JSON in {path}", " ".join(str(problem).split()), "mend the file") from None
    if not isinstance(mapping, dict):
        raise UserError(f"a JSON object in {path}", type(mapping).__name__, "mend the file")
    return mapping


def _in_folder(folder: Path) -> tuple[Path, tuple[Path, ...]]:
    stages = [folder / name for name in _STAGES if (folder / name).is_dir()]
    if (folder / _PIPELINE).is_file():
        return _in_pipeline(folder, stages)
    for name in _WEIGHTS:
        if (folder / name).is_file():
            return folder / name, (folder / name,)
    indices = sorted(folder.glob("*.index*.json"), key=lambda path: len(path.name))
    if indices:  # the shortest name is that without a variant such as fp16
        return indices[0], _listed(indices[0])
    check_folder(folder)
    places = [folder, folder / "checkpoints"]
    found = [path for place in places for path in sorted(place.glob("*")) if path.suffix in _SUFFIXES]
    named = [_named(path) for path in found]
    if all(named) and len({part.group(1, 4, 5) for part in named if part}) == 1:
        return _parts(found[0])
    if len(found) == 1:
        return found[0], (found[0],)
    if not found and stages:
        return _in_pipeline(folder, stages)
    if not found:
        check_others(folder)
        _name_deeper(folder)
    got = f"{len(found)} of them, {found[0].name} and {found[1].name} first" if found else "none"
    remedy = "name the file itself" if found else "give the .ckpt, .pt, .pth, .bin or .safetensors file"
    raise UserError(f"one file of weights in {folder}", got, remedy)


def _name_deeper(folder: Path) -> None:
    """UserError that names the folders further down with something to import, if there are any."""
    if (folder / "settings.yaml").is_file() and (folder / "model").is_dir():
        raise UserError("another project's model", f"a run folder of ours, {folder}", "use it as it is")
    found: list[Path] = []
    for place, folders, files in islice(os.walk(folder), _LOOKED_AT):
        folders.sort()
        if any(name == _PIPELINE or Path(name).suffix in _SUFFIXES for name in files):
            above = Path(place)
            found.append(above.parent if above.name == "checkpoints" else above)
            folders.clear()  # what is below belongs to it
    if found:
        more = ", ".join(map(str, found[1:_NAMED]))
        got = f"none in it, but in {len(found)} below"
        raise UserError(f"one file of weights in {folder}", got, f"give {found[0]}{more and f', or {more}'}")


def _in_pipeline(folder: Path, stages: list[Path]) -> tuple[Path, tuple[Path, ...]]:
    if len(stages) != 1:
        got = " and ".join(stage.name for stage in stages) if stages else f"none of {', '.join(_STAGES)}"
        remedy = f"name one of them, such as {stages[0]}" if stages else "name the folder of its tokenizer"
        raise UserError(f"one folder with a tokenizer in the pipeline {folder}", got, remedy)
    return _in_folder(stages[0])


def _listed(index: Path) -> tuple[Path, ...]:
    """Return the parts that an index lists."""
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise UserError(f"a weight_map from tensors to files in {index}", "none", "get the file anew")
    parts = sorted(set(names.values()))
    if any(Path(name).name != name for name in parts):
        raise UserError(f"files beside {index} in its weight_map", "other folders", "get the file anew")
    return _all_there(index.parent, parts)


def _parts(path: Path) -> tuple[Path, tuple[Path, ...]]:
    """Return the index that lists a part, or without one all of its numbers."""
    for index in sorted(path.parent.glob("*.index*.json")):
        parts = _listed(index)
        if path in parts:
            return index, parts
    part = _named(path)
    assert part is not None, "the caller has looked"
    start, _, of, count, end = part.groups()
    names = [f"{start}{number + 1:05}{of}{count}{end}" for number in range(int(count))]
    return path, _all_there(path.parent, names)


def _named(path: Path) -> re.Match[str] | None:
    return _PART.fullmatch(path.name)


def _all_there(folder: Path, names: list[str]) -> tuple[Path, ...]:
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        remedy = "get the missing ones too, into the same folder"
        raise UserError(f"{len(names)} files of weights in {folder}", f"no {missing[0]}{more}", remedy)
    return tuple(folder / name for name in names)
