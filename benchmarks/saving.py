"""How long does training stand still for a checkpoint: written in the background, against written at once?

At once is what smalti did before: tensors are written as they are, without hashes, then the model. Of
each turn three stretches of as many steps are timed: without a checkpoint, with one at once, with one in the
background. What a checkpoint costs is a stretch with one less a stretch without, so that a thread that
slows the steps beside it counts too.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import common
import torch
from tqdm import tqdm

from smalti import library
from smalti.data.folder import FolderSettings
from smalti.data.protocol import Batch
from smalti.files import save_tensors
from smalti.losses.perceptual import PerceptualSettings
from smalti.losses.terms import LossSettings
from smalti.tokenizer import NetworkSettings
from smalti.training import curves, saving
from smalti.training.fit import Loop
from smalti.training.folder import RunFolder
from smalti.training.recorder import Recorder
from smalti.training.settings import OptimizerSettings, TokenizerTraining
from smalti.training.tokenizer_task import TokenizerTask

CPU = torch.device("cpu")
NEVER = 10**6
BATCH = Batch(images=torch.rand(2, 3, 64, 64) * 2 - 1)


def loop(folder: Path, width: int) -> Loop:
    training = TokenizerTraining(
        data=FolderSettings(root=Path("unused")),
        size=(64, 64),
        batch=2,
        steps=NEVER,
        network=NetworkSettings(width=width),
        losses=LossSettings(perceptual=PerceptualSettings(kind="none")),
    )
    task = TokenizerTask.build(training, CPU)
    run = RunFolder(folder)
    run.root.mkdir()
    run.log.write_text("")
    return Loop(task, training, dict.fromkeys(task.networks, OptimizerSettings()), run, CPU)


def at_once(run: Loop) -> None:
    """Write a checkpoint and the model, as before there were copies, hashes and a thread."""
    state = saving.state(run.step, run.task, run.optimizers, run.ema, {}, {})
    path = run.folder.checkpoints / f"step-{run.step:08d}"
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.mkdir(parents=True)
    save_tensors(state.tensors, fresh / "tensors.safetensors")
    fresh.rename(path)
    assert run.ema is not None
    with run.ema.applied():
        library.save(run.task.model(), run.folder.model, provenance={})
    curves.write(run.folder.curves, [])


def main() -> None:
    options = common.options(__doc__)
    width, steps, turns = (32, 4, 3) if options.short else (128, 8, 5)
    recorder = Recorder(None, tqdm(disable=True))
    found: dict[str, list[float]] = {"without": [], "at once": [], "in the background": []}
    with tempfile.TemporaryDirectory() as folder:
        run = loop(Path(folder) / "run", width)
        weights = sum(p.numel() for p in run.task.shown.parameters()) * 4
        ways: dict[str, Callable[[], None]] = {
            "without": lambda: None,
            "at once": lambda: at_once(run),
            "in the background": lambda: run._save(recorder),
        }
        for turn in range(turns + 1):  # the first warms up
            for name, way in ways.items():
                begin = time.perf_counter()
                for number in range(steps):
                    run._advance(BATCH, recorder)
                    if number == 0:
                        way()
                took = time.perf_counter() - begin
                run.saver.writer.wait()
                shutil.rmtree(run.folder.checkpoints, ignore_errors=True)
                if turn:
                    found[name].append(took)
    without = median(found["without"])
    lost = {name: median(found[name]) - without for name in ("at once", "in the background")}
    row = {
        "weights, MiB": round(weights / 2**20),
        "a step, s": round(without / steps, 3),
        **{f"lost {name}, s": round(seconds, 2) for name, seconds in lost.items()},
        "share": round(lost["in the background"] / lost["at once"], 3),
    }
    common.report("saving", [row], options.out)


if __name__ == "__main__":
    main()
