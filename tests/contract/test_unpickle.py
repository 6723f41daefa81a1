"""Checkpoints are read whole, and nothing that they ask for is run."""

import builtins as builtins_module
import collections
import os
import pickle
import pickletools
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from smalti.errors import UserError
from smalti.formats import builders, unpickle
from smalti.formats.machine import Machine
from smalti.formats.storages import Placeholder

TENSORS = {
    "float32": torch.arange(6.0).view(2, 3),
    "transposed": torch.arange(6.0).view(2, 3).T,
    "part": torch.arange(10.0)[3:7],
    "expanded": torch.ones(1).expand(5),
    "half": torch.tensor([1.5, -2.0]).half(),
    "bfloat16": torch.tensor([1.5, -2.0]).bfloat16(),
    "int64": torch.tensor([2**40, -1]),
    "uint8": torch.tensor([0, 255], dtype=torch.uint8),
    "bool": torch.tensor([True, False]),
    "scalar": torch.tensor(3),
    "empty": torch.empty(0, 4),
    "parameter": torch.nn.Parameter(torch.ones(2)),
}
CALLS = []


def touch(*args):
    CALLS.append(args)


class Asks:
    """Pickles as a call of anything."""

    def __init__(self, what, *args):
        self.what, self.args = what, args

    def __reduce__(self):
        return self.what, self.args


class State:
    """Pickles as an object whose state is set."""

    def __init__(self):
        self.value = 1

    def __setstate__(self, state):
        CALLS.append(state)


@pytest.fixture
def kept(tmp_path):
    """kept(value) -> the file in which torch keeps it."""

    def keep(value, **how) -> Path:
        path = tmp_path / "file.ckpt"
        torch.save(value, path, **how)
        return path

    return keep


