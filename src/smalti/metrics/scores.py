"""Scores by other models' outputs: of logits how sure and varied, of embeddings how well pairs match."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from smalti.errors import UserError
from smalti.metrics.protocol import Measured
from smalti.metrics.sets import OfSets, check

_ROWS = 512  # of pairs at a time


class InceptionScore(OfSets):
    """How sure a classifier is of each fake image, and how varied the classes are: see `inception_score`.

    The name is that of the classifier, as lite0-IS: the Inception Score is none but Inception's.
    """

    better, images = "higher", 20  # two a split

    def update(self, batch: Measured) -> None:
        """See Metric: of the fake images alone."""
        super().update(Measured(fake=batch.fake))

    def compute(self) -> dict[str, float]:
        """See Metric: by its own name, and the standard deviation over splits beside it."""
        found = inception_score(self.fake())
        return {self.name: found.value, f"{self.name}_spread": found.spread}


@dataclass(frozen=True)
class Score:
    """What `inception_score` found."""

    value: float  # the mean over splits, 1 to the number of classes
    spread: float  # the standard deviation over splits


def inception_score(logits: Float[Tensor, "n classes"], *, splits: int = 10, seed: int = 0) -> Score:
    """Return exp(mean KL(p(class | image) || p(class))) over splits of a shuffled set (arXiv:1606.03498).

    Images are shuffled by the seed, as sorted ones would make splits of few classes, then cut into splits of
    equal size, up to one. It grows with images a split: compare figures of equal n, splits and classifier.
    Raises UserError below two images a split and for logits that are not finite.
    """
    check(logits, "generated", 2 * splits)
    order = torch.randperm(len(logits), generator=torch.Generator().manual_seed(seed)).to(logits.device)
    scores = torch.stack([_score(logits[rows]) for rows in torch.tensor_split(order, splits)])
    return Score(scores.mean().item(), scores.std(correction=0).item())


@dataclass(frozen=True)
class Retrieval:
    """What `retrieval` found: shares of pairs, 0 to 1; by chance 1 over the number of candidates."""

    image_to_text: float
    text_to_image: float


def retrieval(
    images: Float[Tensor, "n f"],
    texts: Float[Tensor, "m g"],
    *,
    candidates: int = 20,
    near: bool = False,
    seed: int = 0,
) -> Retrieval:
    """Return how often an image finds its own text among some by the cosine of embeddings, and back.

    Row i of both is one pair. candidates: its own and others, drawn by the seed or, where near, those whose
    texts are nearest to its own; a text equal to its own is no rival. Both ways have the same rivals. Ties
    count for their chance. Raises UserError for unlike numbers of rows or widths, for embeddings that are not
    finite, and where there are fewer different texts than candidates.
    """
    check(images, "embedded", 2)
    check(texts, "captioned", 2)
    if images.shape != texts.shape:
        raise UserError(
            "embeddings of images and of their texts, row by row, in one space",
            f"{tuple(images.shape)} and {tuple(texts.shape)}",
            "give one row of each a pair, by models trained to agree",
        )
    images, texts = (F.normalize(rows.double(), dim=1) for rows in (images, texts))
    rivals = _rivals(texts, candidates - 1, near=near, seed=seed)
    return Retrieval(_found(images, texts, rivals), _found(texts, images, rivals))


def _score(logits: Tensor) -> Tensor:
    likely = logits.double().log_softmax(1)
    overall = likely.logsumexp(0, keepdim=True) - math.log(len(logits))
    return (likely.exp() * (likely - overall)).sum(1).mean().exp()


def _rivals(texts: Tensor, count: int, *, near: bool, seed: int) -> Int64[Tensor, "n rivals"]:
    """Return of each text the numbers of others that differ from it."""
    chance, chosen = torch.Generator().manual_seed(seed), []
    for rows in torch.split(texts, _ROWS):
        likeness = rows @ texts.mT
        order = likeness if near else torch.rand(likeness.shape, generator=chance).to(likeness)
        order = order.masked_fill(likeness > 1 - 1e-6, -torch.inf)
        fewest = int(order.isfinite().sum(1).min())
        if not 1 <= count <= fewest:
            raise UserError(
                f"2 to {fewest + 1} candidates of these texts", str(count + 1), "give more different texts"
            )
        chosen.append(order.topk(count).indices)
    return torch.cat(chosen)


def _found(queries: Tensor, keys: Tensor, rivals: Tensor) -> float:
    """Return the share of queries that find their own key; of ties, its chance."""
    total = 0.0
    for start in range(0, len(queries), _ROWS):
        rows = slice(start, start + _ROWS)
        own = (queries[rows] * keys[rows]).sum(1, keepdim=True)
        others = (queries[rows, None] * keys[rivals[rows]]).sum(2)
        ties = ((others - own).abs() < 1e-12).sum(1)
        total += ((others - own < 1e-12).all(1) / (1.0 + ties)).sum().item()
    return total / len(queries)
