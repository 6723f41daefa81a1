"""The doctor tells what there is, and sees a device that computes something else."""

import copy
import json

import pytest
import torch
from click.testing import CliRunner
from tiny import PRIORS, generator

import smalti
from smalti import devices, memory
from smalti.cli.main import group
from smalti.conditions.label import LabelSettings
from smalti.conditions.none import NoConditionSettings
from smalti.conditions.text import TextSettings
from smalti.doctor import SUBJECTS, disk, free, loading, models, products, repeating, threads, together
from smalti.doctor.protocol import Asked, Finding, judged, looked
from smalti.errors import UserError
from smalti.training.seeds import seeded

CPU = torch.device("cpu")


def compared(model, other):
    """Compare two models as if the second lay on another device."""
    given = iter((model, other))
    return {one.what: one for one in models.compared(lambda device: next(given), CPU)}


@pytest.mark.parametrize("kind", PRIORS)
def test_the_same_model_is_right(kind):
    model = generator(kind, grid=(4, 6)).eval()
    found = compared(model, copy.deepcopy(model))
    assert [one.value for one in found.values()] == [1, 0, 0, 1]
    assert all(one.is_right for one in found.values())


@pytest.mark.parametrize(
    "condition", [NoConditionSettings(), TextSettings(max_tokens=5)], ids=lambda one: one.kind
)
def test_conditions_of_all_lengths(condition):
    model = generator("modern", condition).eval()
    assert all(one.is_right for one in compared(model, copy.deepcopy(model)).values())


def test_what_is_wrong_is_seen():
    model = generator("gpt", LabelSettings(classes=3)).eval()
    for part, wrong in (
        ("tokenizer.encoder", ["codes of two images that are equal"]),
        ("tokenizer.decoder", ["images of these codes, largest difference (of -1 to 1)"]),
        ("prior", ["logits of the prior, largest difference", "its likeliest codes that are equal"]),
    ):
        other = copy.deepcopy(model)
        with torch.no_grad():
            for weight in other.get_submodule(part).parameters():
                weight.add_(torch.linspace(-1, 1, weight.numel()).view_as(weight))
        found = compared(model, other)
        assert [what for what, one in found.items() if not one.is_right] == wrong
    nan = copy.deepcopy(model)
    with torch.no_grad():
        next(nan.prior.parameters()).fill_(torch.nan)
    assert not compared(model, nan)["logits of the prior, largest difference"].is_right


def test_a_tokenizer_alone():
    tokenizer = generator().tokenizer.eval()
    assert len(compared(tokenizer, copy.deepcopy(tokenizer))) == 2


@pytest.fixture
def asked(tmp_path):
    return Asked(device=CPU, folder=tmp_path)


def verdicts(found):
    return {one.what: one.verdict for one in found}


def test_the_command(tmp_path, monkeypatch):
    looked = []
    for name in SUBJECTS:
        line = judged(f"the {name}", "3 GiB", "buy more", quick=name != "disk")
        monkeypatch.setitem(SUBJECTS, name, lambda asked, line=line: looked.append(asked) or [line])
    words = ["doctor", "--device", "cpu", "--out", str(tmp_path)]
    found = CliRunner().invoke(group, words, catch_exceptions=False)
    assert looked == [Asked(device=CPU, folder=tmp_path)] * len(SUBJECTS)
    assert f"torch: {torch.__version__}\n" in found.stdout
    assert "models: emoji" in found.stdout
    assert "\nthreads:\n  good   the threads      3 GiB\n" in found.stdout
    assert "\ndisk:\n  slow   the disk         3 GiB; buy more\n" in found.stdout
    told = json.loads(CliRunner().invoke(group, [*words, "--json"], catch_exceptions=False).stdout)
    assert set(told["extras"]) >= {"train", "eval", "text"}
    lines = {one["subject"]: one["verdict"] for one in told["checked"]}
    assert lines == {name: "slow" if name == "disk" else "good" for name in SUBJECTS}
    absent = CliRunner().invoke(group, ["doctor", "--out", str(tmp_path / "absent")])
    assert "expected a folder that is there, for --out" in str(absent.exception)


def test_what_is_wrong_ends_with_a_mistake(monkeypatch):
    for name in SUBJECTS:
        line = judged(f"the {name}", "3", "another disk", right=name != "disk")
        monkeypatch.setitem(SUBJECTS, name, lambda asked, line=line: [line])
    for words in ([], ["--json"]):
        found = CliRunner().invoke(group, ["doctor", "--device", "cpu", *words])
        assert isinstance(found.exception, UserError)
        assert "a machine that is right, on cpu, got wrong: the disk (3); another disk" in str(
            found.exception
        )
        assert "wrong" in found.stdout, "what was found is told first"


