"""The passes over images: everything that is kept of real, judged and training images."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from smalti.data.protocol import Batch
from smalti.evaluation import rows
from smalti.evaluation.evidence import Side, digest
from smalti.evaluation.fakes import Fakes, Told, known
from smalti.evaluation.networks import Networks, blurred
from smalti.evaluation.rows import Rows
from smalti.evaluation.saving import Saver
from smalti.evaluation.sets import ImageSet
from smalti.imaging import eight_bit
from smalti.pipeline import Pipeline
from smalti.priors.protocol import Nats


class Loaded(NamedTuple):
    """A batch of real images, opened."""

    images: Float[Tensor, "b c H W"]
    marks: Tensor


@dataclass(frozen=True, kw_only=True)
class Passes:
    """What all passes share."""

    networks: Networks
    values: Mapping[str, Any]  # of an image and its reconstruction, (real, fake) -> "b", by name
    device: torch.device
    saver: Saver

    def both(self, real: ImageSet, fakes: Fakes) -> Rows:
        """Return rows of images and their reconstructions, in one pass."""

        def measure(batch: range, loaded: Loaded) -> Rows:
            original = loaded.images.to(self.device)
            fake, more = fakes.make(batch, original)
            self.saver.add(batch, fake)
            fake, original = fake.to(self.device), eight_bit(original)
            found = {name: value(original, fake) for name, value in self.values.items()}
            found |= {f"real/{name}": value for name, value in self._features(original).items()}
            found |= {f"fake/{name}": value for name, value in self._features(fake).items()}
            codes = {name: value for name, value in more.items() if name == "codes"}  # of the images too
            return {**found, **codes, **_apart(more), "real/marks": loaded.marks}

        return rows.over(len(real), _loader(real), measure, "images and their reconstructions")

    def real(self, real: ImageSet, model: Pipeline | None, told: Told | None) -> Rows:
        """Return rows of real images, and how likely the model finds them where it is told what they are."""

        def measure(batch: range, loaded: Loaded) -> Rows:
            images = loaded.images.to(self.device)
            features = self._features(eight_bit(images), scores=True)
            found = {f"real/{name}": value for name, value in features.items()}
            found["real/marks"] = loaded.marks
            if model is not None:
                found |= _likelihood(model, images, None if told is None else told(batch))
            return found

        return rows.over(len(real), _loader(real), measure, "real images")

    def fake(self, fakes: Fakes, count: int) -> Rows:
        """Return rows of images that are judged, which are of no others."""

        def measure(batch: range, loaded: None) -> Rows:
            fake, more = fakes.make(batch, None)
            self.saver.add(batch, fake)
            found = self._features(fake.to(self.device), scores=True)
            return {**{f"fake/{name}": value for name, value in found.items()}, **_apart(more)}

        return rows.over(count, lambda batch: None, measure, "images to judge")

    def train(self, train: ImageSet, model: Pipeline | None, *, probe: bool) -> Rows:
        """Return rows of training images, and their codes; probe: of blurred ones too, for a classifier."""

        def measure(batch: range, loaded: Loaded) -> Rows:
            images = eight_bit(loaded.images.to(self.device))
            found = {f"train/{name}": value for name, value in self._features(images).items()}
            if probe:
                found |= {f"blur/{name}": value for name, value in self._features(blurred(images)).items()}
            if model is not None:
                codes = model.tokenizer.encode(loaded.images.to(self.device), is_checked=True)
                found["trained/codes"] = codes
            return {**found, "train/marks": loaded.marks}

        return rows.over(len(train), _loader(train), measure, "training images")

    def _features(self, images: Tensor, *, scores: bool = False) -> Rows:
        found = self.networks.features(images)
        return found if scores else {name: rows for name, rows in found.items() if "/" not in name}


def side(found: Rows, name: str, **about: Any) -> Side:
    """Return what was kept of one set of images. name: how its rows begin; about: what else a Side has."""
    own = {key.removeprefix(f"{name}/"): value for key, value in found.items() if key.startswith(f"{name}/")}
    marks = own.pop("marks", None)
    scores = {key.removesuffix("/classes"): own.pop(key) for key in list(own) if key.endswith("/classes")}
    return Side(
        features=own,
        logits=scores,
        hash="" if marks is None else digest(marks),
        **about,
    )


def nats(found: Rows) -> Nats | None:
    """Return the likelihood that a pass over real images found."""
    if "nats" not in found:
        return None
    total, tokens = found["nats"].sum().item(), int(found["tokens"].sum())
    return Nats(total, tokens, bool(found["bound"].any()))


def _loader(found: ImageSet) -> Any:
    def load(batch: range) -> Loaded:
        return Loaded(found.batch(batch), torch.tensor([found.mark(row) for row in batch]))

    return load


def _likelihood(model: Pipeline, images: Tensor, told: Batch | None) -> Rows:
    """Return codes, and -ln p of all of a batch in equal shares: their sum is what counts."""
    codes = model.tokenizer.encode(images, is_checked=True)
    is_silent = bool(model.condition.named) and told is None
    found = None if is_silent else model.nats(codes, **known(model, told))
    if found is None:
        return {"codes": codes}
    count = len(codes)
    return {
        "codes": codes,
        "nats": torch.full((count,), found.total / count, dtype=torch.float64),
        "tokens": torch.full((count,), found.tokens // count),
        "bound": torch.full((count,), found.is_bound),
    }


def _apart(more: Mapping[str, Tensor]) -> Rows:
    """Return rows of the judged images: codes of reconstructions are those of the real ones."""
    return {f"fake/{name}" if name == "marks" else f"made/{name}": value for name, value in more.items()}
