"""The transformer and the three ways of drawing codes of the 2021 code, written anew from a description.

It does what the original does and spends what the original spends: four matrices for attention, a mask for
the whole block, a cache that is concatenated anew for every token, a whole window for every cell. Names of
weights are the original's, so that its checkpoints load.
"""

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Draw = Callable[[Tensor, int], Tensor]  # (scores b v, number of the draw) -> codes b


class GPT(nn.Module):
    """Learned positions, blocks, a norm, a head without bias."""

    def __init__(self, *, vocabulary: int, block: int, layers: int, heads: int, width: int) -> None:
        super().__init__()
        self.tok_emb = nn.Embedding(vocabulary, width)
        self.pos_emb = nn.Parameter(torch.zeros(1, block, width))
        self.blocks = nn.Sequential(*(Block(width, heads, block) for _ in range(layers)))
        self.ln_f = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Scores after every token: b t -> b t v."""
        x = self.tok_emb(tokens) + self.pos_emb[:, : tokens.shape[1]]
        for block in self.blocks:
            x, _ = block(x, None)
        return self.head(self.ln_f(x))

    def with_past(self, tokens: Tensor, past: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Scores after the tokens, which follow those of past; and their keys and values, all layers stacked.

        past: one stack (layers, 2, b, heads, tokens, width of a head) a call so far.
        """
        begin = sum(stack.shape[-2] for stack in past)
        x = self.tok_emb(tokens) + self.pos_emb[:, begin : begin + tokens.shape[1]]
        before = torch.cat(past, dim=-2) if past else None  # the whole cache is copied for each token
        presents = []
        for number, block in enumerate(self.blocks):
            x, present = block(x, None if before is None else before[number])
            presents.append(present)
        return self.head(self.ln_f(x)), torch.stack(presents)


class Block(nn.Module):
    """Attention, then MLP, each added to its input."""

    def __init__(self, width: int, heads: int, block: int) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, heads, block)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), nn.Dropout(0.0)
        )

    def forward(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        """New values of the places of x, and their keys and values stacked."""
        mixed, present = self.attn(self.ln1(x), past)
        x = x + mixed
        return x + self.mlp(self.ln2(x)), present


class Attention(nn.Module):
    """Causal self-attention, spelled out: scores, mask, softmax, sum."""

    mask: Tensor

    def __init__(self, width: int, heads: int, block: int) -> None:
        super().__init__()
        self.heads = heads
        self.key, self.query, self.value = (nn.Linear(width, width) for _ in range(3))
        self.proj = nn.Linear(width, width)
        self.register_buffer("mask", torch.ones(block, block).tril()[None, None])

    def forward(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        """Places b t e; past: keys and values of earlier ones, 2 b k s e. With a past nothing is masked."""
        batch, count, width = x.shape
        split = (batch, count, self.heads, width // self.heads)
        key, query, value = (
            layer(x).view(split).transpose(1, 2) for layer in (self.key, self.query, self.value)
        )
        present = torch.stack((key, value))
        if past is not None:
            key = torch.cat((past[0], key), dim=-2)
            value = torch.cat((past[1], value), dim=-2)
        scores = query @ key.transpose(-2, -1) * (1.0 / math.sqrt(key.shape[-1]))
        if past is None:
            scores = scores.masked_fill(self.mask[:, :, :count, :count] == 0, float("-inf"))
        mixed = F.softmax(scores, dim=-1) @ value
        return self.proj(mixed.transpose(1, 2).contiguous().view(batch, count, width)), present


@torch.no_grad()
def growing_cache(model: GPT, prompt: Tensor, steps: int, draw: Draw) -> Tensor:
    """`sample_with_past`: one token a call, keys and values of all earlier calls concatenated. b steps."""
    token, past, codes = prompt, [], []
    for number in range(steps):
        scores, present = model.with_past(token, past)
        past.append(present)
        token = draw(scores[:, -1], number)[:, None]
        codes.append(token)
    return torch.cat(codes, dim=1)


@torch.no_grad()
def recomputed(model: GPT, prompt: Tensor, steps: int, draw: Draw) -> Tensor:
    """`sample`: the whole sequence goes through the network for every token. b steps."""
    sequence = prompt
    for number in range(steps):
        code = draw(model(sequence)[:, -1], number)
        sequence = torch.cat((sequence, code[:, None]), dim=1)
    return sequence[:, prompt.shape[1] :]


@torch.no_grad()
def sliding_window(
    model: GPT,
    prefix: Callable[[int, int], Tensor],
    size: tuple[int, int],
    draw: Draw,
    side: int = 16,
    cells: int | None = None,
) -> Tensor:
    """`make_samples`: a window of side x side cells around every cell, all of it fed, one row of scores kept.

    prefix: condition tokens (1 m) of the window at (top, left). cells: stop after so many. 1 h w.
    """
    height, width = size
    codes = torch.zeros(1, height, width, dtype=torch.int64, device=model.pos_emb.device)
    for number in range(height * width if cells is None else cells):
        row, column = divmod(number, width)
        inner_row, inner_column = inside(row, height, side), inside(column, width, side)
        top, left = row - inner_row, column - inner_column
        window = codes[:, top : top + side, left : left + side].reshape(1, -1)
        sequence = torch.cat((prefix(top, left), window), dim=1)
        scores = model(sequence[:, :-1])[:, -side * side :]
        scores = scores.reshape(1, side, side, -1)[:, inner_row, inner_column]
        codes[:, row, column] = draw(scores, number)
    return codes


def inside(at: int, size: int, side: int) -> int:
    """Where a cell stands in its window on one axis: in the middle, but at the canvas's borders."""
    half = side // 2
    if at <= half:
        return at
    if size - at < half:
        return side - (size - at)
    return half


def multinomial(temperature: float = 1.0, top_k: int | None = 100, seed: int = 0) -> Draw:
    """The draw of the original: temperature, all below the k-th best out, softmax, multinomial."""
    generators: dict[torch.device, torch.Generator] = {}

    def draw(scores: Tensor, number: int) -> Tensor:
        if scores.device not in generators:
            generators[scores.device] = torch.Generator(scores.device).manual_seed(seed)
        scores = scores / temperature
        if top_k is not None:
            best, _ = torch.topk(scores, top_k)
            scores = scores.clone()
            scores[scores < best[..., [-1]]] = -float("inf")
        shares = F.softmax(scores, dim=-1)
        return torch.multinomial(shares, num_samples=1, generator=generators[scores.device])[:, 0]

    return draw


def greedy(scores: Tensor, number: int) -> Tensor:
    """The best code."""
    return scores.argmax(-1)


def weights_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a smalti prior of kind gpt under the names of 2021."""
    names = {
        "norm1": "ln1",
        "norm2": "ln2",
        "up": "mlp.0",
        "down": "mlp.2",
        "out": "attn.proj",
    }
    found = {
        "tok_emb.weight": state["table.weight"],
        "pos_emb": state["positions"][None],
        "ln_f.weight": state["norm.weight"],
        "ln_f.bias": state["norm.bias"],
        "head.weight": state["head.weight"],
    }
    for name, value in state.items():
        if not name.startswith("blocks."):
            continue
        _, number, part, kind = name.split(".")
        if part == "qkv":
            for new, rows in zip(("query", "key", "value"), value.chunk(3), strict=True):
                found[f"blocks.{number}.attn.{new}.{kind}"] = rows
        else:
            found[f"blocks.{number}.{names[part]}.{kind}"] = value
    return found
