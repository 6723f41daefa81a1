"""What the data tell a prior: which part of a batch is the value of its condition."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from smalti.conditions.classes import Numbers
from smalti.data.annotated import Annotated
from smalti.data.pairs import Pairs, PairsSettings
from smalti.data.protocol import Batch, Reader
from smalti.data.shards import TokenShards
from smalti.errors import UserError
from smalti.tokenizer import Tokenizer
from smalti.training.settings import TokenizerTraining


def value(argument: str | None, batch: Batch) -> Any:
    """What a condition that is given by this keyword gets from a batch; None: nothing."""
    if argument == "map":
        return batch.segmentations if batch.maps is None else batch.maps
    found = {
        "label": None if batch.labels is None else Numbers(batch.labels),
        "boxes": batch.scenes,
        "points": batch.scenes,
        "coordinates": batch.parts,
    }
    return found[argument] if argument else None


def check(condition: Any, data: Any, reader: Reader) -> None:
    """UserError where data of this kind have nothing for a condition; both are given by their settings."""
    kind = condition.kind
    if kind == "map" and not isinstance(reader, Pairs):
        remedy = "give data.kind=pairs, data.root and data.maps"
        raise UserError("pictures with maps for condition.kind=map", f"data.kind={data.kind}", remedy)
    if kind == "coordinates" and isinstance(reader, TokenShards):
        remedy = "give the folder of pictures: shards do not say where a crop lies"
        raise UserError("pictures for condition.kind=coordinates", "token shards", remedy)
    if kind in ("boxes", "points"):
        _check_scenes(condition, data, reader)
    if kind == "label":
        _check_labels(condition, data, reader)
    if kind in ("label", "boxes", "points"):
        _check_names(condition.names, reader.classes)


def check_maps(data: PairsSettings, tokenizer: Tokenizer, key: str) -> None:
    """UserError where a tokenizer, which the recipe's key names, takes other maps than the data have."""
    if tokenizer.settings.pixels is not None:
        remedy = f"give a {key} that was trained with content=map and data.kind=pairs, or none of its own"
        raise UserError(
            f"a {key} of maps, which are read as they are", "one with data.range or bands", remedy
        )
    takes = {"segmentation": "segmentation"}.get(tokenizer.settings.content)
    takes = takes or {1: "depth", 3: "picture"}.get(tokenizer.channels, f"{tokenizer.channels} channels")
    if data.content != takes:
        expected = f"data.content={takes}, which {key} takes"
        raise UserError(expected, data.content, f"data.content={takes}, or another {key}")


def read_alike(reader: Reader, tokenizer: Tokenizer) -> None:
    """Let a reader's class maps and their tokenizer agree on what values in files mean, and so a user's.

    The tokenizer has it from its training; one that has not (it was trained on class numbers as they are, or
    before this was kept) takes it from the data. UserError where both say it and differ.
    """
    if not isinstance(reader, Pairs) or tokenizer.settings.content != "segmentation":
        return
    kept = tokenizer.settings.labels
    if kept is None:
        tokenizer.settings = replace(tokenizer.settings, labels=reader.labels)
    else:
        for name in ("merge", "shift"):
            said, known = getattr(reader.settings, name), getattr(kept, name)
            if said is not None and said != known:
                expected = f"data.{name}={str(known).lower()}, with which the tokenizer of maps was trained"
                remedy = f"leave data.{name} out, or use a tokenizer that was trained with it"
                raise UserError(expected, str(said).lower(), remedy)
        reader.labels = kept
    reader.most = tokenizer.channels


def bound(readers: Iterable[Reader], training: TokenizerTraining) -> None:
    """Let readers of pictures with class maps know how many classes the tokenizer to be trained has."""
    for reader in readers:
        if isinstance(reader, Pairs) and training.content == "segmentation":
            reader.most = training.network.in_channels


def classes(kind: str, data: Any, reader: Reader) -> Sequence[str]:
    """Names of the data's classes, for a condition of this kind; UserError where there are none."""
    if not reader.classes:
        remedy = "put each class into a sub-folder of its own, or give 'condition={kind: none}'"
        raise UserError(f"pictures with classes for condition.kind={kind}", f"none in {data.root}", remedy)
    return reader.classes


def _check_labels(condition: Any, data: Any, reader: Reader) -> None:
    count = len(classes(condition.kind, data, reader))
    if condition.classes < count:
        expected = f"condition.classes of at least {count}, as many as the data have"
        raise UserError(expected, str(condition.classes), f"condition.classes={count}, or other data")


def _check_names(names: Sequence[str], classes: Sequence[str]) -> None:
    """A class is its number: one that the model knows by name must have the same number in the data."""
    numbers = {name: number for number, name in enumerate(names)}
    for number, name in enumerate(classes):
        if numbers.get(name, number) != number:
            expected = f"the class {name} as number {numbers[name]}, as condition.names has it"
            remedy = "give data with a folder for each of the model's classes, or other condition.names"
            raise UserError(expected, f"number {number} in the data", remedy)


def _check_scenes(condition: Any, data: Any, reader: Reader) -> None:
    if not isinstance(reader, Annotated):
        remedy = "give data.kind=coco or open_images"
        raise UserError(f"annotated pictures for condition.kind={condition.kind}", data.kind, remedy)
    if condition.classes != len(reader.classes):
        remedy = f"leave condition.classes out, or give condition.classes={len(reader.classes)}"
        expected = f"as many condition.classes as the data have, {len(reader.classes)}"
        raise UserError(expected, str(condition.classes), remedy)
    if condition.max_objects < data.max_objects:
        expected = f"condition.max_objects of at least data.max_objects={data.max_objects}"
        raise UserError(expected, str(condition.max_objects), f"data.max_objects={condition.max_objects}")
