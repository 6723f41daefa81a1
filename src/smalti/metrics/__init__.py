"""Numbers about models and images, by name."""

from smalti.metrics.codes import NatsPerToken, Usage
from smalti.metrics.distances import Frechet
from smalti.metrics.protocol import Metric
from smalti.metrics.reconstruction import L1, Accuracy, CrossEntropy, Perceptual, Psnr, Ssim

# in the order in which a line of the log has them
METRICS: dict[str, type[Metric]] = {
    "l1": L1,
    "psnr": Psnr,
    "ssim": Ssim,
    "bce": CrossEntropy,
    "accuracy": Accuracy,
    "perceptual": Perceptual,
    "frechet": Frechet,
    "usage": Usage,
    "nats": NatsPerToken,
}

__all__ = ["METRICS"]
