"""The model's tensors within a file: under which keys, what stands before their names, how they lie."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from smalti.errors import UserError
from smalti.formats.storages import Placeholder

_WRAPPERS = ("state_dict", "model", "module")  # keys under which a checkpoint may keep its tensors
_FIRST_STAGE = "first_stage_model."
_TOKENIZER = "encoder.conv_in.weight"
_ANCHORS = (  # names by which a model is known: of more before of less
    "transformer.pos_emb",
    "tok_embeddings.weight",
    _FIRST_STAGE + _TOKENIZER,
    _TOKENIZER,
    "encoder.conv_in.kernel",
)
_COMPILED = "_orig_mod"  # a word that torch.compile puts into names
_OPTIMIZER = re.compile(r"(^|\.)opt\w*\.")
_AVERAGED = re.compile(r"(^|[._])(ema|averaged)")
_LISTED = 3  # sets of tensors in an error
LAYOUT = "out in y x"
# axes of a convolution's weight -> where out, in, y and x stand; torch's first
_LAYOUTS = {LAYOUT: (0, 1, 2, 3), "out y x in": (0, 3, 1, 2), "y x in out": (3, 2, 0, 1)}
_LARGEST = 7  # sides of a kernel
_FLAX = re.compile(r"\b(down_blocks|up_blocks|resnets|attentions|downsamplers|upsamplers|to_out)_(\d+)")
_FLAX_WORDS = {"kernel": "weight", "scale": "weight", "embedding": "weight"}


@dataclass(frozen=True)
class State:
    """Tensors by name, and how they were found."""

    tensors: dict[str, Tensor]
    outside: dict[str, list[str]]  # where other tensors stand -> their names
    layout: str = LAYOUT  # of convolutions in the file; here it is always that


@dataclass(frozen=True)
class _Set:
    """Tensors that may be the model's."""

    keys: tuple[str, ...]  # of the file, which lead to them
    start: str  # before each name
    tensors: Mapping[str, Tensor]  # with all names under these keys
    others: Mapping[str, Any]  # what else is under these keys

    @property
    def told(self) -> str:
        """Return where it is, for people."""
        return ".".join([*self.keys, self.start.rstrip(".")]).strip(".") or "the top"


def find(contents: Mapping[Any, Any], where: str) -> State:
    """Return the tensors of the model in a file.

    Without one that is known, those that lie where they mostly do.

    Names come without what stands before all of them, and without torch.compile's `_orig_mod`. UserError for
    several models, of which none is the average of another, and for values among the tensors that are none.
    """
    sets = list(_sets(contents))
    if not sets:
        return State(_usual(contents), {})
    chosen = _choose(sets, where)
    if chosen.keys and chosen.others:
        name, value = next(iter(chosen.others.items()))
        raise UserError(
            f"tensors alone in {where}", f"{name}, {_kind(value)}", "it is not a state dict; nothing was run"
        )
    inside = {
        name.removeprefix(chosen.start): tensor
        for name, tensor in chosen.tensors.items()
        if name.startswith(chosen.start)
    }
    outside = {
        f"outside {chosen.told}": [name for name in chosen.tensors if not name.startswith(chosen.start)]
    }
    if not _is_usual(chosen):  # else what lies beside it belongs to training
        outside |= {f"of {other.told}": list(other.tensors) for other in sets if other.keys != chosen.keys}
    tensors, layout = _turn(_from_flax(inside), where)
    return State(tensors, {why: names for why, names in outside.items() if names}, layout)


def arrays(contents: Mapping[Any, Any]) -> tuple[tuple[str, ...], int]:
    """Return under which keys most of numpy's arrays lie, and how many there; none: 0."""
    counts = {keys: sum(map(_is_array, mapping.values())) for keys, mapping in _mappings(contents)}
    most = max(counts, key=lambda keys: counts[keys])
    return most, counts[most]


def listing(contents: Mapping[Any, Any]) -> str:
    """Return how many tensors lie under which keys, the most first; empty without any."""
    counts = {keys: len(_direct(mapping)) for keys, mapping in _mappings(contents)}
    most = sorted((item for item in counts.items() if item[1]), key=lambda item: -item[1])
    return ", ".join(f"{'.'.join(keys) or 'the top'}: {count} tensors" for keys, count in most[:_LISTED])


def clean(name: str) -> str:
    """Return a name without the words that torch.compile puts in."""
    return ".".join(word for word in name.split(".") if word != _COMPILED)


def _mappings(contents: Mapping[Any, Any]) -> Iterator[tuple[tuple[str, ...], Mapping[Any, Any]]]:
    """Return all mappings below with the keys that lead to them, each once: one may hold itself."""
    seen: set[int] = set()
    waiting: list[tuple[tuple[str, ...], Mapping[Any, Any]]] = [((), contents)]
    while waiting:
        keys, mapping = waiting.pop()
        if id(mapping) not in seen:
            seen.add(id(mapping))
            yield keys, mapping
            named = [(key, value) for key, value in mapping.items() if isinstance(key, str)]
            inner = [((*keys, key), value) for key, value in named if isinstance(value, Mapping)]
            waiting += reversed(inner)


