"""How far two sets of pictures lie apart, by the features of each."""

import torch
from jaxtyping import Float
from torch import Tensor

from smalti.errors import UserError


def frechet(a: Float[Tensor, "n f"], b: Float[Tensor, "m f"]) -> float:
    """Squared Frechet distance of the Gaussians fitted to two sets of features, in float64; 0 for equal sets.

    With Inception's features it is the FID (arXiv:1706.08500). Few pictures make it too large: compare only
    values from equal numbers of them. Raises UserError for fewer than 2.
    """
    if min(len(a), len(b)) < 2:
        raise UserError("at least 2 pictures in each set", f"{len(a)} and {len(b)}", "give more pictures")
    means = (a.double().mean(0) - b.double().mean(0)).square().sum()
    root_a, root_b = _root(a), _root(b)
    # trace((Ca Cb)^(1/2)) with Ca = A'A, Cb = B'B is the sum of the singular values of A B': no matrix root,
    # and exact where the covariances are singular, as those of few pictures are
    cross = torch.linalg.svdvals(root_a @ root_b.T).sum()
    total = means + root_a.square().sum() + root_b.square().sum() - 2 * cross
    return max(float(total), 0.0)


def _root(features: Tensor) -> Tensor:
    """Some A with A'A = the covariance, and at most as many rows as features."""
    centered = features.double() - features.double().mean(0)
    rows = centered / (len(features) - 1) ** 0.5
    return torch.linalg.qr(rows, mode="r").R if len(rows) > rows.shape[1] else rows