def zipped(path: Path, program: bytes, storages: dict[str, bytes] | None = None) -> Path:
    """A checkpoint with a pickle of our own."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        for key, data in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", data)
    return path


def storage(count: int, kind: str = "FloatStorage", key: str = "0") -> bytes:
    """The instructions that refer to a storage."""
    return (
        b"(X\x07\x00\x00\x00storagectorch\n" + kind.encode() + b"\n"
        + b"X\x01\x00\x00\x00" + key.encode() + b"X\x03\x00\x00\x00cpu"
        + b"\x8a\x08" + count.to_bytes(8, "little") + b"tQ"
    )  # fmt: skip


def tensor(count: int, offset: int = 0, size: int = 1, stride: int = 1) -> bytes:
    """The instructions that build {"w": tensor}."""
    numbers = [b"\x8a\x09" + number.to_bytes(9, "little", signed=True) for number in (offset, size, stride)]
    return (
        b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n("
        + storage(count) + numbers[0] + numbers[1] + b"\x85" + numbers[2] + b"\x85\x89)tRs."
    )  # fmt: skip


@pytest.mark.parametrize("zip_format", [True, False], ids=["zip", "legacy"])
def test_every_kind_of_tensor(kept, zip_format):
    found = unpickle.read(kept(TENSORS, _use_new_zipfile_serialization=zip_format))
    assert found.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert found[name].dtype == value.dtype
        assert found[name].shape == value.shape
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize("zip_format", [True, False], ids=["zip", "legacy"])
def test_writing_into_a_tensor_leaves_the_file(kept, zip_format):
    path = kept({"a": torch.zeros(4)}, _use_new_zipfile_serialization=zip_format)
    before = path.read_bytes()
    unpickle.read(path)["a"].fill_(1.0)
    assert path.read_bytes() == before


def test_plain_containers_and_numbers(kept):
    value = {
        "none": None, "yes": True, "text": "a\u00e9", "bytes": b"\x00\xff", "big": 2**70, "float": 0.1,
        "list": [1, [2]], "tuple": (1, (2, 3)), "set": {1, 2}, "frozen": frozenset({3}),
        "ordered": collections.OrderedDict(b=1, a=2), "default": collections.defaultdict(list, x=[1]),
        "size": torch.Size([2, 3]), 3: "int key", (1, "a"): "tuple key",
        "numpy": np.float64(0.25), "array": np.arange(6, dtype=np.int32).reshape(2, 3),
    }  # fmt: skip
    found = unpickle.read(kept(value))
    assert found.pop("array").tolist() == [[0, 1, 2], [3, 4, 5]]
    value.pop("array")
    assert found == value
    assert list(found["ordered"]) == ["b", "a"]


def test_a_gpu_becomes_the_cpu(tmp_path):
    program = tensor(1).replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:1")
    found = unpickle.read(zipped(tmp_path / "a.ckpt", program, {"0": b"\x00\x00\x80?"}))
    assert found["w"].device.type == "cpu"
    assert found["w"].tolist() == [1.0]


@pytest.mark.parametrize("zip_format", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    "value",
    [
        Asks(os.system, "touch hacked"),
        Asks(eval, "__import__('os').system('touch hacked')"),
        Asks(exec, "open('hacked', 'w')"),
        Asks(getattr, Asks(__import__, "os"), "system"),
        Asks(touch, 1),
        Asks(Asks, touch, 2),
        Asks(pickle.loads, pickle.dumps(Asks(touch, 3))),
        Asks(map, touch, [1]),
        State(),
    ],
    ids=["os.system", "eval", "exec", "getattr", "own", "nested", "loads", "map", "setstate"],
)
def test_nothing_is_run(kept, value, zip_format, tmp_path, monkeypatch):
    path = kept({"state_dict": {"w": torch.ones(2)}, "x": value}, _use_new_zipfile_serialization=zip_format)
    monkeypatch.chdir(tmp_path)
    CALLS.clear()
    found = unpickle.read(path)
    assert isinstance(found["x"], Placeholder)
    assert found["state_dict"]["w"].tolist() == [1.0, 1.0]
    assert not CALLS
    assert not Path("hacked").exists()


def test_names_are_not_imported(tmp_path):
    program = b"\x80\x04}\x8c\x01a\x8c\x0bantigravity\x8c\x03fly\x93s\x8c\x01bcthis\ns\ns."
    found = unpickle.read(zipped(tmp_path / "a.ckpt", program))
    assert found["a"].name == "antigravity.fly"
    assert found["b"].name == "this.s"
    import sys

    assert not {"antigravity", "this"} & sys.modules.keys()


HOSTILE = {
    "no end": b"\x80\x02}",
    "pop of nothing": b"\x80\x020.",
    "extension": b"\x80\x02\x82\x01.",
    "persistent id as text": b"\x80\x02Pabc\n.",
    "reference to another file": b"\x80\x02}X\x01\x00\x00\x00wX\x04\x00\x00\x00pathQs.",
    "a call of a number": b"\x80\x02K\x01)R.",
    "a mark taken for a value": b"\x80\x02(0(q\x00R.",
    "next buffer": b"\x80\x05\x97.",
    "a list as a key": b"\x80\x02}]K\x01s.",
    "a text longer than the file": b"\x80\x02X\xff\xff\xff\x7fa.",
    "bytes longer than the file": b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\x00\x00a.",
    "a storage that is not there": tensor(1).replace(b"X\x01\x00\x00\x000", b"X\x01\x00\x00\x009"),
    "a storage too short": tensor(1000),
    "a huge storage": tensor(2**60),
    "an offset too far": tensor(1, offset=1),
    "a negative offset": tensor(1, offset=-1),
    "a size too large": tensor(1, size=2),
    "a huge tensor on one number": tensor(1, size=2**50, stride=0),
    "a negative stride": tensor(1, stride=-1),
    "no dictionary": b"\x80\x02K\x01.",
    "objects in numpy": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R(K\x01K\x01\x85cnumpy\ndtype\n"
    b"X\x01\x00\x00\x00O\x85R\x89C\x00tb.",
}


@pytest.mark.parametrize("program", HOSTILE.values(), ids=HOSTILE.keys())
def test_nonsense_is_an_error_in_one_line(tmp_path, program):
    path = zipped(tmp_path / "a.ckpt", program, {"0": b"\x00\x00\x80?"})
    with pytest.raises(UserError) as mistake:
        unpickle.read(path)
    assert "\n" not in str(mistake.value)
    assert str(path) in str(mistake.value)


def test_a_memo_place_far_away_takes_no_memory(tmp_path):
    """C's unpickler makes room for every place below it."""
    found = unpickle.read(zipped(tmp_path / "a.ckpt", b"\x80\x02}r\xff\xff\xff\xff."))
    assert found == {}


