"""Judges that name what an image shows: how likely is it that class, or how sure are they at all."""

import re
from collections.abc import Mapping
from typing import Any

from jaxtyping import Float, Int64
from torch import Tensor

from smalti.errors import UserError
from smalti.features.protocol import Space
from smalti.judging.protocol import Asked, Scorer
from smalti.pipeline import Pipeline

_SYNSET = re.compile(r"n\d{8}")


class Classifier(Scorer):
    """An ImageNet classifier, which in arXiv:2012.09841 is a ResNet-101.

    Where the model's classes are ImageNet's 1,000 the score is the probability of the class that was asked
    for; of other models that of the likeliest class: how sure it is that the image shows something it knows.
    """

    def __init__(self, space: Space, pipeline: Pipeline) -> None:
        self._space, self.name = space, space.name
        self._knows = are_imagenets(pipeline, space.classes)
        self.scores = (
            "probability of the asked class" if self._knows else "probability of the likeliest class"
        )

    @classmethod
    def build(cls, member: type[Space], pipeline: Pipeline) -> "Classifier":
        """Return it with its weights, on the model's device; UserError where there are none, or no images."""
        if pipeline.tokenizer.settings.content == "segmentation":
            got = "one that draws segmentations"
            raise UserError(
                f"a model that draws images, for {member.name}", got, "judge by a MODEL with a prior"
            )
        return cls(member.read().to(pipeline.order.device), pipeline)

    def score(
        self, images: Float[Tensor, "b c H W"], codes: Int64[Tensor, "b h w"], asked: Asked
    ) -> Float[Tensor, " b"]:
        """See Scorer."""
        likely = self._space.logits(images.expand(-1, 3, -1, -1)).double().softmax(1)
        return likely[:, asked.label] if self._knows and asked.label is not None else likely.amax(1)

    @property
    def protocol(self) -> Mapping[str, Any]:
        """See Scorer."""
        return {"weights": self._space.digest[:16], "resize": self._space.resize}


def are_imagenets(pipeline: Pipeline, classes: int) -> bool:
    """Return whether a model's classes are ImageNet's 1,000, in the order that all classifiers have.

    They are taken for these where there are as many without names, or with the names of synsets, sorted.
    """
    told = pipeline.settings.condition
    names = tuple(getattr(told, "names", ()))
    named = all(map(_SYNSET.fullmatch, names)) and list(names) == sorted(names)
    return "label" in pipeline.condition.named and getattr(told, "classes", 0) == classes and named
