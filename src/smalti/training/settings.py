"""What a recipe says: its keys, their units, their defaults."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Lt
from pydantic import Field

from smalti.conditions import ConditionSettings
from smalti.conditions.computed import COMPUTED, ComputeSettings
from smalti.conditions.none import NoConditionSettings
from smalti.config import Count, Positive, Share, Weight, Workers, settings
from smalti.data import ReaderSettings
from smalti.data.transforms import CropSettings
from smalti.errors import UserError
from smalti.losses.terms import LossSettings
from smalti.priors import PriorSettings
from smalti.quantizers import QuantizerSettings
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.sizes import Sides, Sizes, listed, typed, worded
from smalti.tokenizer import AnyNetworkSettings, NetworkSettings
from smalti.tokenizer.settings import fitted

Rate = Annotated[float, Gt(0.0)]
Steps = Annotated[int, Gt(0), Lt(10**8)]  # checkpoints are named by 8 digits
Decay = Annotated[float, Ge(0.0), Lt(1.0)]


@settings
class OptimizerSettings:
    """AdamW and how its learning rate moves."""

    lr: Rate = 1.0e-4  # as written: never scaled by batch or number of devices
    betas: tuple[Decay, Decay] = (0.9, 0.95)
    weight_decay: Weight = 0.0  # of the weights of linear and convolutional layers
    warmup: Count = 0  # steps of linear rise
    schedule: Literal["constant", "cosine"] = "constant"
    final: Share = 0.0  # of lr at the last step of the cosine


@settings
class Training:
    """What every recipe has. A step is one batch and one move of every optimizer."""

    data: ReaderSettings
    # pixels of a crop: a side, or height and width; several: of each image that whose shape is the nearest
    size: Sizes
    crop: CropSettings = CropSettings()
    batch: Positive  # images a step, all processes together
    accumulate: Positive = 1  # parts into which each process cuts its share of a batch, to save memory
    steps: Steps
    seed: int = 0
    device: Literal["auto", "cpu", "cuda", "xpu", "mps"] = "auto"  # auto: what torch finds
    # of the networks; losses are always fp32. auto: bf16 where the device computes in it, settled once
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    optimizer: OptimizerSettings = OptimizerSettings()
    clip: Rate | None = None  # the longest gradient of a network
    patience: Positive = 100  # steps in a row without finite numbers, after which a run ends or goes back
    rewinds: Count = 0  # times that it goes back to its last good checkpoint then, each at half the rates
    ema: Decay = 0.999  # decay of the averaged weights, which are shown and saved; 0: the weights themselves
    workers: Workers = 0  # processes that open images
    # how several processes (torchrun) share the work: each has all weights, or some rows of them
    strategy: Literal["auto", "single", "ddp", "fsdp"] = "auto"
    recompute: bool = False  # activations of blocks: less memory, about a third more time
    log_every: Positive = 50  # steps, as the three that follow
    sample_every: Positive = 500
    validate_every: Positive = 1000
    checkpoint_every: Positive = 1000
    keep: Positive = 2  # checkpoints
    keep_every: Count = 0  # steps: checkpoints after a multiple of it are kept beside the newest; 0: none
    # by name, see docs/training.md; None: those that take little
    validate_metrics: tuple[str, ...] | None = None
    keep_best: str | None = None  # the metric by which the best model is kept, in best/
    init_from: Path | None = None  # a model to begin with: its weights, and the settings that they fit

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Return height and width of a crop in pixels, of each size."""
        return listed(self.size)


@settings
class TokenizerTraining(Training):
    """A recipe for a tokenizer."""

    kind: Literal["tokenizer"] = "tokenizer"
    network: AnyNetworkSettings = NetworkSettings()
    quantizer: QuantizerSettings = VectorQuantizerSettings()
    content: Literal["image", "map", "segmentation"] = "image"  # what is rebuilt; map: of data.kind=pairs
    compute: ComputeSettings | None = None  # how maps are computed of images; None: they lie in files
    quantize_start: Count = 0  # the step from which images pass the codebook, which is started anew there
    losses: LossSettings = LossSettings()
    discriminator_optimizer: OptimizerSettings | None = None  # None: as optimizer

    def __post_init__(self) -> None:
        if self.discriminator_optimizer and not self.losses.adversarial:
            remedy = "discriminator_optimizer=null, or set losses.adversarial"
            raise UserError("no discriminator_optimizer without losses.adversarial", "one", remedy)
        object.__setattr__(self, "network", fitted(self.network, self.quantizer))
        if self.quantize_start and not self.quantizer.has_codes:
            got = f"quantize_start={self.quantize_start} with quantizer.kind={self.quantizer.kind}"
            raise UserError("quantize_start with a codebook", got, "quantize_start=0")
        check_sides(self.sizes, self.network.factor, " (network.multipliers)")
        _check_content(self)
        _check_discriminator(self)


