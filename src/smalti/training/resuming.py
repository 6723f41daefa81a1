"""What a resumed run may change, and what its settings are then.

The very command that began a run goes on with it: what it says again is no change.
"""

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from smalti import config
from smalti.data.shards import is_shards
from smalti.errors import UserError
from smalti.sizes import typed
from smalti.training import checkpoints, folders, origin
from smalti.training.folder import RunFolder
from smalti.training.origin import Origin
from smalti.training.settings import TrainingSettings

# A resumed run may be longer, shown more often, need less memory, or be moved to another machine; all else
# must be as it was.
CHANGEABLE = {
    "steps",
    "log_every",
    "sample_every",
    "validate_every",
    "checkpoint_every",
    "keep",
    "validate_metrics",
    "keep_best",
    "workers",
    "device",
    "accumulate",
    "recompute",
    "strategy",
    "keep_every",
    "patience",
    "rewinds",
}
# Where things lie may change too: that they are the same is seen from what they hold.
PLACES = {
    "data.root",
    "data.maps",
    "data.val",
    "data.val_maps",
    "data.captions",
    "data.index",
    "tokenizer",
    "condition_tokenizer",
    "condition.encoder_folder",
    "losses.perceptual.vgg",
    "losses.perceptual.heads",
}


def settings(
    folder: RunFolder, recipe: str | Path | None, data: str | Path | None, asked: Mapping[str, Any]
) -> tuple[Any, set[str]]:
    """Return the settings of a run that goes on, and the keys of PLACES that are others than they were.

    recipe: None: the run's. data: see `train`. asked: settings of the command, keys with dots for nested
    ones. UserError for another recipe than the run's, for changes of other keys than CHANGEABLE and PLACES,
    and for fewer steps than are done.
    """
    if not folder.settings.is_file():
        got = f"{folder.root} without settings.yaml"
        raise UserError("a run folder to resume", got, "leave out --resume")
    before = folders.as_begun(config.load_yaml(folder.settings))
    began = config.parse(before, TrainingSettings)
    wanted, noted = copy.deepcopy(before), origin.read(folder.origin)
    if noted.percentiles:  # as it was asked for
        wanted["data"]["range"] = {"percentiles": list(noted.percentiles)}
    if recipe is not None:
        _take_in_recipe(wanted, recipe, noted, folder)
    config.lay({**_place(data, before), **asked}, wanted, TrainingSettings)
    _settle(wanted, before, noted)
    now = config.parse(wanted, TrainingSettings)
    was, will = (dict(_leaves(config.dump(training))) for training in (began, now))
    will["size"], was["size"] = typed(now.sizes), typed(began.sizes)  # 32 is [32, 32]
    changed = {key for key in was.keys() | will.keys() if _differs(key, was.get(key), will.get(key))}
    moved = {key for key in changed & PLACES if None not in (was.get(key), will.get(key))}
    fixed = sorted(changed - CHANGEABLE - moved)
    if fixed:
        key = fixed[0]
        expected = f"{key}={_told(was.get(key))}, with which the run was begun, or changes of "
        expected += f"{', '.join(sorted(CHANGEABLE))} only"
        raise UserError(
            expected, f"{key}={_told(will.get(key))}", f"leave {key} out, or begin a new run for it"
        )
    done = checkpoints.done(folder.checkpoints)
    if done is not None and now.steps < done:
        expected = f"steps of at least the {done} that are done"
        raise UserError(expected, f"steps={now.steps}", f"leave steps out, or give more than {done}")
    return now, moved


