"""What a prior of 2021 is told: condition stages, from yaml and file to settings of ours and back."""

from collections.abc import Mapping
from typing import Any

from smalti import config
from smalti.conditions import CONDITIONS, ConditionSettings
from smalti.conditions.protocol import Condition
from smalti.errors import UserError
from smalti.formats.compvis import claims
from smalti.tokenizer import Tokenizer

SHARED, UNCONDITIONAL = "__is_first_stage__", "__is_unconditional__"
_OBJECTS = {"objects_bbox": "boxes", "objects_center_points": "points"}
_CLASSES = {"AnnotatedObjectsCoco": 171, "AnnotatedObjectsOpenImages": 340}  # of their full annotations
_MODULES = "taming.modules"
Stage = tuple[Any, dict[str, Any]]  # the yaml's cond_stage_config, and what the model's params say besides


def find(
    said: Mapping[str, Any],
    data: Mapping[str, Any],
    *,
    map_of: str | None,
    map_size: int,
    places: tuple[int, int],
) -> ConditionSettings:
    """Return the settings of the condition, by the yaml; without one by what is in the file.

    said: the params of the model, empty where there is no yaml. data: the yaml's section of that name.
    map_of: "own" or "shared", the tokenizer of maps if there is one. map_size: the side to which maps are
    reduced where the yaml does not say it, -1 for none. places: rows of the table of tokens, and
    of that of positions.
    """
    stage = said.get("cond_stage_config")
    kind = claims.target(stage) if isinstance(stage, Mapping) else ""
    stage_params = claims.section(stage, "params") if isinstance(stage, Mapping) else {}
    if said.get("unconditional") or stage == UNCONDITIONAL or kind == "SOSProvider":
        token = stage_params.get("sos_token", said.get("sos_token", 0))
        return _parse({"kind": "none", "token": int(token)})
    if map_of is not None:
        size = int(said.get("downsample_cond_size", map_size))
        return _parse({"kind": "map", "size": size if size > 0 else None, "shared": map_of == "shared"})
    if kind == "Labelator":
        return _parse({"kind": "label", "classes": _number(stage_params, "n_classes")})
    if kind == "CoordStage":
        return _parse({"kind": "coordinates", "tokens": _number(stage_params, "n_embed")})
    if kind == "DummyCondStage":
        return _objects(said, stage_params, data)
    if stage is not None:
        raise UserError("a condition stage that is known", kind or str(stage), "this kind cannot be read")
    return _guess(*places)


def _number(said: Mapping[str, Any], name: str) -> int:
    if name not in said:
        raise UserError(f"{name} in the yaml's cond_stage_config", "none", "mend the yaml")
    return int(said[name])


def length(settings: Any, tokenizer: Tokenizer, maps: Tokenizer | None) -> int | None:
    """Return the tokens before the codes; None where they grow with the codes. maps: those of maps alone."""
    condition: Condition = CONDITIONS[settings.kind][1](settings, tokenizer, maps)
    one, four = (condition.length((side, side)) for side in (1, 2))
    return one if one == four else None


def stage(settings: Any, factor: int) -> Stage:
    """Return the yaml's cond_stage_config, and what else it says among the model's params; no map.

    factor: of the tokenizer of images. UserError for a condition that the 2021 code does not know.
    """
    if settings.kind not in _STAGES:
        remedy = "keep the model folder: their code knows no such condition"
        raise UserError("a condition of the 2021 code", settings.kind, remedy)
    return _STAGES[settings.kind](settings, factor)


def check(settings: Any) -> None:
    """UserError for what the 2021 code has no word for: a token for "nothing was said", things as a map."""
    if getattr(settings, "dropout", 0.0) > 0:
        remedy = "keep the model folder: their code has no token for a missing condition"
        raise UserError("a condition without dropout", f"dropout={settings.dropout}", remedy)
    if getattr(settings, "layout", "list") == "map":
        remedy = "keep the model folder: their code has no maps of things"
        raise UserError("things in a list", "layout=map", remedy)


