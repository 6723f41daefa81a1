"""smalti: learn a codebook of visual parts from images, model how they are arranged, draw new images.

model = smalti.load("runs/photos-prior")
images = model.sample(num=4, label="brick", seed=0)
"""

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from smalti.errors import UserError
    from smalti.evaluation.run import evaluate
    from smalti.judging.rejection import best_of
    from smalti.library import load, save
    from smalti.pipeline import Pipeline
    from smalti.tokenizer import Tokenizer
    from smalti.training.train import train
    from smalti.user_images import grid, save_all

_HOME = {  # public name -> module: imported when asked for: `import smalti` is light (PEP 562)
    "Pipeline": "smalti.pipeline",
    "Tokenizer": "smalti.tokenizer",
    "UserError": "smalti.errors",
    "best_of": "smalti.judging.rejection",
    "evaluate": "smalti.evaluation.run",
    "grid": "smalti.user_images",
    "load": "smalti.library",
    "save": "smalti.library",
    "save_all": "smalti.user_images",
    "train": "smalti.training.train",
}

__all__ = [
    "Pipeline",
    "Tokenizer",
    "UserError",
    "best_of",
    "evaluate",
    "grid",
    "load",
    "save",
    "save_all",
    "train",
]


_OLD = {"Generator": "Pipeline"}  # names of before the first release


def __getattr__(name: str) -> Any:
    if name in _OLD:
        warnings.warn(f"smalti.{name} is called smalti.{_OLD[name]}", FutureWarning, stacklevel=2)
        name = _OLD[name]
    if name not in _HOME:
        raise AttributeError(f"module 'smalti' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
