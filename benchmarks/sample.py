"""Tokens a second of cached sampling, against the algorithms of 2021, transformers and x-transformers.

A class and 256 codes, top-k 100. Before anything is timed all sides with the same weights must give the same
greedy codes, and the growing cache must give the codes that our noise gives.

    python benchmarks/sample.py --short --out runs/benchmarks
"""

from collections.abc import Callable, Iterator
from typing import Any

import common
import models
import torch
from baselines import gpt_2021
from memory import megabytes
from torch import Tensor

from smalti.drawing.choice import Choice, choose
from smalti.drawing.noise import keys
from smalti.errors import optional
from smalti.pipeline import Pipeline

TOP_K = 100
BATCHES = (1, 8, 64)
SMALL = {"layers": 2, "width": 128}
Way = Callable[[], Tensor]


def main() -> None:
    """Batches, precisions, and a small model in both; at batch 64 other sides in fp32 alone."""
    given = common.options(__doc__)
    size = SMALL if given.short else {"layers": 12, "width": 512}
    rows = all_rows(given, size)
    common.report("sample", rows, given.out, device=given.device, size=size, top_k=TOP_K, cells=256)


def all_rows(given: common.Options, size: dict[str, int]) -> Iterator[dict[str, Any]]:
    """One side after the other."""
    for dtype in (torch.float32, torch.bfloat16):
        model = models.generator(**size).to(given.device)
        for batch in BATCHES[:2]:
            yield from measure(model, batch, dtype, turns=3)
        if dtype == torch.float32 and not (given.short or given.figures):  # others take ten minutes at it
            yield from measure(model, BATCHES[2], dtype, turns=2)
    if not given.short:  # which has two of these above
        for batch in BATCHES:
            yield from precisions(SMALL, batch, given.device)
        yield from precisions(size, BATCHES[2], given.device)


def measure(model: Pipeline, batch: int, dtype: torch.dtype, turns: int) -> list[dict[str, Any]]:
    """One row for each other side. With bf16 the sides of others stay in fp32: what did we gain."""
    labels = torch.arange(batch, device=model.order.device) % 8
    theirs = {
        "growing cache": growing(model, labels),
        "no cache": uncached(model, labels),
        "transformers": static_cache(model, labels),
        "x-transformers": x_transformers(model, labels),
    }
    if batch > 1:
        del theirs["no cache"]  # minutes an image
    check(model, labels)
    if dtype != torch.float32:
        theirs["our fp32"] = drawn_by(models.generator(**sizes(model)).to(model.order.device), labels)
    found = rows_of(model.to(dtype), labels, theirs, turns)
    model.to(torch.float32)
    return found


def precisions(size: dict[str, int], batch: int, device: torch.device) -> list[dict[str, Any]]:
    """Our bf16 against our fp32."""
    labels = torch.arange(batch, device=device) % 8
    plain, half = (models.generator(**size).to(device, dtype) for dtype in (torch.float32, torch.bfloat16))
    return rows_of(half, labels, {"our fp32": drawn_by(plain, labels)}, turns=5)


def rows_of(model: Pipeline, labels: Tensor, theirs: dict[str, Way], turns: int) -> list[dict[str, Any]]:
    """Race ours against all others; a row each."""
    memory: dict[str, int | None] = {}
    found = common.race({"ours": drawn_by(model, labels), **theirs}, turns, memory=memory)
    size, batch, rows = sizes(model), len(labels), []
    for name in theirs:
        times = common.ratio(found["ours"], found[name])
        rows.append({
            "layers x width": f"{size['layers']} x {size['width']}", "batch": batch,
            "dtype": common.word(next(model.prior.parameters()).dtype), "against": name,
            "times faster": times, "our tokens/s": batch * 256 / times.ours,
            "their tokens/s": batch * 256 / times.theirs,
            "our peak MB": megabytes(memory["ours"]), "their peak MB": megabytes(memory[name]),
        })  # fmt: skip
    return rows


def sizes(model: Pipeline) -> dict[str, int]:
    """What makes a model of the same size."""
    return {"layers": model.settings.prior.layers, "width": model.settings.prior.width}


