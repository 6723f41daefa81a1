"""What no machine can do is said before the first step; what to do when memory runs out on the way."""

import math
from collections.abc import Iterator
from operator import attrgetter

import torch

from smalti import memory, strategy
from smalti.data.protocol import Reader
from smalti.errors import UserError
from smalti.tokenizer import Tokenizer
from smalti.training import checkpoints
from smalti.training.folder import RunFolder
from smalti.training.settings import PriorTraining, TokenizerTraining, Training

REPEATS = 16  # of each sample in one batch: a larger batch tells a step nothing more
ANYWAY = 4096  # samples that a batch may have however few there are: random crops of one huge image
NUMBER = 8  # bytes of a pixel or a code, at the least: three floats, a class number
KEPT = 4  # numbers for each weight in training: itself, its gradient, two moments


def check_batch(training: Training, reader: Reader) -> None:
    """UserError for a batch of many times the data, or one that this machine cannot hold."""
    sides = max(reader.summary().grids or training.sizes, key=math.prod)
    check_together(training.batch, len(reader), sides, strategy.current().count)


def check_together(batch: int, count: int, sides: tuple[int, int], world: int = 1) -> None:
    """Check the same of any batch out of count samples. sides: of each; world: processes that share it."""
    most = max(REPEATS * count, ANYWAY)
    if batch > most:
        remedy = f"batch={max(1, min(count, 64))}"
        raise UserError(f"a batch of at most {most}, as there are {count} images or rows", str(batch), remedy)
    sample = NUMBER * math.prod(sides)
    has = memory.of_machine()
    got = "batch={}, {} x {} each".format(batch, *sides)
    remedy = "give a smaller size" if sample > has else f"batch={max(1, has // sample // 16)}, or less"
    memory.check(max(batch // world, 1) * sample, has, "a batch", got, remedy)


def check_weights(training: Training, device: torch.device, tokenizer: Tokenizer | None) -> None:
    """UserError where a device cannot hold the network in training.

    tokenizer: that of a prior; None where it is a tokenizer that is trained.
    """
    for key, value, count in _weights(training, tokenizer):
        memory.check(
            KEPT * 4 * count,
            memory.of_device(device),
            "a network in training, with gradients and moments,",
            f"{key}={value}, which makes {count:,} weights or more",
            f"a smaller {key}",
        )


def _weights(training: Training, tokenizer: Tokenizer | None) -> Iterator[tuple[str, int, int]]:
    """Return key, value, and how many weights there are at the least because of it.

    Not counted by building on the device "meta": that imports torch's compiler, a second's work, after which
    processes that train together hang at their end at times (torch 2.13, gloo).
    """
    if isinstance(training, TokenizerTraining):
        how, network = training.quantizer, training.network
        for key, count in how.weights(network.code_dim).items():
            yield f"quantizer.{key}", attrgetter(key)(how), count
        widest = network.width * max(network.multipliers)
        yield "network.width", network.width, 9 * widest**2  # a convolution of the widest level
    if isinstance(training, PriorTraining):
        assert tokenizer is not None, "a prior learns on one"
        width, layers = (
            getattr(training.prior, name, 0) for name in ("width", "layers")
        )  # not all have them
        attention, scores = 4 * layers * width**2, tokenizer.codebook_size * width
        yield "prior.width", width, attention + scores


def remedy(training: Training, folder: RunFolder) -> str:
    """Return what to do where memory ran out in a run; the checkpoints that are there stay."""
    words: list[str] = []
    anew = ["a smaller batch=", "a smaller size="] + ["precision=bf16"] * (training.precision == "fp32")
    if not folder.settings.is_file():  # while networks were built: there is no run yet
        return f"begin with {', '.join(anew[:-1])} or {anew[-1]}"
    if training.batch // strategy.current().count > training.accumulate:
        words.append(f"accumulate={2 * training.accumulate}")
    if not training.recompute:
        words.append("recompute=true")
    done = checkpoints.done(folder.checkpoints)
    begin = "the start" if done is None else f"step {done}"
    new = f"begin anew, in another --out, with {', '.join(anew[:-1])} or {anew[-1]}"
    if not words:
        return new
    return f"{folder.again} {' '.join(words)} goes on from {begin}; or {new}"