def _take_in_recipe(wanted: dict[str, Any], recipe: str | Path, began: Origin, folder: RunFolder) -> None:
    """Lay over the run's settings what a recipe's file says now and did not say when the run began."""
    file, mapping = config.find_recipe(recipe), origin.said(recipe)
    if not began.recipe:
        said, runs = _kinds(mapping), _kinds(wanted)
        other = next((key for key in said.keys() & runs.keys() if said[key] != runs[key]), None)
        if other is not None:
            raise _another(f"one with {other}={runs[other]}", recipe, folder)
    elif mapping != began.mapping and file.stem != began.recipe:
        raise _another(began.recipe, recipe, folder)
    elif file not in config.recipes().values():  # ours may differ in another version: the run keeps its own
        was, now = (dict(_leaves(held)) for held in (began.mapping, mapping))
        config.lay({key: now[key] for key in now if key not in was or was[key] != now[key]}, wanted)
        for key in was.keys() - now.keys():
            _leave_out(wanted, key)


def _leave_out(mapping: dict[str, Any], key: str) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        mapping = mapping.get(parent) or {}
    mapping.pop(last, None)


def _kinds(mapping: Mapping[str, Any]) -> dict[str, str]:
    """Return what makes a recipe known to a run that did not note its own."""
    parts = {"kind": mapping.get("kind", "tokenizer")}
    for part in ("prior", "network"):
        held = mapping.get(part)
        if isinstance(held, Mapping) and "kind" in held:
            parts[f"{part}.kind"] = held["kind"]
    return parts


def _another(began: str, recipe: str | Path, folder: RunFolder) -> UserError:
    remedy = f"leave the recipe out: {folder.again}"
    return UserError(f"the recipe that the run was begun with, {began}", str(recipe), remedy)


def _place(data: str | Path | None, before: Mapping[str, Any]) -> dict[str, Any]:
    """Return what --data says in settings."""
    kind = before["data"].get("kind", "folder")
    if data is None or str(data) == kind:  # data that are made are told by their kind
        return {}
    if is_shards(Path(data)) != (kind == "shards"):
        got = f"{data}, which holds {'none' if kind == 'shards' else 'token shards'}"
        what = "token shards" if kind == "shards" else f"data of kind {kind}"
        remedy = "give what the run was begun with, or begin a new run"
        raise UserError(f"{what}, as the run was begun with", got, remedy)
    return {"data.root": str(data)}


def _settle(wanted: dict[str, Any], before: Mapping[str, Any], noted: Origin) -> None:
    """Settle as when it began what a command leaves open: autos, percentiles, a condition's classes."""
    data = wanted.get("data")
    if isinstance(data, dict) and isinstance(data.get("range"), Mapping):
        known, began = before["data"].get("range"), list(noted.percentiles)
        if data["range"] != {"percentiles": began}:
            by = f" by percentiles {began}" if began else ""
            expected = f"data.range={_told(known)}{by}, with which the run was begun"
            raise UserError(expected, f"data.range={data['range']}", "leave data.range out")
        data["range"] = known
    if wanted.get("precision") == "auto":
        wanted["precision"] = before.get("precision", "fp32")
    losses, settled = wanted.get("losses"), before.get("losses") or {}
    if isinstance(losses, dict) and "perceptual" in settled:
        perceptual = losses.setdefault("perceptual", {})
        if isinstance(perceptual, dict) and perceptual.get("kind", "auto") == "auto":
            perceptual["kind"] = settled["perceptual"].get("kind", "auto")
    _settle_classes(wanted.get("condition"), before.get("condition"))


def _settle_classes(condition: Any, settled: Any) -> None:
    """Give a condition, or each of several, the classes that it had."""
    if not isinstance(condition, dict) or not isinstance(settled, Mapping):
        return
    if condition.get("kind") == settled.get("kind"):
        for key in {"classes", "names"} & settled.keys():
            condition.setdefault(key, settled[key])
        for name, one in (condition.get("of") or {}).items():
            _settle_classes(one, settled["of"].get(name))


def _leaves(mapping: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Return keys with dots and values of nested mappings; an empty mapping is a value."""
    for key, value in mapping.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _differs(key: str, was: Any, now: Any) -> bool:
    if key in PLACES | {"init_from"} and was is not None and now is not None:
        return Path(was).resolve() != Path(now).resolve()
    return bool(was != now)


def _told(value: Any) -> str:
    return "null" if value is None else str(value)
