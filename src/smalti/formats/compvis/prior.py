"""Net2NetTransformer: both stages, permuter and transformer to a Pipeline, and back."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from smalti import config as settings
from smalti.errors import UserError, shown
from smalti.formats.compvis import claims, codebook, conditions, places, tokenizer, transformer
from smalti.formats.ledger import Ledger, fill
from smalti.formats.own import SECTION, Own, own_tensors
from smalti.pipeline import Pipeline, PipelineSettings
from smalti.priors.gpt import GPT, GPTSettings
from smalti.tokenizer import Tokenizer, TokenizerSettings

ANCHOR = "transformer.pos_emb"  # a name that every such model has
Kept = Callable[[str], Own]  # of a part, by the beginning of its tensors' names; "": the whole
FIRST, CONDITION, PRIOR = "first_stage_model.", "cond_stage_model.", "transformer."


def read(book: Ledger, config: Mapping[str, Any], heads: int | None, kept: Kept) -> Pipeline:
    """Return the model. config: the whole yaml, empty where there is none. heads: what the user says of them.
    kept: what of each part the yaml has no word for.

    Crosses off all its names. UserError where yaml and tensors disagree, or neither says what is needed.
    """
    said = claims.params(claims.model_config(config))
    if "ddconfig" in said:
        got = f"a tokenizer's, for {book.where}, which has a prior"
        raise UserError("the yaml of a model with a prior", got, claims.OTHER_MODEL)
    first, _ = tokenizer.read(book, FIRST, claims.section(said, "first_stage_config"), kept(FIRST))
    map_of, second = _second(book, said, kept(CONDITION))
    state = book.below(PRIOR)
    prior = transformer.settings(state, claims.inner(said, "transformer_config"), heads, book.where)
    for name in (name for name in state if name.endswith(transformer.MASK)):
        book.drop(PRIOR + name, "masks of attention, which ours computes")
    table = prior.vocabulary or 0, prior.positions or 0
    condition = conditions.find(
        said,
        claims.section(config, "data"),
        map_of=map_of,
        map_size=places.map_size(book, table[1], (second or first).factor),
        places=table,
    )
    own = claims.section(config, SECTION).get("grid")
    if own is not None and not claims.are_sides(own):
        raise UserError(f"grid in the section {SECTION} as rows and columns", shown(own), "mend the yaml")
    grid = (own[0], own[1]) if own else _grid(book, said, (first, second), condition, table[1])
    order = places.find(book, said, grid)
    found = PipelineSettings(prior=prior, condition=condition, order=order, grid=grid)
    made = Pipeline(kept("").generator(found, book.where), first, second)
    assert isinstance(made.prior, nn.Module), "a prior has weights"
    weights = transformer.ours(state)
    fill(made.prior, weights, lambda name: PRIOR + transformer.name(name), book.where)
    return made.eval()


def theirs(model: Pipeline) -> dict[str, Tensor]:
    """Return all tensors of a model of ours under the names of 2021."""
    prior = model.prior
    if not isinstance(prior, GPT):
        kind = model.settings.prior.kind
        remedy = "export its tokenizer alone, MODEL/tokenizer, or keep the model folder"
        raise UserError("a prior of kind gpt, the 2021 code's", kind, remedy)
    found, maps = _stage_tensors(FIRST, model.tokenizer), _maps(model)
    if maps is not None:
        found |= {name: tensor.clone() for name, tensor in _stage_tensors(CONDITION, maps).items()}
    found |= places.tables(model.settings.order, model.order)
    state = {name: tensor.detach() for name, tensor in prior.state_dict().items()}
    unmasked = prior.settings.unmasked
    return found | {PRIOR + name: tensor for name, tensor in transformer.theirs(state, unmasked).items()}


def alone(model: Tokenizer | Pipeline) -> dict[str, Tensor]:
    """Return what theirs has no place for, by our names behind the beginnings of their parts' names."""
    if isinstance(model, Tokenizer):
        return own_tensors(model)
    return {
        start + name: tensor
        for start, part in _tokenizers(model).items()
        for name, tensor in own_tensors(part).items()
    }


