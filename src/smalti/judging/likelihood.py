"""A judge that knows what is likely: another model's prior, or the model's own."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from smalti.errors import UserError
from smalti.judging.protocol import Asked, Scorer
from smalti.pipeline import Pipeline
from smalti.sizes import worded


class Likelihood(Scorer):
    """How likely a prior finds an image's codes, told the same condition where it takes one.

    A prior judges its own samples by what it would give greedily: they become safer, and more alike.
    """

    scores = "minus nats a token"

    def __init__(self, model: Pipeline, pipeline: Pipeline, size: tuple[int, int]) -> None:
        """size: of the drawn images in pixels. UserError for a model that cannot judge these."""
        self._model, self.name = model, model.fingerprint
        ours, theirs = (", ".join(f"{name}=" for name in one.condition.named) for one in (model, pipeline))
        if ours and ours != theirs:
            remedy = "judge by a model with the same condition, or with none"
            got = f"one that is told {ours}, of images of {theirs or 'no condition'}"
            raise UserError("a judge that can be told what was asked for", got, remedy)
        if "label" in model.condition.named and model.classes != pipeline.classes:
            remedy = "judge by a model that learned the same classes"
            raise UserError("a judge with the classes of the model", f"{len(model.classes)} others", remedy)
        if size not in model.crop_sizes:
            got = "{}, of images of {} x {}".format(worded(model.crop_sizes), *size)
            raise UserError("a judge whose training crop has the size of the images", got, "give that --size")
        own, other = model.tokenizer, pipeline.tokenizer
        self._same_codes = bool(own.fingerprint) and own.fingerprint == other.fingerprint
        if not self._same_codes and (own.channels != other.channels or own.channels not in (1, 3)):
            got = f"{own.channels} channels, of images of {other.channels}"
            expected = "a judge with the model's tokenizer, or one of as many channels, 1 or 3"
            raise UserError(expected, got, "judge by another model")

    def score(
        self, images: Float[Tensor, "b c H W"], codes: Int64[Tensor, "b h w"], asked: Asked
    ) -> Float[Tensor, " b"]:
        """See Scorer. Raises UserError for a prior without a likelihood."""
        if not self._same_codes:
            codes = self._model.tokenizer.encode(images, is_checked=True)
        told = asked.condition if self._model.condition.named else {}
        each = [self._model.nats_per_token(codes[row : row + 1], **told) for row in range(len(codes))]
        return -torch.tensor(each, dtype=torch.float64)

    @property
    def protocol(self) -> Mapping[str, Any]:
        """See Scorer."""
        return {"prior": self._model.settings.prior.kind}
