"""Whether images show what their captions say: whether each is found by the other among some."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from smalti.features.minilm import MiniLM
from smalti.features.protocol import Space
from smalti.metrics.obeyed.probes import predicted, regression
from smalti.metrics.obeyed.protocol import Judge
from smalti.metrics.scores import retrieval

_CANDIDATES = 20
_PENALTY = 0.05
_LEARNED = 3000  # pairs: a caption says more than a class does, and each is another


@runtime_checkable  # for the shape checker of the tests
class Sentences(Protocol):
    """What makes vectors of captions, as MiniLM does."""

    width: int  # numbers of a vector
    digest: str  # of its weights

    def vectors(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Return the vectors of sentences, of length 1."""
        ...


class Text(Judge):
    """The share of images that find their caption among 20, and back; of others at random, and of near ones.

    A ridge regression from a network's features to vectors of sentences, learned from real images and their
    captions, less the mean of these: what all captions of a set have in common says nothing of an image.
    """

    titles: ClassVar = {
        "caption": f"share of images that find their caption among {_CANDIDATES}",
        "caption_image": f"share of captions that find their image among {_CANDIDATES}",
        "near_caption": f"share of images that find their caption among {_CANDIDATES} near ones",
        "near_caption_image": f"share of captions that find their image among {_CANDIDATES} near ones",
    }

    most = _LEARNED

    def __init__(self, space: Space, sentences: Sentences) -> None:
        """space: whose features it sees. sentences: what makes vectors of captions."""
        self._space, self._sentences, self._model = space, sentences, None
        self._mean = torch.zeros(sentences.width)

    @classmethod
    def of(cls, condition: Any, space: Space) -> "Text":
        """See Judge: with MiniLM; UserError where its weights or its package are missing."""
        return cls(space, MiniLM.read())

    def lesson(self, images: Float[Tensor, "b 3 H W"], conditions: Any) -> dict[str, Tensor]:
        """See Judge: features of images, vectors of captions."""
        vectors = self._sentences.vectors(list(conditions))
        return {"features": self._space.features(images).cpu(), "vectors": vectors}

    def learn(self, lessons: Mapping[str, Tensor]) -> None:
        """See Judge."""
        self._mean = lessons["vectors"].mean(0)
        self._model = regression(lessons["features"], lessons["vectors"], _PENALTY)

    def look(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b d"]:
        """See Judge: the vector of a caption that it would have."""
        return predicted(self._model, self._space.features(images).cpu()).float() - self._mean

    def compare(self, seen: Float[Tensor, "b d"], conditions: Any) -> Float64[Tensor, "b k"]:
        """See Judge: that, and the vector of the caption."""
        vectors = self._sentences.vectors(list(conditions)) - self._mean
        return torch.cat([seen, vectors], 1).double()

    def numbers(self, rows: Float64[Tensor, "n k"]) -> dict[str, float]:
        """See Judge; UserError for fewer than 20 different captions."""
        images, texts = rows.chunk(2, dim=1)
        some, near = (retrieval(images, texts, candidates=_CANDIDATES, near=one) for one in (False, True))
        found = (some.image_to_text, some.text_to_image, near.image_to_text, near.text_to_image)
        return dict(zip(self.titles, found, strict=True))

    def protocol(self) -> dict[str, Any]:
        """See Judge."""
        about = {"probe": "ridge regression", "sentences": self._sentences.digest, "candidates": _CANDIDATES}
        return {**about, "network": dict(self._space.protocol)}