def test_a_model_is_compared(tmp_path, monkeypatch):
    smalti.save(generator(), tmp_path / "model")
    words = ["doctor", str(tmp_path / "model"), "--device", "cpu"]
    told = json.loads(CliRunner().invoke(group, [*words, "--json"], catch_exceptions=False).stdout)
    assert [one["verdict"] for one in told["checked"]] == ["good"] * 4
    wrong = models.Check("codes", 0.5, 0.95, is_share=True)
    monkeypatch.setattr(models, "compared", lambda load, device: [wrong])
    broken = CliRunner().invoke(group, words)
    assert "  wrong  codes  0.5, at least 0.95; --device cpu\n" in broken.stdout
    assert "wrong: codes (0.5, at least 0.95)" in str(broken.exception)


def test_a_line_that_is_not_good_says_what_to_do():
    assert judged("it", "3", "less").remedy == ""
    assert judged("it", "3", "less", quick=False) == Finding(
        what="it", value="3", verdict="slow", remedy="less"
    )
    assert judged("it", "3", "less", right=False, quick=False).verdict == "wrong"
    with pytest.raises(AssertionError):
        Finding(what="it", value="3", verdict="slow")


def test_what_breaks_off_is_a_line(asked):
    def subject(asked):
        yield judged("it", "3", "less")
        raise RuntimeError("not implemented for 'Half'\nand more")

    one, other = looked(subject, asked)
    assert one.verdict == "good"
    assert (other.what, other.verdict, other.value) == (
        "what follows", "wrong", "not implemented for 'Half'"
    )  # fmt: skip


def test_number_types(asked, monkeypatch):
    monkeypatch.setattr(products, "_SPEED", 8)
    found = verdicts(products.number_types(asked))
    rights = [f"{work} in {name}" for name in ("fp32", "bf16", "fp16") for work in products.WORKS]
    assert {what: found[what] for what in rights} == dict.fromkeys(rights, "good")
    assert found.keys() - set(rights) == {"speed of bf16", "speed of fp16"}
    assert products.error("products", "bf16", CPU) > 1e-3 > products.error("products", "fp32", CPU) > 0


def test_one_wrong_number_among_thousands_is_seen(asked, monkeypatch):
    def slip(one, other):
        found = torch.matmul(one, other)
        if found.dtype is torch.bfloat16:
            found[3, 4] += 2.0  # a tenth of a standard deviation
        return found

    monkeypatch.setattr(products, "_SPEED", 8)
    monkeypatch.setattr(products, "WORKS", {"products": slip})
    found = verdicts(products.number_types(asked))
    assert found["products in bf16"] == "wrong"
    assert found["products in fp32"] == "good"

    def none(*_):
        raise RuntimeError("not implemented for 'Half'\nand more")

    monkeypatch.setattr(products, "WORKS", {"products": none})
    lines = [line for line in products.number_types(asked) if line.what == "products in fp16"]
    assert lines[0].verdict == "slow"
    assert lines[0].value == "none on cpu: not implemented for 'Half'"


def test_work_that_gives_other_bits_is_seen(asked, monkeypatch):
    assert set(verdicts(repeating.equal_bits(asked)).values()) == {"good"}
    chance = iter(torch.rand(9))
    monkeypatch.setattr(repeating, "WORKS", {"a draw": lambda device: next(chance)})
    assert verdicts(repeating.equal_bits(asked)) == {"a training step again": "good", "a draw again": "slow"}


def test_threads_and_processors(asked, monkeypatch, tmp_path):
    monkeypatch.setattr(threads, "GROUP", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(6)))
    monkeypatch.delattr("os.process_cpu_count", raising=False)
    assert threads.processors() == 6
    (tmp_path / "cpu.max").write_text("250000 100000\n")
    assert threads.processors() == 3
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert threads.processors() == 6
    (tmp_path / "cpu.max").unlink()
    (tmp_path / "cpu").mkdir()
    for name, value in (("quota", 400_000), ("period", 100_000)):
        (tmp_path / "cpu" / f"cpu.cfs_{name}_us").write_text(f"{value}\n")
    assert threads.processors() == 4
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(threads, "_gain", lambda count: 3.0)
    assert verdicts(threads.thread_gain(asked)) == {"threads": "good", "a product on 4 threads": "good"}
    monkeypatch.setattr(threads, "_gain", lambda count: 1.1)
    monkeypatch.setattr(threads, "processors", lambda: 2)
    assert set(verdicts(threads.thread_gain(asked)).values()) == {"slow"}


