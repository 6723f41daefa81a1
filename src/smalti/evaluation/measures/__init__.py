"""The numbers of an evaluation, by the name that --metrics takes."""

from smalti.evaluation.measures.classes import Accuracy
from smalti.evaluation.measures.codes import Bits, Likelihood, Use
from smalti.evaluation.measures.obeyed import Obeyed
from smalti.evaluation.measures.pairs import OfPairs
from smalti.evaluation.measures.protocol import Measure
from smalti.evaluation.measures.sets import Distance, Kernel, Neighbours, Score
from smalti.evaluation.measures.training import Diversity, Nearest

# in the order in which tables have them
MEASURES: dict[str, Measure] = {
    "psnr": OfPairs("psnr", "PSNR, dB", "higher"),
    "ssim": OfPairs("ssim", "SSIM", "higher"),
    "ms_ssim": OfPairs("ms_ssim", "MS-SSIM", "higher"),
    "lpips_vgg": OfPairs("lpips_vgg", "LPIPS-VGG", "lower"),
    "lpips_alex": OfPairs("lpips_alex", "LPIPS-Alex", "lower"),
    "hed": OfPairs("hed", "HED distance", "lower"),
    "fd": Distance(),
    "kid": Kernel(),
    "score": Score(),
    "neighbours": Neighbours(),
    "usage": Use(),
    "bits": Bits(),
    "nats": Likelihood(),
    "accuracy": Accuracy(),
    "obeyed": Obeyed(),
    "nearest": Nearest(),
    "diversity": Diversity(),
}

__all__ = ["MEASURES"]
