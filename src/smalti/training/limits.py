"""What no machine can do is said before the first step; what to do when memory runs out on the way."""

import math

import torch
from torch import nn

from smalti import memory
from smalti.data.protocol import Reader
from smalti.data.shards import TokenShards
from smalti.errors import UserError
from smalti.priors import PRIORS
from smalti.priors.protocol import Scope
from smalti.tokenizer import Tokenizer, TokenizerSettings
from smalti.training import checkpoints, processes
from smalti.training.folder import RunFolder
from smalti.training.settings import PriorTraining, TokenizerTraining, Training

REPEATS = 16  # of each sample in one batch: a larger batch tells a step nothing more
ANYWAY = 4096  # samples that a batch may have however few there are: random crops of one huge picture
NUMBER = 8  # bytes of a pixel or a code, at the least: three floats, a class number
KEPT = 4  # numbers for each weight in training: itself, its gradient, two moments


def check_batch(training: Training, reader: Reader) -> None:
    """UserError for a batch of many times the data, or one that this machine cannot hold."""
    sides = reader.grid if isinstance(reader, TokenShards) else training.crop_size
    check_together(training.batch, len(reader), sides, processes.world())


def check_together(batch: int, count: int, sides: tuple[int, int], world: int = 1) -> None:
    """The same of any batch out of count samples. sides: of each; world: processes that share the batch."""
    most = max(REPEATS * count, ANYWAY)
    if batch > most:
        remedy = f"batch={max(1, min(count, 64))}"
        raise UserError(
            f"a batch of at most {most}, as there are {count} pictures or rows", str(batch), remedy
        )
    sample = NUMBER * math.prod(sides)
    has = memory.of_machine()
    got = "batch={}, {} x {} each".format(batch, *sides)
    remedy = "give a smaller size" if sample > has else f"batch={max(1, has // sample // 16)}, or less"
    memory.check(max(batch // world, 1) * sample, has, "a batch", got, remedy)


def check_weights(training: Training, device: torch.device, tokenizer: Tokenizer | None) -> None:
    """UserError where a device cannot hold the network in training; nothing is allocated to find out.

    tokenizer: that of a prior; None where it is a tokenizer that is trained.
    """
    with torch.device("meta"):
        network = _network(training, tokenizer)
    weights = {name: weight.numel() for name, weight in network.named_parameters()}
    largest = max(weights, key=lambda name: weights[name])
    shape = " x ".join(map(str, network.get_parameter(largest).shape))
    count = sum(weights.values())
    memory.check(
        KEPT * 4 * count,
        memory.of_device(device),
        "a network in training, with gradients and moments,",
        f"{count:,} weights ({largest} alone has {shape})",
        "make it smaller: fewer codes, a smaller width",
    )


def _network(training: Training, tokenizer: Tokenizer | None) -> nn.Module:
    """A network that is not larger than the one to be trained."""
    if isinstance(training, TokenizerTraining):
        return Tokenizer(TokenizerSettings(network=training.network, quantizer=training.quantizer))
    assert isinstance(training, PriorTraining), "there are two kinds"
    assert tokenizer is not None, "a prior learns on one"
    height, width = (side // tokenizer.factor for side in training.crop_size)
    cells = tuple(divmod(cell, width) for cell in range(height * width))
    size = tokenizer.codebook_size
    least = Scope(codebook_size=size, prefix_vocabulary=1, prefix_length=1, cells=cells)
    network = PRIORS[training.prior.kind][1](training.prior, least)
    assert isinstance(network, nn.Module), "a prior has weights"
    return network


def remedy(training: Training, folder: RunFolder) -> str:
    """What to do where memory ran out in a run; the checkpoints that are there stay."""
    words: list[str] = []
    anew = ["a smaller batch=", "a smaller size="] + ["precision=bf16"] * (training.precision == "fp32")
    if not folder.settings.is_file():  # while networks were built: there is no run yet
        return f"begin with {', '.join(anew[:-1])} or {anew[-1]}"
    if training.batch // processes.world() > training.accumulate:
        words.append(f"accumulate={2 * training.accumulate}")
    if isinstance(training, TokenizerTraining) and not training.recompute:
        words.append("recompute=true")
    last = checkpoints.latest(folder.checkpoints)
    begin = "the start" if last is None else f"step {int(last.name.removeprefix('step-'))}"
    new = f"begin anew, in another --out, with {', '.join(anew[:-1])} or {anew[-1]}"
    if not words:
        return new
    return f"{folder.again} {' '.join(words)} goes on from {begin}; or {new}"