def test_tuples_in_tuples_take_no_time(tmp_path):
    """A tuple of two of a tuple of two ...: 2 ** 64 items if anybody counts, or hashes, them."""
    program = b"\x80\x02}X\x01\x00\x00\x00a)" + b"2\x86" * 64 + b"s."
    assert "a" in unpickle.read(zipped(tmp_path / "a.ckpt", program))
    as_key = b"\x80\x02})" + b"2\x86" * 64 + b"K\x01s."
    with pytest.raises(UserError, match="key"):
        unpickle.read(zipped(tmp_path / "a.ckpt", as_key))


def test_setting_the_state_of_a_name_changes_nothing(tmp_path):
    """BUILD on what a name stands for: no attribute of the reader is replaced."""
    names = (b"ctorch._utils\n_rebuild_tensor_v2\n", b"ccollections\nOrderedDict\n", b"ca\nb\n")
    for name in names:
        program = b"\x80\x02}X\x01\x00\x00\x00a" + name + b"}X\x08\x00\x00\x00__call__K\x01sbs."
        unpickle.read(zipped(tmp_path / "a.ckpt", program))
    assert unpickle.read(zipped(tmp_path / "a.ckpt", tensor(1), {"0": bytes(4)}))["w"].tolist() == [0.0]


def test_every_instruction_is_known_or_refused():
    """No instruction of pickle's table reaches a method of the machine that is not its own."""
    own = {"_step", "_since_mark", "_extend", "_set", "_storage", "_stack", "_memo"}
    assert not own & {f"_{opcode.name.lower()}" for opcode in pickletools.opcodes}
    assert not any(hasattr(Machine, f"_{name}") for name in ("ext1", "ext2", "ext4", "persid", "next_buffer"))


@pytest.mark.parametrize("zip_format", [True, False], ids=["zip", "legacy"])
def test_truncated_anywhere(kept, zip_format):
    path = kept({"a": torch.arange(200.0), "b": torch.ones(3)}, _use_new_zipfile_serialization=zip_format)
    whole = path.read_bytes()
    for size in [*range(0, len(whole), 37), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match="whole torch checkpoint"):
            unpickle.read(path)


@pytest.mark.parametrize("zip_format", [True, False], ids=["zip", "legacy"])
def test_any_byte_changed(kept, zip_format):
    """An error in one line, or a dictionary: nothing else comes out."""
    path = kept({"a": torch.arange(4.0), "b": {"c": [1, 2]}}, _use_new_zipfile_serialization=zip_format)
    whole = path.read_bytes()
    outcomes = set()
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            outcomes.add(type(unpickle.read(path)))
        except UserError:
            outcomes.add(UserError)
    assert outcomes == {dict, UserError}


def test_what_is_no_checkpoint(tmp_path):
    texts = {
        b"": "an empty file",
        b"version https://git-lfs.github.com/spec/v1": "git LFS",
        b"<!DOCTYPE html>": "text",
        pickle.dumps([1]): "a pickle that torch did not write",
    }
    for data, told in texts.items():
        (tmp_path / "a.ckpt").write_bytes(data)
        with pytest.raises(UserError, match=told):
            unpickle.read(tmp_path / "a.ckpt")
    with pytest.raises(UserError, match="No such file"):
        unpickle.read(tmp_path / "none.ckpt")


def test_compressed_storages_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", tensor(2**20))
        archive.writestr("archive/data/0", bytes(2**22))
    with pytest.raises(UserError, match="compressed"):
        unpickle.read(tmp_path / "a.ckpt")


def test_copies_of_copies_come_to_an_end(tmp_path, monkeypatch):
    """list(x) in a few bytes, again and again: a megabyte of them could ask for all memory there is."""
    monkeypatch.setattr("smalti.formats.machine.COPIED", 10_000)
    program = b"\x80\x02}X\x01\x00\x00\x00a(](" + b"K\x01" * 100 + b"eq\x01"
    calls = b"cbuiltins\nlist\nh\x01\x85R"
    assert len(unpickle.read(zipped(tmp_path / "a.ckpt", program + calls * 100 + b"ls."))["a"]) == 101
    with pytest.raises(UserError, match="copies without end"):
        unpickle.read(zipped(tmp_path / "a.ckpt", program + calls * 101 + b"ls."))


