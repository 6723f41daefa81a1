"""Any file of others: which format it has, what it is in a line, and a model folder of ours from it."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

from smalti import library
from smalti.errors import UserError
from smalti.formats import FORMATS
from smalti.formats.diffusers import unread
from smalti.formats.ledger import told
from smalti.formats.protocol import Format, Imported, Wanted
from smalti.formats.source import Source, open_source
from smalti.formats.states import LAYOUT, arrays, listing
from smalti.formats.unpickle import by_torch
from smalti.pipeline import Pipeline
from smalti.reading.labels import LabelReading
from smalti.tokenizer import Tokenizer

_NAMED = 3  # names of tensors in an error


def describe(path: Path, settings: Path | None = None) -> str:
    """Return what a file or a folder of others is, in one line, without converting it."""
    source = open_source(path, settings)
    _, member = _find(source)
    more = [] if source.state.layout == LAYOUT else [f"convolutions turned around ({source.state.layout})"]
    return "; ".join([f"{source.weights}: {member.describe(source)}", *more])


def convert(path: Path, out: Path, settings: Path | None = None, wanted: Wanted | None = None) -> Imported:
    """Read a file or a folder of others and write a model folder, whole or not at all.

    settings: the yaml or json of the model; None: what lies beside it. UserError for what is unknown,
    damaged or does not fit together.
    """
    source = open_source(path, settings)
    name, member = _find(source)
    wanted = wanted or Wanted()
    found = member.read(source, wanted)
    if wanted.image_range is not None:
        tokenizer = found.model if isinstance(found.model, Tokenizer) else found.model.tokenizer
        tokenizer.settings = replace(tokenizer.settings, image_range=wanted.image_range)
    labels = found.labels if wanted.shift is None else LabelReading(shift=True) if wanted.shift else None
    for tokenizer in of_segmentations(found.model):
        if wanted.shift is not None or tokenizer.settings.labels is None:
            tokenizer.settings = replace(tokenizer.settings, labels=labels)
    outside = (f"{where}: {told(names)}" for where, names in source.state.outside.items())
    found = replace(found, dropped=(*found.dropped, *outside))
    origin = {"imported_from": source.weights.name, "format": name, "dropped": list(found.dropped)}
    library.save(found.model, out, provenance={**origin, **found.metadata}, discriminator=found.discriminator)
    return found


def of_segmentations(model: Tokenizer | Pipeline) -> list[Tokenizer]:
    """Return the tokenizers in a model that take label maps."""
    parts = [model] if isinstance(model, Tokenizer) else library.tokenizers(model).values()
    return [part for part in parts if part.settings.content == "segmentation"]


def load_tokenizer(path: Path) -> Tokenizer:
    """Return the tokenizer of a model folder or a run folder, of a generator's its own."""
    model = library.load(path)
    return model if isinstance(model, Tokenizer) else model.tokenizer


def _find(source: Source) -> tuple[str, Format]:
    """Return the first format that knows the file."""
    if {"format", "kind", "fingerprint"} <= source.config.keys():
        raise UserError(
            "another project's model", f"a model folder of ours, {source.path}", "use it as it is"
        )
    if any(name.startswith("quantizer.") for name in source.tensors):
        remedy = "copy the folder again, whole"
        raise UserError("a model folder of ours with its config.json", f"{source.weights} alone", remedy)
    for name, member in FORMATS.items():
        if member.recognises(source):
            return name, member
    named = source.config.get("_class_name")
    if named:
        raise unread(str(named), str(source.path))
    names = list(source.tensors)
    keys, count = arrays(source.contents)
    if count > len(names):
        raise _of_numpy(source, keys, count)
    what = f"{len(names)} tensors ({', '.join(names[:_NAMED])} ...)" if names else "no tensors by name"
    where = "" if names else listing(source.contents)
    expected = f"a model of a known format ({', '.join(FORMATS)})"
    got = f"{what} in {source.weights}{f' ({where})' if where else ''}"
    raise UserError(expected, got, "docs/importing.md lists what loads")


def _of_numpy(source: Source, keys: tuple[str, ...], count: int) -> UserError:
    """Refuse weights that were saved as arrays, with the way to make tensors of them."""
    path = str(source.parts[0])
    load = f"torch.load({json.dumps(path)}, weights_only=False)"
    if not by_torch(source.parts[0]):
        load = f"pickle.loads(pathlib.Path({json.dumps(path)}).read_bytes())"
    script = (
        f"import pathlib, pickle, torch; found = {load}{''.join(f'[{json.dumps(key)}]' for key in keys)}; "
        'torch.save({name: torch.as_tensor(one) for name, one in found.items() if hasattr(one, "shape")}, '
        '"weights.pt")'
    )
    remedy = f"python -c {shlex.quote(script)}, which runs what the file asks for; then import weights.pt"
    where = f"{path} under {'.'.join(keys)}" if keys else path
    return UserError("weights that are torch's tensors", f"{count} arrays of numpy's in {where}", remedy)
