"""A checkpoint is whole or not there, and brings a run back to where it was."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.optim import AdamW

from smalti.errors import UserError
from smalti.training import checkpoints
from smalti.training.checkpoints import Checkpoint


def checkpoint(step: int, value: float = 0.0) -> Checkpoint:
    tensors = {"network/one/weight": torch.full((2, 3), value), "ema/weight": torch.arange(3)}
    return Checkpoint(step=step, tensors=tensors, numbers={"skipped": 2, "scaler": {"scale": 0.5}})


def test_what_is_written_is_read(tmp_path):
    path = checkpoints.write(tmp_path, checkpoint(1000, 1.5), keep=1)
    assert path == tmp_path / "step-00001000"
    assert sorted(file.name for file in path.iterdir()) == ["state.json", "tensors.safetensors"]
    read = checkpoints.read(path)
    assert (read.step, read.numbers) == (1000, {"skipped": 2, "scaler": {"scale": 0.5}})
    assert torch.equal(read.below("network/one")["weight"], torch.full((2, 3), 1.5))
    assert read.below("ema").keys() == {"weight"}
    assert read.below("em") == {}


def test_the_newest_is_the_latest_and_the_oldest_go(tmp_path):
    assert checkpoints.latest(tmp_path / "absent") is None
    for step in (9, 10, 200, 1000):
        checkpoints.write(tmp_path, checkpoint(step), keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000200", "step-00001000"]
    assert checkpoints.latest(tmp_path) == tmp_path / "step-00001000"


def test_the_same_step_again_takes_the_place_of_the_old(tmp_path):
    checkpoints.write(tmp_path, checkpoint(5, 1.0), keep=2)
    path = checkpoints.write(tmp_path, checkpoint(5, 2.0), keep=2)
    assert checkpoints.read(path).below("network/one")["weight"].unique().item() == 2.0


def test_one_that_failed_half_way_is_not_seen(tmp_path, monkeypatch):
    checkpoints.write(tmp_path, checkpoint(1), keep=2)

    def full_disk(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "save_tensors", full_disk)
        with pytest.raises(OSError, match="No space"):
            checkpoints.write(tmp_path, checkpoint(2), keep=2)
    assert checkpoints.latest(tmp_path) == tmp_path / "step-00000001"
    checkpoints.write(tmp_path, checkpoint(3), keep=2)  # which clears away what was left
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000001", "step-00000003"]


@pytest.mark.parametrize("file", ["state.json", "tensors.safetensors"])
def test_a_damaged_one_says_what_to_do(tmp_path, file):
    path = checkpoints.write(tmp_path, checkpoint(7), keep=1)
    (path / file).write_bytes((path / file).read_bytes()[:20])
    with pytest.raises(UserError) as caught:
        checkpoints.read(path)
    assert str(path) in caught.value.expected
    assert "delete" in caught.value.remedy


@pytest.mark.parametrize("file", ["state.json", "tensors.safetensors"])
@pytest.mark.parametrize("how", ["a flipped bit", "cut short", "gone", "empty"])
def test_of_a_damaged_one_the_one_before_is_taken_and_it_is_said(tmp_path, file, how, capsys):
    for step, value in ((7, 1.0), (8, 2.0)):
        path = checkpoints.write(tmp_path, checkpoint(step, value), keep=2)
    content = bytearray((path / file).read_bytes())
    if how == "gone":
        (path / file).unlink()
    else:
        content[-9] ^= 16
        cut = {"a flipped bit": len(content), "cut short": len(content) // 2, "empty": 0}[how]
        (path / file).write_bytes(content[:cut])
    sound = checkpoints.sound(tmp_path)
    assert sound == tmp_path / "step-00000007"
    assert checkpoints.read(sound).tensors["network/one/weight"].unique().item() == 1.0
    said = capsys.readouterr().err
    assert "damaged-step-00000008 is damaged" in said
    assert "the checkpoint before it is taken" in said
    assert (tmp_path / "damaged-step-00000008").is_dir()  # somebody may want to look at it
    assert checkpoints.sound(tmp_path) == sound
    assert capsys.readouterr().err == ""


def test_every_flipped_bit_is_seen(tmp_path):
    path = checkpoints.write(tmp_path, checkpoint(7), keep=1)
    for file in sorted(path.iterdir()):
        content = file.read_bytes()
        for place in range(0, len(content), 7):
            flipped = bytearray(content)
            flipped[place] ^= 1 << place % 8
            file.write_bytes(flipped)
            with pytest.raises(UserError, match=re.escape(str(path))):
                checkpoints.check(path)
        file.write_bytes(content)
    checkpoints.check(path)


def test_where_all_are_damaged_it_is_said(tmp_path):
    path = checkpoints.write(tmp_path, checkpoint(7), keep=1)
    (path / "state.json").write_text("{}")
    with pytest.raises(UserError, match="damaged ones alone"):
        checkpoints.sound(tmp_path)


def test_milestones_stay_beside_the_newest(tmp_path):
    for step in range(2, 14, 2):
        checkpoints.write(tmp_path, checkpoint(step), keep=1, keep_every=4)
    found = [checkpoints.step_of(path) for path in sorted(tmp_path.iterdir())]
    assert found == [4, 8, 12]


def test_one_of_before_without_hashes_is_read(tmp_path):
    path = checkpoints.write(tmp_path, checkpoint(7, 1.5), keep=1)
    state = json.loads((path / "state.json").read_text())
    old = {"format": 1, "step": 7, "numbers": state["numbers"]}
    (path / "state.json").write_text(json.dumps(old))
    assert checkpoints.sound(tmp_path) == path
    assert checkpoints.read(path).tensors["network/one/weight"].unique().item() == 1.5


def test_one_of_a_later_version_is_no_damage(tmp_path):
    path = checkpoints.write(tmp_path, checkpoint(7), keep=1)
    state = json.loads((path / "state.json").read_text())
    later = {**state, "format": 3}
    del later["hash"]
    (path / "state.json").write_text(json.dumps({**later, "hash": checkpoints._hash_of(later)}))
    with pytest.raises(UserError, match="format 3") as caught:
        checkpoints.sound(tmp_path)
    assert "newer smalti" in caught.value.remedy
    assert path.is_dir()


def test_parts_of_several_processes_are_one(tmp_path):
    """Five rows of which three processes hold two, two and one; and what all of them have whole."""
    rows = torch.arange(10.0).view(5, 2)
    fresh = tmp_path / ".step-00000003.1"
    checkpoints.begin(fresh)
    for rank, first in enumerate((0, 2, 4)):
        held = {"network/weight": rows[first : first + 2].clone(), "recent": torch.tensor([7])}
        part = Checkpoint(step=3, tensors=held, numbers={}, rows={"network/weight": (first, 5)})
        checkpoints.write_part(fresh, part, (rank, 3))
    path = checkpoints.finish(fresh, part, 3, keep=1)
    assert len(list(path.iterdir())) == 4
    checkpoints.check(path)
    read = checkpoints.read(path)
    assert set(read.tensors) == {"network/weight", "recent"}
    assert read.tensors["network/weight"].equal(rows)
    assert read.tensors["recent"].tolist() == [7]


def test_nothing_is_pickled(tmp_path):
    path = checkpoints.write(tmp_path, checkpoint(7), keep=1)
    assert json.loads((path / "state.json").read_text())["step"] == 7
    assert load_file(path / "tensors.safetensors").keys() == checkpoint(7).tensors.keys()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_an_optimizer_goes_on_bit_for_bit(layout):
    def network() -> nn.Module:
        torch.manual_seed(0)
        return nn.Conv2d(3, 4, 3).to(memory_format=layout)

    def step(model: nn.Module, optimizer: AdamW, seed: int) -> None:
        images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
        optimizer.zero_grad()
        model(images).square().sum().backward()
        optimizer.step()

    one = network()
    optimizer = AdamW(one.parameters(), lr=1e-2, fused=True)
    for seed in range(3):
        step(one, optimizer, seed)
    other = network()
    other.load_state_dict(one.state_dict())
    resumed = AdamW(other.parameters(), lr=1e-2, fused=True)
    flat = {name: tensor.clone().contiguous() for name, tensor in checkpoints.flatten(optimizer).items()}
    assert "0/exp_avg" in flat
    checkpoints.restore(resumed, flat)
    for seed in range(3, 6):
        step(one, optimizer, seed)
        step(other, resumed, seed)
    assert torch.equal(one.weight, other.weight)
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            checkpoints.flatten(optimizer).values(), checkpoints.flatten(resumed).values(), strict=True
        )
    )