def test_truth_values_are_not_copied(tmp_path):
    """Any byte but 0 is true; a thousand tensors of one storage take no more memory than one."""
    one = (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + storage(3, "BoolStorage")
        + b"K\x00K\x03\x85K\x01\x85\x89)tR"
    )
    path = zipped(
        tmp_path / "a.ckpt", b"\x80\x02}X\x01\x00\x00\x00a" + one + one + b"\x86s.", {"0": b"\0\1\xff"}
    )
    first, second = unpickle.read(path)["a"]
    assert first.dtype == torch.bool
    assert first.tolist() == [False, True, True]
    assert first.data_ptr() == second.data_ptr()


CONTAINERS = {"dict", "list", "tuple", "set", "frozenset"}
BUILDS = {  # all that a checkpoint may build: one more is a decision, to be taken here too
    *(f"torch._utils._rebuild_{name}" for name in ("tensor", "tensor_v2", "tensor_v3")),
    *("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"),
    *("torch.Size", "collections.OrderedDict", "collections.defaultdict", "_codecs.encode", "numpy.dtype"),
    *("numpy.core.multiarray.scalar", "numpy.core.multiarray._reconstruct"),
    *("numpy._core.multiarray.scalar", "numpy._core.multiarray._reconstruct"),
    *(f"{module}.{name}" for module in ("builtins", "__builtin__") for name in CONTAINERS),
}


def ran(program):
    return Machine(lambda what: None).run(pickletools.genops(program))


def test_the_names_that_may_be_built_are_these():
    assert builders.BUILDERS.keys() == BUILDS


def spellings(module: str, name: str) -> dict[str, bytes]:
    """A call of a name without arguments, in each way in which a pickle can write it."""
    named = f"c{module}\n{name}\n".encode()
    words = b"".join(b"\x8c" + bytes([len(word)]) + word.encode() for word in (module, name))
    return {
        "text": named + b"(tR.",
        "text, protocol 2": b"\x80\x02" + named + b")R.",
        "stack, protocol 4": b"\x80\x04" + words + b"\x93)R.",
        "object": b"\x80\x02" + named + b")\x81.",
        "object with keywords": b"\x80\x04" + named + b")}\x92.",
        "instance": b"(i" + named[1:] + b".",
        "class on the stack": b"(" + named + b"o.",
    }


def test_no_other_builtin_is_called_however_it_is_spelled():
    """Harmless or not: none of them runs, in the spelling of Python 2 or 3."""
    tried = 0
    older = {"apply", "execfile", "file", "intern", "raw_input", "reduce", "unichr", "unicode", "xrange"}
    for name in (older | set(dir(builtins_module))) - CONTAINERS:
        for module in ("builtins", "__builtin__"):
            for how, program in spellings(module, name).items():
                found = ran(program)
                assert isinstance(found, Placeholder), (module, name, how)
                assert found.name == f"{module}.{name}"
                tried += 1
    assert tried > 1000


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_builtins_as_each_protocol_spells_them(protocol):
    """Containers are built, from what Python itself writes; functions and other kinds of numbers are not."""
    value = {
        "a": {1, 2},
        "b": frozenset({3}),
        "c": [1, (2, None)],
        "d": b"\xff",
        "e": True,
        "f": 2**70,
        "g": -0.5,
    }
    assert ran(pickle.dumps(value, protocol)) == value
    for kind in (len, eval, bytearray, complex, object):
        name = ran(pickle.dumps(kind, protocol)).name
        assert name in (f"builtins.{kind.__name__}", f"__builtin__.{kind.__name__}")
        assert isinstance(ran(pickle.dumps(Asks(kind, 1), protocol)), Placeholder)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_arrays_in_either_order(protocol):
    """Fortran's: columns one after the other."""
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    for array in (rows, np.asfortranarray(rows), rows.T, np.asfortranarray(rows[:, 1:])):
        found = ran(pickle.dumps({"a": array}, protocol))["a"]
        assert found.tolist() == array.tolist()
        assert found.shape == array.shape
