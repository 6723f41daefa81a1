"""Files whose headers promise a hundred gigabytes: refused before any room is made for them."""

import io
import json
import pickle
import resource
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

_ROOM = 3 * 2**30  # bytes of addresses that the child may take beside what it has when it begins
_HARMLESS = {
    "text.png",
    "text.png, a band",
    "text.png, sent",
    "frame.ckpt, unpickled",
    "memo.ckpt, unpickled",
}  # read without what they promise
_GROWN = 150  # MB that it may hold more than before, for all of them
_MANY = 10**11


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, *more: bytes) -> bytes:
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + head
        + b"".join(more)
        + _chunk(b"IDAT", zlib.compress(bytes(100)))
        + _chunk(b"IEND", b"")
    )


def _tiff(width: int, height: int) -> bytes:
    values = {
        256: width,
        257: height,
        258: 8,
        259: 1,
        262: 1,
        273: 8,
        277: 1,
        278: height,
        279: _MANY % 2**32,
    }
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in values.items())
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(values)) + entries + bytes(4)


def _bomb() -> bytes:
    """A text chunk that becomes 64 MB, as far as a test may go."""
    return _chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2**26), 9))


IMAGES = {
    "vast.png": _png(2**31 - 1, 2**31 - 1),
    "wide.png": _png(2**31 - 1, 1),
    "text.png": _png(4, 4, _bomb()),
    "vast.tif": _tiff(400_000, 400_000),
    "strip.tif": _tiff(4, 2**31 - 1),
    "vast.bmp": b"BM" + struct.pack("<IHHIIiiHHI", 100, 0, 0, 54, 40, 2**30, 2**30, 1, 24, 0) + bytes(20),
    "vast.gif": b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0)
    + b",\0\0\0\0\xff\xff\xff\xff\0\x02\x01\0\0;",
    "vast.ppm": b"P6 400000 400000 255\n" + bytes(30),
    "vast.pfm": b"PF\n400000 400000\n-1.0\n" + bytes(30),
    "vast.jpg": bytes.fromhex("ffd8ffc000110800000000030111000211000311 00".replace(" ", ""))
    .replace(b"\x08\0\0\0\0", b"\x08\xff\xff\xff\xff"),
    "vast.qoi": b"qoif" + struct.pack(">IIBB", 2**30, 2**30, 3, 0) + bytes(8),
    "vast.tga": struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, 65535, 65535, 24, 0) + bytes(30),
    "vast.dds": b"DDS " + struct.pack("<7I44x", 124, 0x1007, 2**30, 2**30, 0, 0, 0)
    + struct.pack("<8I5I", 32, 0x41, 0, 32, 255, 0, 0, 0, *(0,) * 5),
    "vast.sgi": struct.pack(">HBBHHHH", 474, 0, 1, 3, 65535, 65535, 3) + bytes(500),
    "vast.webp": b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f\xff\xff\xff\x0f" + bytes(8),
}  # fmt: skip


def _zipped(program: bytes, name: str = "a/data.pkl") -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(name, program)
        archive.writestr("a/data/0", bytes(32))
    return data.getvalue()


def _storage(count: int) -> bytes:
    """A pickle of a tensor on a storage of so many numbers."""
    number = b"\x8a\x08" + count.to_bytes(8, "little")
    return (
        b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
        b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpu" + number + b"tQK\x00" + number + b"\x85K\x01\x85\x89)tRs."
    )  # fmt: skip


def _safe(header: dict[str, Any], length: int | None = None) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + bytes(64)


