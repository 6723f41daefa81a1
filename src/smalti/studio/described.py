"""What a page is told of a model, so that it can build its forms."""

from collections.abc import Collection, Mapping
from typing import Any, get_type_hints

import torch

from smalti import about, config, imaging
from smalti.conditions.pose import limbs, sides
from smalti.conditions.protocol import Condition
from smalti.data.scenes import SEGMENTS
from smalti.pipeline import Pipeline, tokenizer_of
from smalti.priors.protocol import Forced
from smalti.tokenizer import Tokenizer


def model(name: str, model: Tokenizer | Pipeline, with_shards: Collection[str] = ()) -> dict[str, Any]:
    """Return it in plain values, with the lines of `smalti info`.

    with_shards: fingerprints of the tokenizers of which there are token shards.
    """
    found = _known(name, model) | (_drawing(model) if isinstance(model, Pipeline) else {})
    if tokenizer_of(model).fingerprint in with_shards:
        found["can"] = [*found["can"], "occurrences"]
    return found


def _known(name: str, model: Tokenizer | Pipeline) -> dict[str, Any]:
    """Return what is told of any model."""
    tokenizer = tokenizer_of(model)
    metrics = model.provenance.get("metrics", {})
    return {
        "name": name,
        "kind": model.kind,
        "about": "\n".join(about.lines(model, model.provenance)),
        "fingerprint": model.fingerprint,
        "metrics": {key: value for key, value in metrics.items() if isinstance(value, int | float)},
        "factor": tokenizer.factor,
        "codebook_size": tokenizer.codebook_size,
        "channels": tokenizer.channels,
        "content": tokenizer.settings.content,
        "conditions": [],
        "sizes": [],
        "any_size": True,
        "can": ["reconstruct", *(["encode", "decode", "codebook"] if tokenizer.has_codes else [])],
        "options": {},
        "example": None,
    }


def _drawing(model: Pipeline) -> dict[str, Any]:
    """Return what is told of a model that draws besides."""
    named, prior = model.condition.named, model.prior
    can = ["sample", "complete", "grow", "reconstruct", "encode", "decode", "codebook"]
    takes_two = len(named) == 1 and next(iter(named)) != "coordinates"
    return {
        "prior": model.settings.prior.kind,
        "order": model.settings.order,
        "conditions": [condition(keyword, one) | _segments(model, one) for keyword, one in named.items()],
        "sizes": [list(size) for size in model.crop_sizes],
        "any_size": model.settings.prior.kind == "neighbourhood",  # also below the training crops
        "can": [*can, *["mix"] * takes_two, *["nats"] * isinstance(prior, Forced)],
        "options": _options(prior.options),
        "can_be_guided": bool(model.condition.loose),
        "longest_stride": prior.longest_stride,
        "example": model.provenance.get("example"),
    }


def _segments(model: Pipeline, condition: Condition) -> dict[str, Any]:
    """Return the names of a segmentation's classes, which a model knows only by the data it learned of."""
    data, settings = model.provenance.get("data"), condition.settings
    is_made = isinstance(data, Mapping) and data.get("kind") == "scenes"
    if is_made and settings.kind == "map" and getattr(condition, "of_classes", False):
        return {"classes": list(SEGMENTS)}
    return {}


def _options(own: type[Any]) -> dict[str, Any]:
    """Return what a prior takes besides, by name: a JSON Schema of each, with its help and its default."""
    found = dict(config.json_schema(own).get("properties", {}))
    for name, hint in get_type_hints(own, include_extras=True).items():
        found[name]["description"] = next(text for text in hint.__metadata__ if isinstance(text, str))
    return found


def condition(keyword: str, condition: Condition) -> dict[str, Any]:
    """Return what is told of a condition: its kind, and what a painter or a form of it must know."""
    kind = condition.settings.kind
    own = _OWN.get(kind)
    return {
        "keyword": keyword,
        "kind": kind,
        "classes": None,
        "can_be_left_out": keyword in condition.loose,
        "told": condition.told(),
        **({} if own is None else own(condition)),
    }


def _classes(condition: Any) -> dict[str, Any]:
    """Return the classes by name, or by number where they have none."""
    settings = condition.settings
    return {"classes": list(settings.names) or list(map(str, range(settings.classes)))}


def _things(condition: Any) -> dict[str, Any]:
    settings = condition.settings
    return {**_classes(condition), "most": settings.max_objects, "flags": list(settings.flags)}


def _text(condition: Any) -> dict[str, Any]:
    return {"max_tokens": condition.settings.max_tokens}


def _keypoints(condition: Any) -> dict[str, Any]:
    names = condition.layout.names
    return {
        "joints": list(names),
        "limbs": [list(limb) for limb in limbs(names)],
        "pairs": [list(pair) for pair in sides(names)],
        "figures": condition.settings.figures,
    }


def _map(condition: Any) -> dict[str, Any]:
    """Return what a map shows, and of classes the gray value that a pixel of each has in a file."""
    computed, tokenizer = condition.settings.compute, condition.tokenizer
    found = {
        "content": _content(condition),
        "channels": 1 if condition.of_classes else tokenizer.channels,
        "from_image": computed is not None,
        "computed": None if computed is None else config.dump(computed),
        "reduced": condition.size,
    }
    if condition.of_classes:
        found |= _palette(tokenizer)
    return found


def _content(condition: Any) -> str:
    if condition.of_classes:
        return "segmentation"
    if condition.settings.compute is not None:
        return str(condition.settings.compute.kind)
    return {1: "depth", 3: "image"}.get(condition.tokenizer.channels, "channels")


def _palette(tokenizer: Tokenizer) -> dict[str, Any]:
    """Return classes, the value that stands for each in a file, and a colour to show it in."""
    count, labels = tokenizer.channels, tokenizer.settings.labels
    values = list(range(count))
    if labels is not None:
        values = [(number - labels.shift) % 256 for number in values]
        merged = {value: other for value, other in labels.merge.items() if value != other}
        values = [
            next((old for old, new in merged.items() if new == value), value) if value in merged else value
            for value in values
        ]
    colours = imaging.colour_labels(torch.arange(count)[None, None])[0, :, 0].T.tolist()
    hexes = ["#{:02x}{:02x}{:02x}".format(*colour) for colour in colours]
    return {"classes": [str(number) for number in range(count)], "values": values, "colours": hexes}


_OWN = {
    "label": _classes,
    "boxes": _things,
    "points": _things,
    "text": _text,
    "keypoints": _keypoints,
    "map": _map,
}
