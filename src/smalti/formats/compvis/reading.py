"""A checkpoint of the 2021 code: recognised, told in one line, read whole or in part."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from smalti.errors import UserError
from smalti.formats.compvis import claims, labels, prior, tokenizer
from smalti.formats.ledger import Ledger
from smalti.formats.own import SECTION, Own
from smalti.formats.protocol import Imported, Part, Wanted
from smalti.formats.source import Source
from smalti.pipeline import Pipeline, tokenizer_of
from smalti.tokenizer import Tokenizer

_PARTS = {"first_stage": prior.FIRST, "cond_stage": prior.CONDITION}
_OPTIMIZER = "the optimizer's state"


def recognises(source: Source) -> bool:
    """Return whether names are those of the 2021 code's tokenizer, or of a model around one."""
    starts = [start for start in ("", prior.FIRST) if start + tokenizer.ANCHOR in source.tensors]
    return any(name.startswith(f"{start}encoder.down.") for start in starts for name in source.tensors)


def describe(source: Source) -> str:
    """Say family, variant, factor, codes and missing parts; UserError as `read` raises."""
    book, config = _open(source)
    missing = [] if source.settings else ["yaml (settings by shapes)"]
    if not _is_prior(source.tensors):
        part: Part = "all" if tokenizer.ANCHOR in book else "first_stage"
        model, discriminator = _stage(book, config, Wanted(part=part), _kept(source))
        missing += [] if discriminator else ["discriminator"]
        return _tell(model) + _without(missing)
    heads = None if claims.inner(claims.params(claims.model_config(config)), "transformer_config") else 1
    missing += [] if heads is None else ["number of heads (--num-heads)"]
    return _tell(prior.read(book, config, heads, _kept(source))) + _without(missing)


def read(source: Source, wanted: Wanted) -> Imported:
    """Return the model or the part that is wanted.

    UserError where file and yaml disagree or something lacks.
    """
    book, config = _open(source)
    if _is_prior(source.tensors) and wanted.part == "all":
        model: Tokenizer | Pipeline = prior.read(book, config, wanted.num_heads, _kept(source))
        discriminator: Mapping[str, Tensor] = {}
        book.drop("loss.", "parts of the loss")
    else:
        model, discriminator = _stage(book, config, wanted, _kept(source))
    dropped = book.finish()
    if "optimizer_states" in source.contents:
        dropped = (*dropped, _OPTIMIZER)
    metadata, values = _metadata(model, config, source), labels.find(config)
    return Imported(
        model=model, metadata=metadata, dropped=dropped, discriminator=discriminator, labels=values
    )


def _open(source: Source) -> tuple[Ledger, Mapping[str, Any]]:
    """Return the tensors and the yaml."""
    claims.check_kinds(claims.model_config(source.config))
    claims.check_kinds(claims.section(source.config, "data"))
    return Ledger(source.tensors, source.weights.name), source.config


def _is_prior(tensors: Mapping[str, Tensor]) -> bool:
    return prior.ANCHOR in tensors


def _kept(source: Source) -> prior.Kept:
    """Return what our own writer left of a part, by the beginning of its tensors' names.

    Of others nothing.
    """
    settings = claims.section(claims.section(source.config, SECTION), "settings")
    tensors = claims.section(source.contents, SECTION)

    def kept(part: str) -> Own:
        mine = {name: value for name, value in tensors.items() if name.startswith(f"{part}quantizer.")}
        return Own(
            settings=claims.section(settings, part),
            tensors={k.removeprefix(part): value for k, value in mine.items() if isinstance(value, Tensor)},
        )

    return kept


def _stage(
    book: Ledger, config: Mapping[str, Any], wanted: Wanted, kept: prior.Kept
) -> tuple[Tokenizer, Mapping[str, Tensor]]:
    """Return a tokenizer: all that the file holds, or one stage of it."""
    model = claims.model_config(config)
    if tokenizer.ANCHOR in book and wanted.part != "cond_stage":
        said = claims.section(claims.params(model), "first_stage_config")
        return tokenizer.read(book, "", said or model, kept(prior.FIRST if said else ""))
    if wanted.part == "all":
        remedy = "--part first_stage reads the tokenizer in it"
        raise UserError(
            f"a tokenizer or a model with a prior in {book.where}", "another kind of model", remedy
        )
    start = _PARTS[wanted.part]
    if start + tokenizer.ANCHOR not in book:
        raise UserError(f"a {wanted.part} with weights in {book.where}", "none", "leave --part out")
    stage = claims.params(model).get(f"{wanted.part}_config")
    found = tokenizer.read(book, start, stage if isinstance(stage, Mapping) else {}, kept(start))
    book.drop_rest("parts that were not asked for")
    return found


def _tell(model: Tokenizer | Pipeline) -> str:
    tokens = tokenizer_of(model)
    how, kind = tokens.settings, tokens.settings.quantizer.kind
    what = f"VQGAN tokenizer ({kind})" if tokens.has_codes else "KL autoencoder"
    codes = f", {tokens.codebook_size} codes" if tokens.has_codes else ""
    content = ", of segmentations" if how.content == "segmentation" else ""
    line = f"CompVis {what}, f{tokens.factor}{codes}, {tokens.channels} channels{content}"
    if isinstance(model, Pipeline):
        prior, grid = model.settings.prior, "{} x {}".format(*model.settings.grids[0])
        sizes = f"{prior.layers} layers of {prior.width}"
        told = f"condition {model.settings.condition.kind}, order {model.settings.order}"
        line = f"CompVis transformer of {sizes}, {grid} cells, {told}; with a {line.removeprefix('CompVis ')}"
    return line


def _without(parts: list[str]) -> str:
    return f"; without {', '.join(parts)}" if parts else ""


def _metadata(model: Tokenizer | Pipeline, config: Mapping[str, Any], source: Source) -> dict[str, Any]:
    said = claims.params(claims.model_config(config))
    metadata: dict[str, Any] = {"settings_from": source.settings.name if source.settings else "shapes alone"}
    if isinstance(model, Pipeline):
        return metadata | {"pkeep": float(said.get("pkeep", 1.0))}
    resolution = claims.section(said, "ddconfig").get("resolution")
    return metadata | ({"size": [int(resolution)] * 2} if resolution else {})