def data(settings: Any, size: int) -> dict[str, Any]:
    """Return the yaml's section `data` for boxes and points, where their format is written; else nothing."""
    if settings.kind not in _OBJECTS.values():
        return {}
    flags = set(settings.flags)
    arguments = {
        "data_path": "data",
        "split": "validation",
        "keys": ["image", stage(settings, 1)[1]["cond_stage_key"]],
        "no_tokens": settings.no_tokens,
        "target_image_size": size,
        "max_objects_per_image": settings.max_objects,
        "crop_method": "center",
        "random_flip": False,
        "use_group_parameter": "group" in flags,
        "use_additional_parameters": "occluded" in flags,
        "encode_crop": settings.encode_crop,
        "no_object_classes": settings.classes,
    }
    reader = "taming.data.annotated_objects_open_images.AnnotatedObjectsOpenImages"
    params = {"batch_size": 1, "validation": {"target": reader, "params": arguments}}
    return {"data": {"target": "main.DataModuleFromConfig", "params": params}}


def _none(settings: Any, factor: int) -> Stage:
    more = {"unconditional": True, "sos_token": settings.token, "cond_stage_key": "image"}
    return UNCONDITIONAL, more


def _label(settings: Any, factor: int) -> Stage:
    params = {"n_classes": settings.classes}
    return {"target": f"{_MODULES}.util.Labelator", "params": params}, {"cond_stage_key": "class_label"}


def _coordinates(settings: Any, factor: int) -> Stage:
    params = {"n_embed": settings.tokens, "down_factor": factor}
    return {"target": f"{_MODULES}.misc.coord.CoordStage", "params": params}, {"cond_stage_key": "coord"}


def _scene(settings: Any, factor: int) -> Stage:
    key = {ours: theirs for theirs, ours in _OBJECTS.items()}[settings.kind]
    target = "taming.models.dummy_cond_stage.DummyCondStage"
    return {"target": target, "params": {"conditional_key": key}}, {"cond_stage_key": key}


_STAGES = {"none": _none, "label": _label, "coordinates": _coordinates, "boxes": _scene, "points": _scene}


def _objects(said: Mapping[str, Any], stage: Mapping[str, Any], data: Mapping[str, Any]) -> Any:
    key = stage.get("conditional_key", said.get("cond_stage_key"))
    if key not in _OBJECTS:
        raise UserError(f"a condition {' or '.join(_OBJECTS)}", str(key), "this kind cannot be read")
    splits = claims.section(data, "params")
    readers = [claims.section(splits, name) for name in ("validation", "train", "test") if name in splits]
    reader = readers[0] if readers else {}
    how = claims.section(reader, "params")
    classes = how.get("no_object_classes") or _CLASSES.get(claims.target(reader))
    if "no_tokens" not in how or classes is None:
        remedy = "give the model's whole yaml with --config"
        raise UserError("the format of objects in the yaml's data section", "none", remedy)
    flags = ["group"] if how.get("use_group_parameter") else []
    flags += ["occluded", "depiction", "inside"] if how.get("use_additional_parameters") else []
    found = {
        "kind": _OBJECTS[key],
        "no_tokens": int(how["no_tokens"]),
        "classes": int(classes),
        "max_objects": int(how.get("max_objects_per_image", 30)),
        "flags": flags,
        "encode_crop": bool(how.get("encode_crop", True)),
        "clip_both_ends": False,  # as the model was trained
    }
    return _parse(found)


def _guess(vocabulary: int, positions: int) -> Any:
    """Return what holds without a yaml.

    A token for the class if a grid of codes has place, coordinates if two grids have.

    Grids whose sides are powers of two, as those of published models are. A start token is a class like any
    other. UserError for other numbers of places.
    """
    grids = {4**power for power in range(1, 8)}
    if {positions, positions - 1} & grids:
        return _parse({"kind": "label", "classes": vocabulary})
    if (positions + 1) // 2 in grids:
        return _parse({"kind": "coordinates", "tokens": vocabulary})
    got = f"none, and {positions} places, which no class and no coordinates explain"
    raise UserError("a yaml that says what the model is told", got, "give the model's yaml with --config")


def _parse(mapping: dict[str, Any]) -> Any:
    return config.parse(mapping, ConditionSettings, where="condition")
