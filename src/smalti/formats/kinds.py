"""Files and folders without weights that can be read here: each named for what it is, with what to do."""

import json
import zipfile
from pathlib import Path

from smalti.errors import UserError
from smalti.formats.unpickle import DAMAGE

_HEAD = 512  # bytes, which tell most kinds
_TENSORS = "or save its tensors as .safetensors under names that docs/importing.md lists"
_PYTORCH = f"import the model's PyTorch weights (.safetensors, .ckpt), {_TENSORS}"
_UNPACK = "unpack it, then import the file in it"
_SETTINGS = "import the weights, or the folder that holds both; this file goes with --config"
_STARTS = (  # first bytes, what they mean, what to do
    (b"GGUF", "a GGUF file, for llama.cpp and its kin", _PYTORCH),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes it", _PYTORCH),
    (b"\x93NUMPY", "a single array of numpy's", _PYTORCH),
    (b"\x1f\x8b", "a file packed with gzip", _UNPACK),
    (b"BZh", "a file packed with bzip2", _UNPACK),
    (b"\xfd7zXZ\0", "a file packed with xz", _UNPACK),
    (b"(\xb5/\xfd", "a file packed with zstd", _UNPACK),
    (b"7z\xbc\xaf'\x1c", "a 7z archive", _UNPACK),
    (b"Rar!", "a RAR archive", _UNPACK),
)
_SUFFIXES = {  # of kinds whose bytes do not tell them
    ".onnx": ("an ONNX graph, whose tensors have lost their names", _PYTORCH),
    ".pb": ("a graph of TensorFlow's", _PYTORCH),
    ".tflite": ("a TensorFlow Lite model", _PYTORCH),
    ".data": ("a part of a TensorFlow checkpoint", _PYTORCH),
    ".index": ("a part of a TensorFlow checkpoint", _PYTORCH),
    ".distcp": ("a part of a checkpoint of torch.distributed's (DCP)", "name its folder"),
    ".json": ("settings, no weights", _SETTINGS),
    ".yaml": ("settings, no weights", _SETTINGS),
    ".yml": ("settings, no weights", _SETTINGS),
}
_ORBAX = "a folder of JAX's, written by Orbax or TensorStore"
_FLAX = (
    "restore it with Orbax and write its parameters with flax.serialization.to_bytes as flax_model.msgpack"
)
_DCP = (
    "python -m torch.distributed.checkpoint.format_utils dcp_to_torch {0} weights.pt, then import weights.pt"
)
_ZERO = "python {0}/zero_to_fp32.py {0} OUT, then import OUT"
_TENSORFLOW = "a folder of TensorFlow's"
_FOLDERS = (  # what lies in it, what it is, what to do
    (".metadata", "a checkpoint of torch.distributed's (DCP)", _DCP),
    ("*.distcp", "a checkpoint of torch.distributed's (DCP) without its .metadata", "get the folder anew"),
    ("zero_to_fp32.py", "a checkpoint of DeepSpeed's", _ZERO),
    *((name, _ORBAX, _FLAX) for name in ("_CHECKPOINT_METADATA", "_METADATA", "manifest.ocdbt")),
    *((name, _ORBAX, _FLAX) for name in ("*/_METADATA", "*/manifest.ocdbt", "*/.zarray", ".zarray")),
    ("saved_model.pb", _TENSORFLOW, _PYTORCH),
    ("*.data-?????-of-?????", _TENSORFLOW, _PYTORCH),
)
_OTHERS = ("*.gguf", "*.onnx", "*.h5", "*.keras", "*.npz", "*.pb", "*.tflite", "*.pt2")
_SCRIPT = (
    "python -c \"import torch; torch.save(torch.jit.load('{0}').state_dict(), 'weights.pt')\", which runs "
    "the code in it; then import weights.pt"
)


def check(path: Path) -> None:
    """UserError for a file that is known and holds no weights that can be read here."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    told = _by_head(path, head) or _config(path) or _SUFFIXES.get(path.suffix.partition("-")[0])
    if told is None and head.startswith(b"PK"):
        told = _archive(path)
    if told is not None:
        raise _refusal(path, *told)


def check_folder(folder: Path) -> None:
    """UserError for a folder of another program's that is known and cannot be read here."""
    for pattern, what, remedy in _FOLDERS:
        if next(folder.glob(pattern), None) is not None:
            raise _refusal(folder, what, remedy)


def check_others(folder: Path) -> None:
    """UserError for a folder whose only weights are of a kind that cannot be read here."""
    for pattern in _OTHERS:
        for file in sorted(folder.glob(pattern)):
            check(file)


def _refusal(path: Path, what: str, remedy: str) -> UserError:
    return UserError("weights that can be imported", f"{path}, {what}", remedy.format(path))


def _by_head(path: Path, head: bytes) -> tuple[str, str] | None:
    if not head:
        return "an empty file", "get it anew"
    if head.startswith(b"version https://git-lfs"):
        return (
            "the note that git LFS leaves in place of a file",
            f"git lfs pull in {path.parent}, or download the file itself",
        )
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"<"):
        remedy = "download the file itself; on Hugging Face that is the address with /resolve/, not /blob/"
        return "a web page, saved in place of the file", remedy
    if head[257:262] == b"ustar":
        return "a tar archive", _UNPACK
    if head[:1] == b"\x08" and (b"onnx" in head[:64] or b"pytorch" in head[:64]):
        return _SUFFIXES[".onnx"]
    return next(((what, remedy) for start, what, remedy in _STARTS if head.startswith(start)), None)


def _config(path: Path) -> tuple[str, str] | None:
    """Return what a config.json is of."""
    try:
        named = (
            json.loads(path.read_text(encoding="utf-8")).get("_class_name") if path.suffix == ".json" else ""
        )
    except (ValueError, AttributeError, RecursionError):
        return None
    return (f"settings of {named}, no weights", _SETTINGS) if isinstance(named, str) and named else None


def _archive(path: Path) -> tuple[str, str] | None:
    """Return what a zip file is; None for what torch.save wrote, and for no whole one."""
    try:
        if not zipfile.is_zipfile(path):
            return None
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
    except DAMAGE as problem:
        got = " ".join(str(problem).split()) or type(problem).__name__
        return f"a damaged zip archive ({got:.160})", "get it anew"
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner and any(name.startswith("code/") for name in inner):
        return "a TorchScript archive, a program with its weights", _SCRIPT
    if {"archive_format", "serialized_exported_program.json"} & {*inner, *names}:
        return "a program that torch.export wrote", _PYTORCH
    if "data.pkl" in inner:
        return None
    if "model.weights.h5" in names:
        return "a Keras model", _PYTORCH
    if names and all(name.endswith(".npy") for name in names):
        return f"{len(names)} arrays of numpy's (.npz)", _PYTORCH
    return f"a zip archive of {len(names)} files", _UNPACK
