"""The GPT of 2021: its tensors' names and sizes, from the file to ours and back.

Theirs has queries, keys and values apart, and a mask of attention in every block; ours has neither.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from smalti.errors import UserError
from smalti.formats.compvis import claims
from smalti.priors.gpt import GPTSettings

MASK = "attn.mask"
_WHOLE = {  # their name -> ours
    "tok_emb.weight": "table.weight",
    "head.weight": "head.weight",
    "ln_f.weight": "norm.weight",
    "ln_f.bias": "norm.bias",
}
_IN_BLOCKS = {"ln1": "norm1", "attn.proj": "out", "ln2": "norm2", "mlp.0": "up", "mlp.2": "down"}
_FUSED = ("query", "key", "value")  # in the order in which ours stand one after the other
_ENDS = (".weight", ".bias")
_SIZES = {"layers": "n_layer", "width": "n_embd", "vocabulary": "vocab_size", "positions": "block_size"}


def settings(
    state: Mapping[str, Tensor], said: Mapping[str, Any], heads: int | None, where: str
) -> GPTSettings:
    """Return the settings of a state dict, by its shapes.

    Heads and dropouts by the yaml's params, empty without.

    heads: what the user says of them. UserError where they are unknown, or two sources disagree.
    """
    masks = [tensor for name, tensor in state.items() if name.endswith(MASK)]
    found = GPTSettings(
        layers=_layers(state, where),
        heads=_heads(said, heads, where),
        width=state["tok_emb.weight"].shape[1],
        vocabulary=len(state["tok_emb.weight"]),
        positions=state["pos_emb"].shape[1],
        unmasked=_unmasked(masks, where) if masks else int(said.get("n_unmasked", 0)),
        embedding_dropout=float(said.get("embd_pdrop", 0.0)),
        residual_dropout=float(said.get("resid_pdrop", 0.0)),
        attention_dropout=float(said.get("attn_pdrop", 0.0)),
    )
    sizes = {theirs: getattr(found, ours) for ours, theirs in _SIZES.items()}
    if said.get("n_unmasked", 0) > 1:  # one alone sees itself anyway
        sizes["n_unmasked"] = found.unmasked
    claims.check(said, sizes, where)
    return found


def ours(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors of theirs, without masks, under our names. What has no place in ours keeps its name."""
    left = {name: tensor for name, tensor in state.items() if not name.endswith(MASK)}
    found = {new: left.pop(old) for old, new in _WHOLE.items() if old in left}
    if "pos_emb" in left:
        found["positions"] = left.pop("pos_emb")[0]
    for block in sorted({name.split(".")[1] for name in left if name.startswith("blocks.")}, key=int):
        for end in _ENDS:
            found |= _block(left, f"blocks.{block}.", end)
    return found | left


def theirs(state: Mapping[str, Tensor], unmasked: int) -> dict[str, Tensor]:
    """Return our tensors under their names, with the masks that they keep."""
    found = {old: state[new] for old, new in _WHOLE.items()}
    found["pos_emb"] = state["positions"][None]
    size = len(state["positions"])
    mask = torch.ones(size, size).tril()
    mask[:unmasked, :unmasked] = 1
    layers = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks."))
    for block in (f"blocks.{layer}." for layer in range(layers)):
        for end in _ENDS:
            found |= {block + old + end: state[block + new + end] for old, new in _IN_BLOCKS.items()}
            parts = state[f"{block}qkv{end}"].chunk(3)
            found |= {
                f"{block}attn.{old}{end}": part.clone() for old, part in zip(_FUSED, parts, strict=True)
            }
        found[block + MASK] = mask[None, None].clone()
    return found


def name(ours: str) -> str:
    """Return the name that a tensor of ours has in the 2021 code, for errors."""
    whole = {new: old for old, new in _WHOLE.items()} | {"positions": "pos_emb"}
    if ours in whole:
        return whole[ours]
    for old, new in {**_IN_BLOCKS, "attn.query": "qkv"}.items():
        ours = ours.replace(f".{new}.", f".{old}.")
    return ours


def params(settings: GPTSettings, vocabulary: int, positions: int) -> dict[str, Any]:
    """Return what a yaml says of a GPT. UserError for one that the 2021 code cannot hold."""
    if not settings.shared_table:
        remedy = "their code has one table for condition and codes: train with prior.shared_table=true"
        raise UserError("a prior with a shared table", "shared_table=false", remedy)
    words: dict[str, Any] = {"vocab_size": vocabulary, "block_size": positions, "n_layer": settings.layers}
    words |= {"n_head": settings.heads, "n_embd": settings.width, "n_unmasked": settings.unmasked}
    dropouts = {"embd_pdrop": settings.embedding_dropout, "resid_pdrop": settings.residual_dropout}
    return words | dropouts | {"attn_pdrop": settings.attention_dropout}


def _block(left: dict[str, Tensor], block: str, end: str) -> dict[str, Tensor]:
    """Return one block's weights or biases, taken out of what is left."""
    found = {
        block + new + end: left.pop(block + old + end)
        for old, new in _IN_BLOCKS.items()
        if block + old + end in left
    }
    parts = [f"{block}attn.{part}{end}" for part in _FUSED]
    if all(part in left for part in parts):
        found[f"{block}qkv{end}"] = torch.cat([left.pop(part) for part in parts])
    return found


def _layers(state: Mapping[str, Tensor], where: str) -> int:
    numbers = {name.split(".")[1] for name in state if name.startswith("blocks.")}
    if not numbers or "tok_emb.weight" not in state or state["pos_emb"].dim() != 3:
        raise UserError(f"transformer.blocks and transformer.tok_emb in {where}", "none", "get the file anew")
    return len(numbers)


def _heads(said: Mapping[str, Any], heads: int | None, where: str) -> int:
    told = said.get("n_head")
    if told is None and heads is None:
        remedy = "--num-heads 16 (most published models), or the yaml with --config"
        raise UserError(f"the number of attention heads of {where}", "none: weights do not tell it", remedy)
    if told is not None and heads is not None and told != heads:
        raise UserError(f"{told} heads, as the yaml says", f"--num-heads {heads}", "leave --num-heads out")
    return int(told if told is not None else heads or 0)


def _unmasked(masks: list[Tensor], where: str) -> int:
    """Return how many tokens at the start see each other, by the masks.

    UserError for masks of another form.
    """
    size = masks[0].shape[-1]
    count = int(masks[0].flatten()[:size].sum())  # what the first token sees
    expected = torch.ones(size, size).tril()
    expected[:count, :count] = 1
    if any(not torch.equal(mask.float().reshape(-1), expected.reshape(-1)) for mask in masks):
        got = "a mask of another form"
        raise UserError(f"causal attention in {where}", got, "this transformer is not the 2021 code's GPT")
    return count if count > 1 else 0
