"""What the demo's model draws, and numbers about it: every number beside what to hold it against."""

import math
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from smalti import imaging
from smalti.demo.photographs import PHOTOGRAPHS
from smalti.errors import optional
from smalti.features import SPACES
from smalti.losses import DISTANCES
from smalti.metrics.codes import Usage, unigram_nats
from smalti.metrics.distances import Frechet
from smalti.metrics.protocol import Measured, Metric
from smalti.metrics.reconstruction import Perceptual, Psnr, Ssim
from smalti.pipeline import Pipeline
from smalti.weights.catalogue import WEIGHTS

CLASSES = tuple(PHOTOGRAPHS)
EACH = 30  # images of every class, real or drawn
DRAW: dict[str, Any] = {"top_p": 0.95, "guidance_scale": 1.5}  # how samples are drawn


@dataclass(frozen=True, kw_only=True)
class Crops:
    """EACH images of every class, class by class."""

    images: Float[Tensor, "b 3 H W"]  # in [-1, 1]
    labels: Int64[Tensor, " b"]


class Evidence:
    """Opens, rebuilds, draws and measures, each once."""

    def __init__(self, model: Pipeline, photos: Path) -> None:
        self.model = model
        self.crop = model.settings.grid[0] * model.tokenizer.factor  # pixels
        self.real = self._open(photos / "train")
        self.held_out = self._open(photos / "val")
        self.rebuilt = model.tokenizer.reconstruct(self.held_out.images).clamp(-1, 1)
        spaces = [name for name in ("mobilenet_v2", "lite0") if WEIGHTS[name].at_hand] or ["lite0"]
        distances = [name for name in ("lpips_vgg", "hed") if WEIGHTS[name].at_hand] or ["hed"]
        self._spaces = {name: cache(SPACES[name].read().features) for name in spaces}
        self._features = self._spaces[spaces[0]]  # in which crops are told apart
        self._distances = [DISTANCES[name].read() for name in distances]

    @cached_property
    def samples(self) -> Crops:
        """Draw images."""
        labels = self.held_out.labels
        drawn = self.model.sample(num=len(labels), label=labels, seed=1000, **DRAW).tensors
        return Crops(images=drawn.clamp(-1, 1), labels=labels)

    def numbers(self) -> list[tuple[str, float, str]]:
        """(what, value, what to hold it against)."""
        return [*self._reconstruction(), *self._sets(), *self._likelihood(), *self._classes()]

    def _reconstruction(self) -> list[tuple[str, float, str]]:
        real, rebuilt = self.held_out.images, self.rebuilt
        codes, size = self.model.tokenizer.encode(real), self.model.tokenizer.codebook_size
        beside: dict[Metric, str] = {Psnr(): "more is better", Ssim(): "1 is equal"}
        for distance in self._distances:
            apart = _number(Perceptual(distance), real, real.roll(1, dims=0))
            beside[Perceptual(distance)] = f"{apart:.2f} between different crops of a class"
        use = Usage(size)
        use.update(Measured(codes=codes))
        used, perplexity = use.compute().values()
        return [
            *(
                (f"reconstruction of held-out crops: {metric.name}", _number(metric, real, rebuilt), text)
                for metric, text in beside.items()
            ),
            ("codebook used by held-out crops", used, f"share of {size} codes"),
            ("codebook perplexity on held-out crops", perplexity, f"at most {size}"),
        ]

    def _sets(self) -> list[tuple[str, float, str]]:
        held_out, numbers = self.held_out.images, []
        for name, features in self._spaces.items():
            real, rebuilt, samples = (
                _number(Frechet(features, f"{name}-FD"), held_out, some)
                for some in (self.real.images, self.rebuilt, self.samples.images)
            )
            beside = f"{real:.1f} for real training crops; {len(held_out)} images a side"
            for what, value in (("their reconstructions", rebuilt), ("samples", samples)):
                numbers.append((f"{name}-FD to held-out crops: {what}", value, beside))
        return numbers

    def _likelihood(self) -> list[tuple[str, float, str]]:
        tokenizer = self.model.tokenizer
        codes, seen = tokenizer.encode(self.held_out.images), tokenizer.encode(self.real.images)
        nats = self.model.nats_per_token(codes, label=self.held_out.labels)
        limit = f"ln V = {math.log(tokenizer.codebook_size):.3f}"
        return [
            ("prior: nats per token of held-out crops", nats, limit),
            (
                "unigram model: nats per token of the same",
                unigram_nats(seen, codes, tokenizer.codebook_size),
                limit,
            ),
        ]

    def _classes(self) -> list[tuple[str, float, str]]:
        chance = f"chance is {1 / len(CLASSES):.3f}"
        name = "classifier trained on real training crops (sharp and blurred), accuracy on"
        return [
            (f"{name} held-out crops", self._accuracy(self.held_out.images), chance),
            (f"{name} their reconstructions", self._accuracy(self.rebuilt), chance),
            (f"{name} generated images", self._accuracy(self.samples.images), chance),
        ]

    def _open(self, folder: Path) -> Crops:
        """Return crops evenly over the tiles: the middle of those that are larger than a crop."""
        found = []
        for name in CLASSES:
            paths = imaging.find_images(folder / name)
            for index in range(EACH):
                image = imaging.open_rgb(paths[index * len(paths) // EACH])
                top = (image.shape[1] - self.crop) // 2
                found.append(image[:, top : top + self.crop, top : top + self.crop])
        labels = torch.arange(len(CLASSES)).repeat_interleave(EACH)
        return Crops(images=imaging.to_float(torch.stack(found)), labels=labels)

    @cached_property
    def _classifier(self) -> Any:
        """Train on real crops sharp and blurred: it is to name what is shown, not how sharply."""
        linear_model = optional("sklearn.linear_model", extra="demo")
        classifier = linear_model.LogisticRegression(max_iter=1000)
        half = F.interpolate(self.real.images, scale_factor=0.5, mode="area")
        blurred = self._features(F.interpolate(half, scale_factor=2, mode="bilinear"))
        features = torch.cat([self._features(self.real.images), blurred]).numpy()
        return classifier.fit(features, self.real.labels.repeat(2).numpy())

    def _accuracy(self, images: Float[Tensor, "b 3 H W"]) -> float:
        named = self._classifier.predict(self._features(images).numpy())
        return float(
            (named == self.held_out.labels.numpy()).mean()
        )  # all sets have the classes in this order


def _number(metric: Metric, real: Float[Tensor, "b 3 H W"], fake: Float[Tensor, "b 3 H W"]) -> float:
    """Return what a metric says of two sets of images."""
    metric.update(Measured(real=real, fake=fake))
    (number,) = metric.compute().values()
    return number
