"""What is exported: modules whose inputs and outputs are plain tensors, and how they become ONNX graphs.

Axes: b batch, c image channels, H W pixels, h w grid, n codes, m prefix, v codes of the codebook, k heads,
t positions of the cache, e a head's width.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from smalti.conditions.context import Padded, Prefix
from smalti.drawing.cache import Cache
from smalti.errors import UserError
from smalti.priors.causal import Causal
from smalti.priors.protocol import Prior, Scope
from smalti.tokenizer import Tokenizer
from smalti.tokenizer.use import in_use

OPSET = 20  # with which equal codes were seen; later ones bring operators that fewer runtimes have
_NOISY = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")  # loggers that tell of what nobody asked for


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A module, an example of what goes in, and the names of what goes in and comes out with their axes."""

    module: nn.Module
    example: Mapping[str, Tensor]  # by name, in the module's order
    axes: Mapping[str, Mapping[int, str]]  # of each input: which of its sides are free, and their names
    outputs: tuple[str, ...]


class Encoding(nn.Module):
    """Images to codes."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer

    def forward(self, images: Tensor) -> Tensor:
        """Return codes (b h w) of images (b c H W)."""
        codes = self.tokenizer.quantize(self.tokenizer.latents(images)).codes
        assert codes is not None, "a tokenizer with a codebook"
        return codes


class Decoding(nn.Module):
    """Codes to images."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer

    def forward(self, codes: Tensor) -> Tensor:
        """Return images (b c H W) of codes (b h w)."""
        return self.tokenizer.decode_latents(self.tokenizer.quantizer.lookup(codes))


