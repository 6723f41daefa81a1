"""Is a transformer the better prior? Against PixelSNAIL of as many weights, at equal steps and equal time.

The same codes; constant rates, so that a curve may be read at any step. Equal time: all steps of the one that
takes longer for them, and of the other those that take as long, by the ratio of their seconds a step, both
timed in turns. Each at several rates, of which its best counts, and at one of them for longer. Table 1 of the
paper.

    python experiments/paper/table1.py --data IMAGES
"""

from functools import partial
from itertools import pairwise
from statistics import median
from typing import Any

import common
import results
import torch

from smalti.config import parse
from smalti.pipeline import Pipeline, PipelineSettings

PAPER = (
    "the transformer has fewer nats on all five sets: by .15 to .26 at equal steps and by .07 to .20 at "
    "equal time, for PixelSNAIL takes half the time a step"
)
PREDICTION = (
    "at equal steps the two are within .05 nats: short training favours convolutions, which need not learn "
    "what is near; a step of so small a transformer is no slower, so equal time changes little"
)
SIZES = {"short": (1.0,), "small": (0.5, 1.0, 1.5), "full": (0.5, 1.0, 1.5)}  # times the form's width
RATES, TURNS = (1.0e-3, 3.0e-3, 6.0e-3), 7
LONGER = (RATES[1], 3)  # a rate, times the form's steps


def priors(lab: common.Lab, tokenizer: common.Path, times: float) -> dict[str, dict]:
    """A transformer of a width, and the PixelSNAIL whose weights come nearest to as many."""
    blocks, model = lab.form.layers, common.load(tokenizer)

    def weights(prior: dict) -> int:
        told = {"prior": prior, "condition": {"kind": "none"}, "grid": (common.WINDOW, common.WINDOW)}
        built = Pipeline(parse(told, PipelineSettings), model)
        return sum(one.numel() for one in built.prior.parameters())

    gpt = {**lab.transformer, "width": round(lab.form.width * times / 16) * 16}
    wanted, snail = weights(gpt), {"kind": "pixelsnail", "layers": blocks, "residual_blocks": 2}
    members = [{**snail, "width": width} for width in range(8, gpt["width"] + 8, 2)]
    return {
        "transformer": gpt,
        "pixelsnail": min(members, key=lambda member: abs(weights(member) - wanted)),
    }


def step_seconds(runs: dict[str, common.Path]) -> dict[str, float]:
    """Median seconds of a step on a batch, both in turns."""
    works = {}
    for name, run in runs.items():
        model = common.load(run)
        prior = model.prior.train().requires_grad_()
        codes = torch.randint(0, model.tokenizer.codebook_size, (16, *model.settings.grid))
        prefix = model.condition.context(None, num=16, grid=model.settings.grid, device=codes.device)
        prefix = prefix.window(0, 0, *model.settings.grid)
        moves = torch.optim.AdamW(prior.parameters(), lr=0.0)

        works[name] = partial(_step, prior, model.sequence(codes), prefix, moves)
        works[name]()
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(TURNS):
        for name, work in works.items():
            found[name].append(common.seconds(work))
    return {name: median(values) for name, values in found.items()}


def measured(runs: dict[str, common.Path]) -> dict[str, Any]:
    """Nats of both at equal steps and at equal time."""
    took, curves = step_seconds(runs), {name: common.nats(run) for name, run in runs.items()}
    ratio = took["pixelsnail"] / took["transformer"]  # steps of the transformer in one of the other
    last = max(curves["pixelsnail"])
    return {
        **{f"{name}'s weights": common.parameters(run, "prior") for name, run in runs.items()},
        **{f"{name}, equal steps": curve[last] for name, curve in curves.items()},
        "transformer, equal time": at(curves["transformer"], min(last, last * ratio)),
        "pixelsnail, equal time": at(curves["pixelsnail"], min(last, last / ratio)),
        "seconds a step, pixelsnail over transformer": ratio,
    }


def _step(prior: Any, codes: torch.Tensor, prefix: Any, moves: torch.optim.Optimizer) -> None:
    moves.zero_grad()
    prior.loss(codes, prefix, torch.Generator().manual_seed(0)).backward()
    moves.step()


def at(curve: dict[int, float], step: float) -> float | None:
    """A curve between its points; None beyond its ends."""
    for low, high in pairwise(sorted(curve)):
        if low <= step <= high:
            share = (step - low) / (high - low)
            return curve[low] * (1 - share) + curve[high] * share
    return None


def main() -> None:
    options = common.options(__doc__)
    lab = common.Lab(options)
    report = results.Report(options, globals(), lab)
    tokenizer, curves, widths = lab.tokenizer(max(lab.form.factors)), {}, []
    longest = LONGER[1] * lab.form.prior_steps
    for times in SIZES[options.name]:
        sizes = priors(lab, tokenizer, times)
        widths.append(sizes["transformer"]["width"])
        for seed in options.seeds:
            longer = [LONGER] if times == 1 else []  # of one size: it takes as long as the rest
            for rate, times_steps in (*((rate, 1) for rate in RATES), *longer):
                steps = times_steps * lab.form.prior_steps
                changes = {"optimizer.lr": rate, "steps": steps, "sample_every": steps}
                runs = {
                    name: lab.prior(tokenizer, seed, prior=prior, **changes) for name, prior in sizes.items()
                }
                key = {"width": sizes["transformer"]["width"], "rate": rate, "steps": steps, "seed": seed}
                report.row(key, partial(measured, runs))
                curves |= {f"{name}, {rate:g}": list(common.nats(run).items()) for name, run in runs.items()}
    for width in widths:
        for how in ("equal steps", "equal time"):
            for steps, rates in ((lab.form.prior_steps, RATES), (longest, LONGER[:1])):
                if not report.values(f"{next(iter(runs))}, {how}", width=width, steps=steps):
                    continue
                best = [
                    min(report.mean(f"{name}, {how}", width=width, rate=rate, steps=steps) for rate in rates)
                    for name in runs
                ]
                report.claim(f"width {width}: the transformer has fewer nats at {how}, {steps} steps", *best)
    report.chart(curves, "steps", "nats a code")
    shown = [common.drawn(run, 8, seed=1, top_k=100) for run in runs.values()]
    report.sheet(torch.cat(shown), 8, list(runs))


if __name__ == "__main__":
    main()
