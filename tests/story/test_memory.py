"""Running out of memory is one line and loses nothing; absurd values are answered at once."""

import errno
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tiny import TOKENIZER_TRAINING, generator

import smalti
from smalti import imaging, library, memory
from smalti import pipeline as pipeline_module
from smalti.tokenizer import Tokenizer
from smalti.training import limits, log, precompute
from smalti.training import train as starting
from smalti.training.tokenizer_task import Autoencoder

GPU = "CUDA out of memory. Tried to allocate 20.50 GiB. GPU 0 has a total capacity of 139.72 GiB"
CPU = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: "
CPU += "you tried to allocate 4294967296 bytes. Error code 12 (Cannot allocate memory)"
WORKER = "DataLoader worker (pid 12) is killed by signal: Killed. "
RECIPE = {**TOKENIZER_TRAINING, "batch": 4, "steps": 4, "checkpoint_every": 2, "size": [16, 24]}


def short_of_memory(monkeypatch, owner, name: str, most: int, *, spared: int = 0) -> None:
    """From the call after `spared` ones on, more than `most` images at a time do not fit into memory."""
    real, calls = getattr(owner, name), []

    def allocate(self, images, *args, **options):
        calls.append(1)
        if len(images) > most and len(calls) > spared:
            raise torch.OutOfMemoryError(GPU)
        return real(self, images, *args, **options)

    monkeypatch.setattr(owner, name, allocate)


@pytest.fixture
def model(home) -> Path:
    smalti.save(generator(), home / "model", {"size": (8, 8)})
    return home / "model"


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        (torch.OutOfMemoryError(GPU), "none for 20.50 GiB more"),
        (RuntimeError(CPU), "none for 4.0 GiB more"),
        (
            RuntimeError(f"Caught RuntimeError in DataLoader worker process 0.\n{CPU}"),
            "none for 4.0 GiB more",
        ),
        (
            MemoryError("Unable to allocate 3.64 TiB for an array with shape (1000,)"),
            "none for 3.64 TiB more",
        ),
        (MemoryError(), "too little"),
        (RuntimeError("Storage size calculation overflowed with sizes=[4611686018427387904]"), "too little"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), "too little"),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"), "too little"),
        (RuntimeError(WORKER), "a process that opens images killed for it"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "too little"),
        (memory.OutOfMemory("memory for this", "none for 1 GiB more", "that"), "none for 1 GiB more"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), None),
        (OSError(errno.ENOENT, "No such file"), None),
        (OSError(errno.ENOSPC, "No space left on device"), None),
    ],
)
def test_what_counts_as_a_lack_of_memory(problem, told):
    assert memory.asked(problem) == told


def test_the_outermost_knows_the_command():
    step, image = memory.needed("a step", lambda: "batch=2"), memory.needed("an image", "a smaller one")
    with pytest.raises(memory.OutOfMemory) as caught, step, image:
        raise torch.OutOfMemoryError(GPU)
    assert str(caught.value) == "expected memory for a step, got none for 20.50 GiB more; batch=2"
    with pytest.raises(ZeroDivisionError), memory.needed("a step", "batch=2"):
        raise ZeroDivisionError
    with pytest.raises(RuntimeError, match="shapes"), memory.needed("a step", "batch=2"):
        raise RuntimeError("shapes")


def test_a_lack_of_memory_holds_no_tensors():
    held = []

    class Large:
        def __del__(self):
            held.append("freed")

    def work():
        large = Large()
        raise torch.OutOfMemoryError(f"{GPU} {id(large)}")

    with pytest.raises(memory.OutOfMemory) as caught, memory.needed("a step", "batch=2"):
        work()
    assert held == ["freed"]
    assert caught.value.remedy == "batch=2"


def test_training_says_what_to_type_and_goes_on_from_its_checkpoint(
    home, photos, smalti_command, monkeypatch
):
    """As when the discriminator begins: the first steps fitted. The line's command works."""
    Path("recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    words = ("train", "recipe.yaml", "--data", photos, "--out", "run")
    with monkeypatch.context() as patched:
        short_of_memory(patched, Autoencoder, "forward", 2, spared=3)
        status, told, err = smalti_command(*words)
        assert (status, told) == (2, "")
        assert err.splitlines()[-1] == (
            "smalti: expected memory for training with batch=4, got none for 20.50 GiB more; smalti "
            "train --resume --out run accumulate=2 recompute=true goes on from step 2; or begin anew, in "
            "another --out, with a smaller batch=, a smaller size= or precision=bf16"
        )
        assert "Traceback" not in err
        assert [path.name for path in Path("run/checkpoints").iterdir()] == ["step-00000002"]
        assert isinstance(smalti.load("run"), Tokenizer)
        again = ("train", "--resume", "--out", "run", "accumulate=2", "recompute=true")
        status, told, err = smalti_command(*again)
    assert (status, told) == (0, "run\n"), err
    lines = [line for line in log.read(Path("run/log.jsonl")) if line["kind"] == "train"]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]