class Prefill(nn.Module):
    """A prefix to the logits of the first code, and a cache that holds the prefix."""

    def __init__(self, prior: Causal, limit: int) -> None:
        """limit: the codes that exist; a prior may score more, for its prefix."""
        super().__init__()
        self.prior, self.limit = prior, limit

    def forward(self, prefix: Tensor, filled: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return logits (b v), keys and values of each layer (b k t e), and the shift of a prior with one."""
        cache = self.prior.new_cache(prefix.shape[0])
        cache.clear()
        told: Prefix = prefix if filled is None else Padded(values=prefix, mask=filled)
        codes = torch.zeros(prefix.shape[0], 0, dtype=torch.int64)
        logits = self.prior.prefill(codes, told, cache)[..., : self.limit]
        shift = () if cache.shift is None else (cache.shift,)
        return (logits, *_paired(cache.keys, cache.values), *shift)


class Step(nn.Module):
    """Codes and a cache to the logits after each code, and the cache that holds them too."""

    def __init__(self, prior: Causal, limit: int, names: tuple[str, ...]) -> None:
        """limit: as in Prefill. names: of what `forward` takes, in its order."""
        super().__init__()
        self.prior, self.limit, self.names = prior, limit, names

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """Return logits (b n v), and keys and values of each layer (b k t e), in new memory."""
        named = dict(zip(self.names, given, strict=True))
        keys = [tensor.clone() for name, tensor in named.items() if name.startswith("keys_")]
        values = [tensor.clone() for name, tensor in named.items() if name.startswith("values_")]
        cache = Cache(
            keys=tuple(keys),
            values=tuple(values),
            length=keys[0].shape[2],  # all of it, masked: the graph's shapes do not hang on what is filled
            starts=named["starts"],
            shift=named.get("shift"),
            mask=named.get("filled"),
        )
        logits = self.prior.extend(named["codes"], cache)[..., : self.limit]
        return (logits, *_paired(cache.keys, cache.values))


def of_tokenizer(tokenizer: Tokenizer) -> dict[str, Graph]:
    """Return the graphs of a tokenizer with a codebook, by name."""
    side = 4 * tokenizer.factor
    images = torch.zeros(2, tokenizer.channels, side, side + tokenizer.factor)
    images_axes = {0: "batch", 2: "height", 3: "width"}
    codes = torch.zeros(2, 4, 5, dtype=torch.int64)
    return {
        "encoder": Graph(
            module=Encoding(tokenizer),
            example={"images": images},
            axes={"images": images_axes},
            outputs=("codes",),
        ),
        "decoder": Graph(
            module=Decoding(tokenizer),
            example={"codes": codes},
            axes={"codes": {0: "batch", 1: "rows", 2: "columns"}},
            outputs=("images",),
        ),
    }


def of_prior(prior: Prior, limit: int) -> dict[str, Graph]:
    """Return the graphs of a prior by name, for crops of its first size. limit: see Prefill."""
    assert isinstance(prior, Causal), "a prior that feeds its prefix, then its codes"
    told, cache = prefix_example(prior.scope, 2, torch.Generator().manual_seed(0)), prior.new_cache(2)
    cache.clear()
    with in_use(prior):
        prior.prefill(torch.zeros(2, 0, dtype=torch.int64), as_prefix(told), cache)
    state = dict(zip(cache_names(len(cache.keys)), _paired(cache.keys, cache.values), strict=True))
    held = {} if cache.shift is None else {"shift": cache.shift}
    example = {"codes": torch.zeros(2, 3, dtype=torch.int64), "starts": torch.full((2,), cache.length)}
    example |= {**state, **held, **({"filled": told["filled"]} if "filled" in told else {})}
    rows = {name: {0: "batch"} for name in (*told, *example)}
    return {
        "prefill": Graph(
            module=Prefill(prior, limit),
            example=told,
            axes={name: rows[name] for name in told},
            outputs=("logits", *(f"new_{name}" for name in state), *held),
        ),
        "step": Graph(
            module=Step(prior, limit, tuple(example)),
            example=example,
            axes={name: rows[name] for name in example} | {"codes": {0: "batch", 1: "codes"}},
            outputs=("logits", *(f"new_{name}" for name in state)),
        ),
    }


def cache_names(layers: int) -> tuple[str, ...]:
    """Return the names of what a step is given of the cache; what it gives back has new_ before them."""
    return tuple(f"{part}_{layer}" for layer in range(layers) for part in ("keys", "values"))


def prefix_example(scope: Scope, rows: int, rng: torch.Generator) -> dict[str, Tensor]:
    """Return random prefixes as a prior of this scope takes them, by the names of its graph's inputs."""
    shape = (rows, scope.prefix_length)
    if scope.prefix_features is None:
        told = {"prefix": torch.randint(scope.prefix_vocabulary, shape, generator=rng)}
    else:
        told = {"prefix": torch.randn(*shape, scope.prefix_features, generator=rng)}
    if scope.prefix_is_padded:
        filled = torch.randint(1 + scope.prefix_length, (rows, 1), generator=rng)
        told["filled"] = torch.arange(scope.prefix_length) < filled
    return told


def as_prefix(told: Mapping[str, Tensor]) -> Prefix:
    """Return a prefix as priors take it."""
    return Padded(values=told["prefix"], mask=told["filled"]) if "filled" in told else told["prefix"]


def traced(graph: Graph) -> Any:
    """Return the ONNX model of a graph, without what the exporter notes beside it: this machine's paths.

    Nothing is told on the way. UserError for a module that it cannot trace.
    """
    shapes = tuple(dict(graph.axes[name]) for name in graph.example)
    try:
        with _silence(), in_use(graph.module):
            made = torch.onnx.export(
                graph.module,
                tuple(graph.example.values()),
                input_names=list(graph.example),
                output_names=list(graph.outputs),
                dynamic_shapes=(shapes,) if isinstance(graph.module, Step) else shapes,
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as problem:
        got = " ".join(str(problem.__cause__ or problem).split())[:160]
        raise UserError("a model that torch.onnx can trace", got, "keep the model folder") from problem
    assert made is not None, "the exporter of today gives a program"
    model = made.model_proto
    parts = (model, model.graph, *model.functions, *(node for one in model.functions for node in one.node))
    for part in (*parts, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
    return model


def _paired(keys: tuple[Tensor, ...], values: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(part for pair in zip(keys, values, strict=True) for part in pair)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Within, the exporter keeps to itself what it says of packages and of its own older parts."""
    loggers = [logging.getLogger(name) for name in _NOISY]
    before = [logger.level for logger in loggers]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)
