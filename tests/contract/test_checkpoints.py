"""A checkpoint is whole or not there, and brings a run back to where it was."""

import json

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