def _sets(contents: Mapping[Any, Any]) -> Iterator[_Set]:
    """Return sets with a name by which a model is known, those furthest down.

    Not also what is around them.
    """
    found: list[tuple[str, ...]] = []
    for keys, mapping in sorted(_mappings(contents), key=lambda item: -len(item[0])):
        if any(deeper[: len(keys)] == keys for deeper in found):
            continue
        tensors = _flat(mapping)
        starts = _starts(tensors)
        if starts:
            found.append(keys)
        others = {name: value for name, value in mapping.items() if not isinstance(value, Tensor | Mapping)}
        for start in starts:
            yield _Set(keys, start, tensors, others)


def _starts(names: Iterable[str]) -> list[str]:
    """Return what stands before the names of each model among these."""
    names = set(names)
    for anchor in _ANCHORS:
        ends = (name.removesuffix(anchor) for name in names if name.endswith(anchor))
        starts = sorted(start for start in ends if not start or start.endswith("."))
        if anchor == _ANCHORS[0]:  # others' transformers have such a name too
            starts = [s for s in starts if {s + _TOKENIZER, s + _FIRST_STAGE + _TOKENIZER} & names]
        starts = [start for start in starts if not _OPTIMIZER.search(start)]
        if starts:
            return starts
    return []


def _choose(sets: list[_Set], where: str) -> _Set:
    usual = [one for one in sets if _is_usual(one)]
    if usual:
        first = min(usual, key=lambda one: _WRAPPERS.index(one.keys[0]))
        sets = [one for one in usual if one.keys == first.keys]
    averaged = [one for one in sets if _AVERAGED.search(one.told)]
    left = averaged if len(averaged) == 1 else sets
    if len(left) == 1:
        return left[0]
    got = ", ".join(f"{one.told} ({len(one.tensors)} tensors)" for one in sets[:_LISTED])
    remedy = "save the tensors of one of them alone, with torch.save"
    raise UserError(f"one model in {where}", f"{len(sets)}: {got}", remedy)


def _is_usual(one: _Set) -> bool:
    return len(one.keys) == 1 and one.keys[0] in _WRAPPERS


def _usual(contents: Mapping[Any, Any]) -> dict[str, Tensor]:
    inner = [contents[key] for key in _WRAPPERS if isinstance(contents.get(key), Mapping)]
    return _direct(inner[0] if inner else contents)


def _direct(mapping: Mapping[Any, Any]) -> dict[str, Tensor]:
    found = {name: value for name, value in mapping.items() if isinstance(value, Tensor)}
    return {clean(name): value for name, value in found.items() if isinstance(name, str)}


def _flat(mapping: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Return all tensors below, with the keys that lead to them before their names."""
    return {
        ".".join([*keys, name]): tensor
        for keys, inner in _mappings(mapping)
        for name, tensor in _direct(inner).items()
    }


def _turn(tensors: dict[str, Tensor], where: str) -> tuple[dict[str, Tensor], str]:
    """Return the tensors with convolutions as torch has them, and how they lay."""
    convolutions = {n: t for n, t in tensors.items() if t.dim() == 4 and n.endswith(".weight")}
    fitting = [
        name for name, axes in _LAYOUTS.items() if all(_fits(t.shape, axes) for t in convolutions.values())
    ]
    if not convolutions or not fitting or fitting[0] == LAYOUT:
        return tensors, LAYOUT
    if fitting[0] == "y x in out" and any(t.dim() == 2 and "mid" in n for n, t in tensors.items()):
        got = f"convolutions turned around (y, x, in, out), and beside them matrices of attention in {where}"
        raise UserError("matrices and convolutions that lie alike", got, "save it anew with torch's layout")
    turned = {name: tensor.permute(_LAYOUTS[fitting[0]]) for name, tensor in convolutions.items()}
    return tensors | turned, fitting[0]


def _fits(shape: tuple[int, ...], axes: tuple[int, ...]) -> bool:
    return shape[axes[2]] == shape[axes[3]] <= _LARGEST


def _from_flax(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return Flax's names and layout of diffusers' networks as torch's; other tensors as they are."""
    if not any(_FLAX.search(name) for name in tensors):
        return tensors
    found = {}
    for name, tensor in tensors.items():
        start, _, last = _FLAX.sub(r"\1.\2", name).rpartition(".")
        if last == "kernel":
            tensor = tensor.permute(3, 2, 0, 1) if tensor.dim() == 4 else tensor.transpose(0, -1)
        found[f"{start}.{_FLAX_WORDS.get(last, last)}"] = tensor
    return found


def _is_array(value: Any) -> bool:
    """Return whether it is an array, or stands for one in a form that is not read."""
    return isinstance(value, np.ndarray) or (
        isinstance(value, Placeholder) and value.name.startswith(("numpy.", "numpy._core."))
    )


def _kind(value: Any) -> str:
    return f"made by {value.name}" if isinstance(value, Placeholder) else f"a {type(value).__name__}"
