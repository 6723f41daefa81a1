"""Numbers about models and images, by name."""

from smalti.metrics.codes import NatsPerToken, Usage
from smalti.metrics.distances import Frechet, Kid
from smalti.metrics.neighbours import Neighbours
from smalti.metrics.protocol import Metric
from smalti.metrics.reconstruction import L1, Accuracy, CrossEntropy, MsSsim, Perceptual, Psnr, Ssim
from smalti.metrics.scores import InceptionScore

# in the order in which a line of the log has them
METRICS: dict[str, type[Metric]] = {
    "l1": L1,
    "psnr": Psnr,
    "ssim": Ssim,
    "ms_ssim": MsSsim,
    "bce": CrossEntropy,
    "accuracy": Accuracy,
    "perceptual": Perceptual,
    "frechet": Frechet,
    "kid": Kid,
    "neighbours": Neighbours,
    "inception_score": InceptionScore,
    "usage": Usage,
    "nats": NatsPerToken,
}

__all__ = ["METRICS"]