def test_training_that_never_fitted_says_where_it_begins(home, photos, smalti_command, monkeypatch):
    Path("recipe.yaml").write_text(yaml.safe_dump({**RECIPE, "accumulate": 4, "recompute": True}))
    short_of_memory(monkeypatch, Autoencoder, "forward", 0)
    status, _, err = smalti_command("train", "recipe.yaml", "--data", photos, "--out", "run")
    assert status == 2
    assert "got none for 20.50 GiB more; begin anew, in another --out, with a smaller batch=" in err
    assert not Path("run/model").exists()


def test_training_tells_it_of_its_tokenizer_too(home, model, photos, monkeypatch):
    """In Python as well, where no command turns it into a line."""

    def load(*_):
        raise torch.OutOfMemoryError(GPU)

    monkeypatch.setattr(library, "load", load)
    with pytest.raises(memory.OutOfMemory, match=r"training with batch=3, got none for 20\.50 GiB"):
        smalti.train("prior_300", data=photos, out="run", tokenizer=model, batch=3, size=(8, 12))
    assert not Path("run").exists()


def test_encoding_keeps_its_rows_and_goes_on(home, model, photos, smalti_command, monkeypatch):
    options = ("--size", "16x24", "--crops", 3, "--batch", 8)
    assert smalti_command("encode", model, photos, "whole", *options)[0] == 0
    with monkeypatch.context() as patched:
        short_of_memory(patched, Tokenizer, "encode", 2, spared=2)
        status, told, err = smalti_command("encode", model, photos, "part", *options)
    assert (status, told) == (2, "")
    assert err.splitlines()[-1] == (
        "smalti: expected memory for 8 crops encoded together; those done are kept, got none for 20.50 GiB "
        "more; --resume goes on once there is more, or encode into another OUT with --batch 4"
    )
    assert len(load_file("part/train-00000.partial")["codes"]) == 16
    assert smalti_command("encode", model, photos, "part", *options, "--resume")[0] == 0
    for name in ("train-00000.safetensors", "val-00000.safetensors"):
        assert load_file(f"part/{name}")["codes"].int().equal(load_file(f"whole/{name}")["codes"].int())


@pytest.mark.parametrize(("owner", "name"), [(pipeline_module, "passes"), (Tokenizer, "decode")])
def test_drawing_keeps_its_images_and_says_what_fits(home, model, smalti_command, monkeypatch, owner, name):
    words = ("sample", model, "out", "--label", "moon", "--size", "8x12", "--num", 7, "--micro-batch", 3)
    real, calls = getattr(owner, name), []

    def third(*args):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError(CPU)
        return real(*args)

    monkeypatch.setattr(owner, name, third)
    status, told, err = smalti_command(*words)
    assert status == 2
    assert told.split() == [f"out/{index:05}.png" for index in range(6)]
    assert [imaging.open_rgb(path).shape for path in told.split()] == [(3, 8, 12)] * 6
    lines = err.splitlines()
    assert lines[-2] == "stopped: 6 of 7 images are in out; the same command with --resume draws the others"
    assert lines[-1] == (
        "smalti: expected memory for drawing 3 of 8 x 12 pixels together, got none for 4.0 GiB more; "
        "--micro-batch 1 (micro_batch=1), or --precision bf16 (dtype='bf16')"
    )


def test_reconstructing_names_the_image(home, model, photos, smalti_command, monkeypatch):
    short_of_memory(monkeypatch, Tokenizer, "reconstruct", 0, spared=3)
    status, _, err = smalti_command("reconstruct", model, photos / "lying", "out")
    assert status == 2
    assert len([*Path("out").iterdir()]) == 3
    image = photos / "lying" / "3.png"
    assert f"memory for {image}, 40 x 40 pixels, got none for 20.50 GiB more; --precision bf16" in err


def test_any_other_command_tells_it_in_one_line(home, model, smalti_command, monkeypatch):
    def load(*_):
        raise MemoryError

    monkeypatch.setattr(smalti, "load", load)
    status, _, err = smalti_command("sample", model, "out")
    assert status == 2
    assert err.startswith("smalti: expected memory for this command, got too little; free some, ")
    assert len(err.splitlines()) == 1


