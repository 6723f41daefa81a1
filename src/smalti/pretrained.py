"""Models that have a folder: how a class reads its own and writes them."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

from torch import nn
from torch.overrides import TorchFunctionMode

from smalti.errors import UserError
from smalti.files import as_path

Model = TypeVar("Model", bound="Pretrained")


class Pretrained(nn.Module):
    """A tokenizer or a model with a prior, as `smalti.load` gives it and `smalti.save` writes it."""

    kind: ClassVar[str]  # what config.json says
    fingerprint: str = ""  # of the model folder it was loaded from; see library.fingerprint
    provenance: Mapping[str, Any] = MappingProxyType({})  # as that folder tells its making

    @classmethod
    def from_pretrained(
        cls: type[Model], path: str | Path | Any, device: Any = "cpu", dtype: Any = "fp32"
    ) -> Model:
        """Load a model of this class from its model folder or a run folder, as `smalti.load` does.

        Raises UserError as that does, and where the folder holds a model of the other class.
        """
        library = _library()
        library.check_kind(as_path(path, "path"), cls.kind)
        found = library.load(path, device, dtype)
        assert isinstance(found, cls), "check_kind looks at what is loaded"
        return found

    def save_pretrained(self, folder: str | Path | Any) -> Path:
        """Write a model folder with a model card, as `smalti.save` does; gives the folder.

        What the model knows of its making (`provenance`) goes with it. Raises UserError as that does.
        """
        _library().save(self, folder)
        return Path(folder)


class Unfilled(TorchFunctionMode):
    """Within, on this thread, first weights are not drawn: those of a file take their place.

    Of a prior of 100 million weights that is a second; torch's own numbers of chance stay where they are.
    """

    drawing = frozenset({nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_})

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """See torch: what stands for func. Its functions that draw ask modes, and return what they fill."""
        given = kwargs or {}
        if func in self.drawing:
            return given["tensor"] if "tensor" in given else args[0]
        return func(*args, **given)


def _library() -> Any:
    # It stands above all models, which it knows; they need it for these two calls alone.
    return import_module("smalti.library")


def check_shapes(module: nn.Module, found: Mapping[str, tuple[int, ...]], folder: Path) -> None:
    """Raise UserError unless names and shapes of weights are those of a module, none missing, none more.

    found: by name; folder: of the model.
    """
    own = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    missing, extra = sorted(own.keys() - found.keys()), sorted(found.keys() - own.keys())
    shapes = [name for name in own.keys() & found.keys() if own[name] != found[name]]
    if missing or extra or shapes:
        got = f"missing {missing[:3]}, unknown {extra[:3]}, other shapes {shapes[:3]}"
        raise UserError(f"weights that fit {folder}/config.json", got, "the two files are not of one model")