def test_threads_are_as_before():
    before = torch.get_num_threads()
    assert threads._gain(before) > 0
    assert torch.get_num_threads() == before


def test_the_disk(asked, monkeypatch):
    monkeypatch.setattr(disk, "SIZE", 4 * disk.PART)
    monkeypatch.setattr(disk, "SLOW", 0)
    assert set(verdicts(disk.disk_speed(asked)).values()) == {"good"}
    assert not list(asked.folder.iterdir()), "nothing is left"
    monkeypatch.setattr(disk, "SLOW", 1e18)
    assert set(verdicts(disk.disk_speed(asked)).values()) == {"slow"}
    monkeypatch.setattr(disk, "_read", lambda path, part: (False, 1e19))
    assert verdicts(disk.disk_speed(asked))["reading from there"] == "wrong"

    def full(path, part):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk, "_write", full)
    (line,) = disk.disk_speed(asked)
    assert (line.verdict, line.value) == ("wrong", "[Errno 28] No space left on device")


def test_opening_images(asked, monkeypatch):
    monkeypatch.setattr(loading, "FILES", 3)
    monkeypatch.setattr(loading, "_BATCHES", 1)
    monkeypatch.setattr(loading, "WORKERS", (0, 1))
    found = [line.what for line in loading.image_loading(asked)]
    assert found == ["opening images, workers=0", "opening images, workers=1"]

    def killed(folder, workers):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error.\nmore")

    monkeypatch.setattr(loading, "rate", killed)
    assert {line.verdict for line in loading.image_loading(asked)} == {"wrong"}


def test_processes_talk(asked, monkeypatch):
    monkeypatch.setattr(together, "NUMBERS", 64)
    right = {name: (True, 1e-9) for name in together.OPERATIONS}
    off = {**right, "broadcast": (False, 1e-9)}
    monkeypatch.setattr(together, "answers", lambda backend: ([right, off], ""))
    found = verdicts(together.processes(asked))
    assert [verdict for verdict in found.values()] == ["good", "good", "wrong"]
    monkeypatch.setattr(together, "answers", lambda backend: ([], "no answer in 40 seconds"))
    (line,) = together.processes(asked)
    assert (line.verdict, line.value) == ("wrong", "no answer in 40 seconds")


def test_two_processes_answer(asked):
    assert set(verdicts(together.processes(asked)).values()) <= {"good", "slow"}


def test_free_memory(asked, monkeypatch):
    monkeypatch.setattr(memory, "free", lambda: 3 * 2**30)
    monkeypatch.setattr(memory, "of_machine", lambda: 4 * 2**30)
    lines = list(free.free_memory(asked))
    assert (lines[0].value, lines[0].verdict) == ("3.0 GiB of 4.0 GiB", "good")
    monkeypatch.setattr(memory, "free", lambda: 2**30)
    assert next(free.free_memory(asked)).verdict == "slow"


def test_free_memory_within_a_container(monkeypatch, tmp_path):
    whole = memory.free()
    assert 0 < whole <= memory.of_machine()
    monkeypatch.setattr(memory, "_CGROUP", tmp_path / "memory.max")
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("3000\n")
    (tmp_path / "memory.stat").write_text("anon 100\ninactive_file 700\n")
    assert memory.free() == 2700


def test_a_small_model_goes_round(asked):
    assert list(verdicts(models.round_trip(asked)).values()) == ["good"] * 4


def test_devices(monkeypatch):
    assert devices.find("cpu") == CPU
    with pytest.raises(UserError, match=r"got tpu .*; device=cpu"):
        devices.find("tpu")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("meta"))
    assert devices.find("auto") == torch.device("meta")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert devices.find("auto") == CPU


def test_the_generator_of_another_accelerator_is_seeded_and_put_back(monkeypatch):
    """XPU and MPS have one generator each, which torch's fork of random states does not know."""

    class Module:
        said = ()

        def get_rng_state(self):
            return "before"

        def manual_seed(self, seed):
            self.said += (seed,)

        def set_rng_state(self, state):
            self.said += (state,)

    module = Module()
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)
    with seeded(torch.device("mps"), 3, 4):
        draws = torch.rand(2)
    assert len(module.said) == 2
    assert module.said[-1] == "before"
    with seeded(CPU, 3, 4):
        assert torch.equal(torch.rand(2), draws)