GIB = 2**30
ABSURD = [  # (command, what it is answered), on a machine of one GiB
    ("train batch=40000000", "at most 4096, as there are 14 images or rows, got 40000000; batch=14"),
    ("train batch=4097", "a batch of at most 4096, as there are 14 images or rows, got 4097; batch=14"),
    ("train batch=4000 size=1024", "got batch=4000, 1024 x 1024 each: 31.2 GiB; batch=8"),
    ("train size=1000000", "got batch=4, 1000000 x 1000000 each: 29.1 TiB; give a smaller size"),
    ("train size=[16,1000000000]", "got batch=4, 16 x 1000000000 each: 476.8 GiB; give a smaller size"),
    ("train quantizer.codebook_size=100000000", "codebook_size=100000000, which makes 400,000,000 weights"),
    ("train quantizer.codebook_size=10000000000", "a valid quantizer.codebook_size, got 10000000000;"),
    ("train network.width=80000", "weights or more: 3.4 TiB; a smaller network.width"),
    ("train network.blocks=1000000000", "a valid network.blocks, got 1000000000; input should be less than"),
    ("train steps=1000000000000000000", "a valid steps, got 1000000000000000000; input should be less than"),
    ("train workers=100000", "a valid workers, got 100000; input should be less than or equal to 256"),
    ("encode --batch 40000000", "at most 4096, as there are 16 images or rows, got 40000000; batch=16"),
    ("encode --size 1000000", "within 1.0 GiB of memory, got batch=16, 1000000 x 1000000 each: 116.4"),
    ("sample --num 1000000000", "num, got 1000000000; for example num=1000000, then seed=1000000"),
    ("sample --size 1000000", "images within 1.0 GiB of memory, got num=1 of 1000000 x 1000000"),
    ("sample --micro-batch 1000000000", "micro_batch=1000000000: 119.2 GiB; a smaller micro_batch"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "answer"), ABSURD, ids=[words for words, _ in ABSURD])
def test_absurd_values_are_answered_at_once(home, model, photos, smalti_command, monkeypatch, words, answer):
    """Before anything is made; that would take minutes, or all memory."""
    monkeypatch.setattr(memory, "of_machine", lambda: GIB)

    def begin(*_):
        raise AssertionError("begun before the values were looked at")

    for owner, name in ((starting, "task_of"), (precompute._Rest, "batches"), (pipeline_module, "passes")):
        monkeypatch.setattr(owner, name, begin)
    command, *more = words.split()
    Path("recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    before = {
        "train": ("recipe.yaml", "--data", photos),
        "encode": (model, photos, "out"),
        "sample": (model, "out"),
    }
    out = ("--out", "out") if command == "train" else ()
    label = ("--label", "moon") if command == "sample" else ()
    status, _, err = smalti_command(command, *before[command], *out, *label, *more)
    assert status == 2
    assert answer in err.splitlines()[-1]
    assert not Path("out").exists()


def test_a_prior_too_large_is_answered_at_once(home, model, photos, smalti_command, monkeypatch):
    monkeypatch.setattr(memory, "of_machine", lambda: GIB)
    words = ("train", "prior_300", "--data", photos, "--out", "out", f"tokenizer={model}", "size=[8,12]")
    status, _, err = smalti_command(*words, "prior={kind: gpt, layers: 1, heads: 2, width: 40000}")
    assert status == 2
    assert (
        "a network in training, with gradients and moments, within 1.0 GiB of memory, got prior.width=40000"
        in err
    )
    assert not Path("out").exists()


def test_weights_are_counted_without_building(home, photos, smalti_command, monkeypatch):
    """On the device "meta" that takes a second, and at times hangs several processes at their end."""
    built, real = [], Tokenizer.__init__

    def build(self, *args):
        built.append(1)
        real(self, *args)

    monkeypatch.setattr(Tokenizer, "__init__", build)
    Path("recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    assert smalti_command("train", "recipe.yaml", "--data", photos, "--out", "run", "steps=1")[0] == 0
    assert len(built) == 1


def test_images_in_memory_have_a_bound_and_those_handed_over_none(monkeypatch):
    model = generator()
    monkeypatch.setattr(memory, "of_machine", lambda: 2**20)
    with pytest.raises(smalti.UserError, match=r"num=9999 of 8 x 8 pixels: 3\.1 MiB; .*iter_samples"):
        model.sample(9999, label="moon")
    assert next(model.iter_samples(9999, label="moon", micro_batch=1)).size == (8, 8)


def test_processes_share_a_batch(monkeypatch):
    monkeypatch.setattr(memory, "of_machine", lambda: GIB)
    limits.check_together(4000, 4000, (512, 2048), world=32)
    with pytest.raises(smalti.UserError, match="batch=4000, 512 x 2048 each"):
        limits.check_together(4000, 4000, (512, 2048), world=31)


def test_memory_of_the_machine():
    assert 2**28 < memory.of_machine() < 2**50
    assert memory.of_device(torch.device("cpu")) == memory.of_machine()


def test_a_container_has_what_it_is_given(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_CGROUP", tmp_path / "memory.max")
    whole = memory.of_machine()
    for text, expected in (("max\n", whole), ("1048576\n", 2**20)):
        (tmp_path / "memory.max").write_text(text)
        assert memory.of_machine() == expected


@pytest.mark.parametrize(
    ("count", "told"), [(12, "12 bytes"), (1536, "1.5 KiB"), (2**30, "1.0 GiB"), (3 * 2**60, "3072.0 PiB")]
)
def test_sizes_in_words(count, told):
    assert memory.size_of(count) == told