def check(model: Pipeline, labels: Tensor) -> None:
    """Same weights, same codes; AssertionError else."""
    greedy = model.sample(num=len(labels), label=labels, top_k=1, micro_batch=len(labels)).codes
    greedy = greedy.flatten(1)
    network, prompt = models.baseline(model), labels[:, None]
    assert gpt_2021.growing_cache(network, prompt, 256, gpt_2021.greedy).equal(greedy), "growing cache"
    assert static_cache(model, labels, greedy=True)().equal(greedy), "transformers"
    drawn = model.sample(num=len(labels), label=labels, top_k=TOP_K, micro_batch=len(labels)).codes
    seeds = torch.arange(len(labels), device=labels.device)

    def draw(scores: Tensor, number: int) -> Tensor:
        return choose(scores, keys(seeds, torch.tensor(number)), Choice(top_k=TOP_K))

    assert gpt_2021.growing_cache(network, prompt, 256, draw).equal(drawn.flatten(1)), "growing cache, noise"
    if len(labels) == 1:
        assert gpt_2021.recomputed(network, prompt, 256, gpt_2021.greedy).equal(greedy), "no cache"


def drawn_by(model: Pipeline, labels: Tensor) -> Way:
    """Our own."""
    options = {"num": len(labels), "label": labels, "micro_batch": len(labels)}
    return lambda: model.sample(top_k=TOP_K, **options).codes


def growing(model: Pipeline, labels: Tensor) -> Way:
    """The cached sampler of 2021."""
    network, draw = models.baseline(model), gpt_2021.multinomial(top_k=TOP_K)
    return lambda: gpt_2021.growing_cache(network, labels[:, None], 256, draw)


def uncached(model: Pipeline, labels: Tensor) -> Way:
    """The sampler of 2021 without a cache."""
    network, draw = models.baseline(model), gpt_2021.multinomial(top_k=TOP_K)
    return lambda: gpt_2021.recomputed(network, labels[:, None], 256, draw)


def static_cache(model: Pipeline, labels: Tensor, *, greedy: bool = False) -> Way:
    """GPT-2 of transformers with the same weights and a static cache."""
    hf = optional("transformers", extra="bench")
    prior = model.settings.prior
    config = hf.GPT2Config(
        vocab_size=models.CODES, n_positions=len(model.prior.positions) + 1, n_embd=prior.width,
        n_layer=prior.layers, n_head=prior.heads, activation_function="gelu", tie_word_embeddings=False,
        bos_token_id=None, eos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    network = hf.GPT2LMHeadModel(config)
    network.load_state_dict(_as_gpt2(model.prior.state_dict(), config))
    network = network.to(labels.device).eval()
    how = {"do_sample": False} if greedy else {"do_sample": True, "top_k": TOP_K, "top_p": 1.0}
    prompt = labels[:, None]
    said = {
        "max_new_tokens": 256,
        "cache_implementation": "static",
        "attention_mask": torch.ones_like(prompt),
    }
    return lambda: network.generate(prompt, **said, **how)[:, 1:]


def x_transformers(model: Pipeline, labels: Tensor) -> Way:
    """A decoder of x-transformers of the same size, with its cache; its weights are its own."""
    package = optional("x_transformers", extra="bench")
    prior = model.settings.prior
    network = package.TransformerWrapper(
        num_tokens=models.CODES, max_seq_len=len(model.prior.positions) + 1,
        attn_layers=package.Decoder(
            dim=prior.width, depth=prior.layers, heads=prior.heads, attn_dim_head=prior.width // prior.heads,
            attn_flash=True,
        ),
    )  # fmt: skip
    wrapped = package.AutoregressiveWrapper(network).to(labels.device).eval()
    how = {"filter_logits_fn": "top_k", "filter_kwargs": {"k": TOP_K}, "cache_kv": True}
    return lambda: wrapped.generate(labels[:, None], 256, **how)


def _as_gpt2(state: dict[str, Tensor], config: Any) -> dict[str, Tensor]:
    """Our weights under GPT-2's names; its linear layers hold the transpose."""
    names = {
        "norm1": "ln_1", "qkv": "attn.c_attn", "out": "attn.c_proj", "norm2": "ln_2", "up": "mlp.c_fc",
        "down": "mlp.c_proj",
    }  # fmt: skip
    positions = torch.zeros(config.n_positions, config.n_embd)
    positions[: len(state["positions"])] = state["positions"]
    found = {
        "transformer.wte.weight": state["table.weight"], "transformer.wpe.weight": positions,
        "transformer.ln_f.weight": state["norm.weight"], "transformer.ln_f.bias": state["norm.bias"],
        "lm_head.weight": state["head.weight"],
    }  # fmt: skip
    for name, value in state.items():
        if name.startswith("blocks."):
            _, number, part, kind = name.split(".")
            turned = value.T if kind == "weight" and not part.startswith("norm") else value
            found[f"transformer.h.{number}.{names[part]}.{kind}"] = turned
    return found


if __name__ == "__main__":
    main()