def config(model: Pipeline) -> dict[str, Any]:
    """Return the yaml of a model of ours. UserError for one that the 2021 code cannot hold."""
    how, factor = model.settings, model.tokenizer.factor
    assert isinstance(model.prior, GPT), "theirs has looked"
    assert isinstance(how.prior, GPTSettings), "a GPT has its own settings"
    side = how.grids[0][0] * factor
    stage, more = _stage(model, side)
    conditions.check(how.condition)
    arguments = transformer.params(how.prior, len(model.prior.table.weight), len(model.prior.positions))
    params = {
        "first_stage_key": "image",
        **more,
        **places.config(how.order, how.grids[0]),
        "transformer_config": {"target": "taming.modules.transformer.mingpt.GPT", "params": arguments},
        "first_stage_config": _part(
            FIRST, model.tokenizer.settings, side, of_maps=_maps(model) is model.tokenizer
        ),
        "cond_stage_config": stage,
    }
    target = "taming.models.cond_transformer.Net2NetTransformer"
    return {
        "model": {"base_learning_rate": 4.5e-6, "target": target, "params": params},
        **conditions.data(how.condition, side),
        SECTION: {"grid": list(how.grids[0]), **_all_settings(model)},  # which their code does not ask for
    }


def _all_settings(model: Pipeline) -> dict[str, Any]:
    """Return the settings of the model and of its tokenizers, by the beginnings of their tensors' names."""
    found = {"": model.settings} | {name: part.settings for name, part in _tokenizers(model).items()}
    return {"settings": {name: settings.dump(how) for name, how in found.items()}}


def _tokenizers(model: Pipeline) -> dict[str, Tokenizer]:
    """Return that of the images and, where they have one of their own, that of the maps."""
    found = {FIRST: model.tokenizer, CONDITION: model.condition.own}
    return {name: part for name, part in found.items() if isinstance(part, Tokenizer)}


def _part(name: str, how: TokenizerSettings, side: int, *, of_maps: bool) -> dict[str, Any]:
    """Return a stage's {target, params}. name: the beginning of its tensors' names."""
    found = tokenizer.config(how, side, discriminator={})
    if of_maps and codebook.shapes_codes(found["target"]):
        found["params"]["sane_index_shape"] = True
    if "remap" in found["params"]:
        found["params"]["remap"] = tokenizer.used_file(name)
    return found


def _stage_tensors(name: str, stage: Tokenizer) -> dict[str, Tensor]:
    state = tokenizer.theirs(stage) | tokenizer.colours(stage.settings)
    return {name + key: tensor for key, tensor in state.items()}


def _second(book: Ledger, said: Mapping[str, Any], kept: Own) -> tuple[str | None, Tokenizer | None]:
    """Return whose tokenizer maps have ("own", "shared" or None for no maps), and it, if their own."""
    stage = said.get("cond_stage_config")
    there = CONDITION + tokenizer.ANCHOR in book
    if stage == conditions.SHARED or (stage is None and there and book.equal(FIRST, CONDITION)):
        if there and not book.equal(FIRST, CONDITION):
            got = f"another one in {book.where}"
            raise UserError("the first stage once more under cond_stage_model", got, claims.OTHER_MODEL)
        book.drop(CONDITION, "the first stage once more")
        return "shared", None
    if not there:
        return None, None
    second, _ = tokenizer.read(book, CONDITION, stage if isinstance(stage, Mapping) else {}, kept)
    return "own", second


def _grid(
    book: Ledger,
    said: Mapping[str, Any],
    tokenizers: tuple[Tokenizer, Tokenizer | None],
    condition: Any,
    positions: int,
) -> tuple[int, int]:
    """Return rows and columns of a training crop, which with what stands before it must have place."""
    stage = claims.inner(said, "first_stage_config")
    resolution = claims.section(stage, "ddconfig").get("resolution")
    before = conditions.length(condition, *tokenizers)
    most = (positions + 1) // 2 if before is None else positions + 1 - before
    return places.grid(book, said, resolution, tokenizers[0].factor, most)


def _maps(model: Pipeline) -> Tokenizer | None:
    """Return the tokenizer of the condition's maps, if it has any."""
    found = getattr(model.condition, "tokenizer", None)
    return found if isinstance(found, Tokenizer) else None


def _stage(model: Pipeline, side: int) -> conditions.Stage:
    """Return the yaml's cond_stage_config, and what else it says of the condition."""
    condition, maps = model.settings.condition, _maps(model)
    if maps is None:
        return conditions.stage(condition, model.tokenizer.factor)
    more = {"downsample_cond_size": condition.size or -1}
    if condition.shared:
        return conditions.SHARED, {**more, "cond_stage_key": "lr"}
    key = "segmentation" if maps.settings.content == "segmentation" else "depth"
    stage = _part(CONDITION, maps.settings, side, of_maps=True)
    stage["params"]["image_key"] = key
    return stage, {**more, "cond_stage_key": key}