_TENSOR = {"a": {"dtype": "F32", "shape": [_MANY], "data_offsets": [0, 4 * _MANY]}}
_ARRAY = msgpack.ExtType(1, msgpack.packb([[_MANY], "float32", b""]))
_STATE = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR(K\x01\x8a\x08"
WEIGHTS = {
    "storage.ckpt": _zipped(_storage(_MANY)),
    "legacy.ckpt": pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
    + pickle.dumps({"little_endian": True}, 2) + _storage(_MANY) + pickle.dumps(["0"], 2)
    + struct.pack("<Q", _MANY),
    "bytes.ckpt": b"\x80\x04\x8e" + struct.pack("<Q", _MANY) + b"x.",
    "text.ckpt": b"\x80\x04\x8d" + struct.pack("<Q", _MANY) + b"x.",
    "array.ckpt": b"\x80\x05\x96" + struct.pack("<Q", _MANY) + b"x.",
    "frame.ckpt": b"\x80\x04\x95" + struct.pack("<Q", _MANY) + b"}.",
    "long.ckpt": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"x.",
    "memo.ckpt": b"\x80\x02}r" + struct.pack("<I", 2**32 - 1) + b".",
    "numbers.pt": _STATE + _MANY.to_bytes(8, "little")
    + b"\x85cnumpy\ndtype\nX\x02\x00\x00\x00f4\x85R\x89C\x00tb.",
    "header.safetensors": _safe(_TENSOR, 2**62),
    "tensor.safetensors": _safe(_TENSOR),
    "sizes.safetensors": _safe({"a": {"dtype": "U8", "shape": [2**32, 2**32], "data_offsets": [0, 64]}}),
    "bin/flax_model.msgpack": b"\x81\xa1a\xc6" + struct.pack(">I", 2**32 - 1) + b"x",
    "list/flax_model.msgpack": b"\x81\xa1a\xdd" + struct.pack(">I", 2**32 - 1) + b"\xc0",
    "map/flax_model.msgpack": b"\xdf" + struct.pack(">I", 2**32 - 1) + b"\xa1a\xc0",
    "ext/flax_model.msgpack": b"\x81\xa1a\xc9" + struct.pack(">Ib", 2**32 - 1, 1) + b"x",
    "shape/flax_model.msgpack": msgpack.packb({"a": _ARRAY}),
    "parts/flax_model.msgpack": msgpack.packb(
        {"a": {"__msgpack_chunked_array__": True, "shape": {"0": _MANY}, "chunks": {"0": _ARRAY}}}
    ),
}  # fmt: skip


def npz(shape: tuple[int, ...]) -> bytes:
    """An npz file of images whose header promises these."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": shape})
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("arr_0.npy", head.getvalue() + bytes(100))
    return data.getvalue()


def write(root: Path) -> None:
    """Put all files into a folder."""
    for name, data in {**IMAGES, **WEIGHTS}.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(data)
    (root / "rows.npz").write_bytes(npz((_MANY, 8, 8, 3)))
    (root / "row.npz").write_bytes(npz((2, 10**6, 10**5, 3)))


def shards(root: Path, header: bytes) -> Path:
    """A folder of token shards with one file."""
    root.mkdir()
    index = {
        "format": 1,
        "tokenizer": "0",
        "codebook_size": 8,
        "factor": 2,
        "classes": [],
        "holds": [],
        "val": [],
    }
    (root / "index.json").write_text(json.dumps({**index, "train": ["train-00000.safetensors"]}))
    (root / "train-00000.safetensors").write_bytes(header)
    return root


def models(root: Path) -> list[Path]:
    """Model folders whose settings promise more than their weights have: ours, and diffusers'."""
    from tiny import generator

    from smalti import library
    from smalti.formats import exporting

    found = []
    library.save(generator().tokenizer, root / "ours")
    for place, change in enumerate(({"codebook_size": 2**31 - 1}, {"width": 2**20})):
        folder = root / f"ours {place}"
        library.save(generator().tokenizer, folder)
        config = json.loads((folder / "config.json").read_text())
        part = "quantizer" if "codebook_size" in change else "network"
        config["settings"][part] |= change
        (folder / "config.json").write_text(json.dumps(config))
        found.append(folder)
    exporting.convert(root / "ours", root / "diffusers", "diffusers")
    config = json.loads((root / "diffusers" / "config.json").read_text())
    config = {
        key: value for key, value in config.items() if not isinstance(value, dict)
    }  # without our own words
    (root / "diffusers" / "config.json").write_text(json.dumps({**config, "num_vq_embeddings": 2**31 - 1}))
    return found


def all_work(root: Path) -> dict[str, Callable[[], object]]:
    """What is asked of each, by a name."""
    import smalti
    from smalti import imaging, library
    from smalti.data.shards import ShardsSettings, TokenShards
    from smalti.evaluation.sets import Npz
    from smalti.formats import importing, unpickle
    from smalti.reading.pixels import PixelReading, open_pixels
    from smalti.studio import pictures
    from smalti.weights.reading import read_arrays, read_tensors

    found: dict[str, Callable[[], object]] = {}
    for name, data in IMAGES.items():
        found[name] = partial(imaging.open_rgb, root / name)
        found[f"{name}, a band"] = partial(
            open_pixels, root / name, PixelReading(bands=(0,), range=(0.0, 1.0))
        )
        found[f"{name}, sent"] = partial(pictures.load, data, 10_000)
    for name in WEIGHTS:
        found[name] = partial(importing.describe, root / name)
        if name.endswith((".ckpt", ".pt")):
            found[f"{name}, unpickled"] = partial(unpickle.read, root / name)
            found[f"{name}, by torch"] = partial(read_tensors, root / name, "somebody")
            found[f"{name}, arrays"] = partial(read_arrays, root / name, "somebody")
    for name in ("rows.npz", "row.npz"):
        found[name] = lambda name=name: Npz(root / name)[0]
    for name, header in {
        "shards 1": _safe(_TENSOR, 2**62),
        "shards 2": _safe({"codes": _TENSOR["a"]}),
    }.items():
        found[name] = partial(TokenShards, ShardsSettings(root=shards(root / name, header)), "train")
    for folder in models(root):
        found[folder.name] = partial(smalti.load, folder)
        found[f"{folder.name}, outlined"] = partial(library.outline, folder)
    found["diffusers"] = partial(importing.convert, root / "diffusers", root / "imported")
    return found


def held() -> float:
    """The most that this process has held so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def child(root: Path) -> None:
    """Do all of it with little room; tell of each how it went."""
    from smalti.errors import UserError

    write(root)
    work = all_work(root)
    pages = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (pages + _ROOM, pages + _ROOM))
    for name, piece in work.items():
        before = held()
        try:
            piece()
            told = "no error"
        except UserError as mistake:
            told = f"refused: {mistake}"
        except BaseException as problem:  # noqa: BLE001  whatever it is, the parent says which file it was
            told = f"{type(problem).__name__}: {problem}"[:200]
        print(json.dumps([name, told, held() - before]), flush=True)


@pytest.mark.skipif(sys.platform != "linux", reason="a process's room is bounded there alone")
def test_promises_are_refused_before_there_is_room_for_them(tmp_path):
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path)], capture_output=True, text=True, timeout=200
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    names = [name for name, *_ in found]
    assert done.returncode == 0, f"after {names[-1:]}: {done.stderr[-500:]}"
    assert len(names) > 90
    wrong = [
        f"{name}: {told[:300]}"
        for name, told, _ in found
        if "emory" in told or not (told.startswith("refused") or name in _HARMLESS)
    ]
    assert not wrong, "\n".join(wrong)
    large = [f"{name}: {grown:.0f} MB" for name, _, grown in found if grown > _GROWN]
    assert not large, "\n".join(large)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    child(Path(sys.argv[1]))