@settings
class PriorTraining(Training):
    """A recipe for a prior."""

    kind: Literal["prior"] = "prior"
    tokenizer: Path  # a model folder or a run folder
    prior: PriorSettings
    condition: ConditionSettings = NoConditionSettings()
    condition_tokenizer: Path | None = None  # of the maps, for condition.kind=map without condition.shared
    order: str = "row"  # in which cells are generated, a name in ORDERS
    pkeep: Share = 1.0  # each code the prior is shown is kept with this probability, else drawn at random


TrainingSettings = Annotated[TokenizerTraining | PriorTraining, Field(discriminator="kind")]


def _check_discriminator(training: TokenizerTraining) -> None:
    """Check that a discriminator, which halves its images once a layer, has some cells in the end."""
    adversarial, side = training.losses.adversarial, min(map(min, training.sizes))
    if adversarial is None or side >= adversarial.patchgan.least:
        return
    key, patchgan, factor = (
        "losses.adversarial.patchgan.layers",
        adversarial.patchgan,
        training.network.factor,
    )
    deepest, size = patchgan.deepest(side), -(-patchgan.least // factor) * factor
    remedies = [f"size={size}"]
    if training.init_from is None:  # the discriminator of a model that is there keeps its layers
        remedies.insert(
            0, f"{key}={deepest}" if deepest else "losses.adversarial=null discriminator_optimizer=null"
        )
    expected = f"{key} of at most {deepest}" if deepest else "no losses.adversarial"
    expected += f" for crops of {worded(training.sizes)} pixels"
    raise UserError(expected, f"{key}={patchgan.layers}", ", or ".join(remedies))


def _check_content(training: TokenizerTraining) -> None:
    """Losses, networks and data of an image are no good for a segmentation, and the other way round."""
    content, losses, network = training.content, training.losses, training.network
    pictorial = losses.l1 or losses.l2 or losses.perceptual.weight or losses.adversarial
    if content == "segmentation" and (pictorial or not losses.bce):
        got = "l1, l2, perceptual or adversarial" if pictorial else "none"
        remedy = "'losses={l1: 0.0, bce: 1.0, perceptual: {weight: 0.0}}'"
        raise UserError("losses.bce alone for content=segmentation", got, remedy)
    if losses.bce and content != "segmentation":
        raise UserError("losses.bce for content=segmentation only", f"bce={losses.bce}", "losses.bce=0.0")
    channels = _contents(training)
    if content not in channels:
        got = f"data.kind={training.data.kind} with content={content}"
        remedy = f"content={next(iter(channels), None)}" if channels else "data.kind=folder"
        raise UserError("data that hold what is rebuilt", got, f"{remedy}, or other data")
    wanted = channels[content] or network.in_channels
    looks = losses.perceptual.weight and losses.perceptual.kind != "none"
    if content != "segmentation" and wanted not in (1, 3) and looks:
        expected = "losses.perceptual of 1 or 3 channels, which is what it can look at"
        raise UserError(expected, f"{wanted} channels", "losses.perceptual.weight=0.0")
    if (network.in_channels, network.out_channels) != (wanted, wanted):
        expected = "network.in_channels and network.out_channels as the data have channels or classes"
        got = f"in_channels={network.in_channels}, out_channels={network.out_channels}"
        raise UserError(expected, got, f"network.in_channels={wanted} network.out_channels={wanted}")


def _contents(training: TokenizerTraining) -> dict[str, int]:
    """Return what can be rebuilt of the data, each with its channels; 0: as the network asks for."""
    found, compute = training.data.contents, training.compute
    if compute is None:
        return found
    if training.content != "map" or "image" not in found or "map" in found:
        expected = "content=map and images alone for compute, of which maps are computed"
        got = f"content={training.content} with data.kind={training.data.kind}"
        raise UserError(expected, got, "content=map data.kind=folder, or compute=null")
    return {"map": COMPUTED[compute.kind][1].channels or found["image"]}


def check_sides(sizes: Sequence[Sides], factor: int, why: str = "") -> None:
    """Raise UserError for sizes that a tokenizer of this factor does not divide; why: put behind it."""
    near = [
        (max(1, round(height / factor)) * factor, max(1, round(width / factor)) * factor)
        for height, width in sizes
    ]
    if near != list(sizes):
        remedy = f"size={typed(list(dict.fromkeys(near)))}"
        raise UserError(f"size as a multiple of {factor}{why}", worded(sizes), remedy)
