"""Two processes that share each batch train what one process trains."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from tiny import TOKENIZER_TRAINING

import smalti
from smalti import strategy
from smalti.training import log

RECIPE = {
    **TOKENIZER_TRAINING,
    "batch": 8,
    "steps": 4,
    "device": "cpu",
    "quantizer": {"codebook_size": 8, "kmeans_start": True, "revive_below": 0.2},
    "losses": {
        **TOKENIZER_TRAINING["losses"],
        # ActNorm: BatchNorm would take the statistics of each process's own images
        "adversarial": {
            "start": 2,
            "discriminator_start": 1,
            "patchgan": {"width": 8, "layers": 2, "norm": "act"},
        },
    },
    "optimizer": {"lr": 1.0e-3, "betas": [0.9, 0.95]},
}
SCRIPT = """
import json, sys, torch, smalti
torch.set_num_threads(1)
smalti.train(sys.argv[1], data=sys.argv[2], out=sys.argv[3], **json.loads(sys.argv[4]))
"""


def test_one_process_talks_to_nobody():
    module, rows = torch.nn.Linear(2, 2), torch.ones(3)
    one = strategy.current()
    assert (one.rank, one.count) == (0, 1)
    assert one.wrap(module) is module
    assert one.gather(rows) is rows
    assert one.held(module.weight) is one.part(module.weight, module.weight) is module.weight
    with one.joined(torch.device("cpu")), one.unsynchronised([module]):
        assert not torch.distributed.is_initialized()


def test_a_gradient_is_clipped_to_its_length():
    module = torch.nn.Linear(2, 1, bias=False)
    for most, length in ((None, 5.0), (10.0, 5.0), (2.0, 2.0)):
        module.weight.grad = torch.tensor([[3.0, -4.0]])
        assert strategy.current().clip(module, most) == 5.0
        assert module.weight.grad.norm().item() == pytest.approx(length, abs=1e-5)


def test_what_concerns_all_is_said_once(monkeypatch, capsys):
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        strategy.current().say(f"by process {rank}")
    assert capsys.readouterr().err == "by process 0\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parts", "changes"),
    [
        (1, {}),
        (2, {"losses.adversarial": None}),  # lambda is that of a part, not of the batch
        (1, {"quantizer": {"kind": "ema", "codebook_size": 8, "kmeans_start": True, "revive_below": 0.1}}),
    ],
    ids=["one part", "two parts", "running means"],
)
def test_two_processes_train_what_one_does(photos, tmp_path, parts, changes):
    recipe, script = tmp_path / "recipe.yaml", tmp_path / "script.py"
    recipe.write_text(yaml.safe_dump(RECIPE))
    script.write_text(SCRIPT)
    smalti.train(recipe, data=photos, out=tmp_path / "one", **changes)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    words = [script, recipe, photos, tmp_path / "two", json.dumps({**changes, "accumulate": parts})]
    done = subprocess.run([*launch, *map(str, words)], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    one, two = (smalti.load(tmp_path / name).state_dict() for name in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(
            tensor, two[name], atol=2e-4, rtol=1e-3, msg=lambda text, n=name: f"{n}: {text}"
        )
    curves = [losses(tmp_path / name) for name in ("one", "two")]
    assert len(curves[0]) == 4
    if "quantizer" not in changes:  # and not one against the other alone
        figures = torch.tensor([0.72635, 0.69607])
        torch.testing.assert_close(torch.tensor(curves[1])[:2, 0], figures, atol=5e-4, rtol=0.0)
    torch.testing.assert_close(torch.tensor(curves[0]), torch.tensor(curves[1]), atol=2e-3, rtol=0.0)


STOPPED = """
import os, signal, sys, torch, smalti
from smalti.data.folder import Folder
from smalti.errors import UserError
from smalti.training.tokenizer_task import TokenizerTask

torch.set_num_threads(1)
real = TokenizerTask.after_step


def vanished(self, index):
    raise UserError("an image", f"{self.paths[index]}, gone", "bring it back")


def after_step(self, parts, step):
    if step == 2 and os.environ["RANK"] == "1":
        if sys.argv[4] == "vanished":
            Folder.__getitem__ = vanished
        else:
            os.kill(os.getpid(), getattr(signal, sys.argv[4]))
    return real(self, parts, step)


TokenizerTask.after_step = after_step
smalti.train(sys.argv[1], data=sys.argv[2], out=sys.argv[3], steps=50)
"""
ENDS = {"SIGTERM": 128 + signal.SIGTERM, "SIGINT": -signal.SIGINT, "vanished": 1}


@pytest.mark.slow
@pytest.mark.parametrize("what", ENDS)
def test_what_stops_one_process_stops_both_alike_and_nothing_is_lost(photos, tmp_path, what):
    """Process 1 alone gets the signal, or loses its images; process 0 is the one that saves."""
    recipe, script, out = tmp_path / "recipe.yaml", tmp_path / "script.py", tmp_path / "run"
    recipe.write_text(yaml.safe_dump(RECIPE))
    script.write_text(STOPPED)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    words = [sys.executable, *map(str, (script, recipe, photos, out)), what]
    started = [
        subprocess.Popen(
            words,
            env={**os.environ, **address, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        told = [process.communicate(timeout=200)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [ENDS[what]] * 2, told
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["step-00000003"]
    assert ["go on with: torchrun" in text for text in told] == [True, False]
    if what == "vanished":
        assert "none for another one" in told[0]
        assert "images that can be used" in told[1]


def losses(run: Path) -> list[list[float]]:
    lines = [line for line in log.read(run / "log.jsonl") if line["kind"] == "train"]
    return [[line["loss/autoencoder"], line.get("loss/discriminator", 0.0)] for line in lines]
