"""In which order are codes best laid? Seven orders, one transformer, the same codes.

Nats a token of held-out codes after equal steps, from equal first weights. Figure 30 of the paper (47 of its
version 3), on 8 x 8 codes in place of 16 x 16.

    python experiments/paper/figure30.py --data IMAGES
"""

from itertools import pairwise

import common
import results
import torch

from smalti.orders import ORDERS

PAPER = (
    "row 4.767, z_curve 4.810, alternate 4.812, spiral_out 4.889, spiral_in 4.901, subsample 5.015 nats on "
    "ImageNet after long training; random stands in the figure, without a number in the text"
)
PREDICTION = (
    "row is best or within .02 of the best, alternate and z_curve close, random the worst of the seven; all "
    "within .25 nats, as short training sees mostly codes' frequencies and nearest neighbours"
)
PUBLISHED = ("row", "z_curve", "alternate", "spiral_out", "spiral_in", "subsample")


def ends(run: common.Path, real: torch.Tensor) -> dict[str, float]:
    """Nats of held-out codes at the ends of odd rows, where row and alternate differ most, and elsewhere."""
    model = common.load(run)
    codes = model.tokenizer.encode(real)
    each = -model.logits(codes).log_softmax(-1).gather(-1, model.sequence(codes)[..., None])[..., 0].mean(0)
    cells = torch.empty_like(each).scatter(0, model.order, each).view(model.settings.grid)
    inner = torch.cat([cells[::2].flatten(), cells[1::2, 1:-1].flatten()])
    parts = {"left end of odd rows": cells[1::2, 0], "right end": cells[1::2, -1], "elsewhere": inner}
    return {name: part.mean().item() for name, part in parts.items()}


def main() -> None:
    options = common.options(__doc__)
    lab = common.Lab(options)
    report = results.Report(options, globals(), lab)
    real = lab.real("val")
    names = list(dict.fromkeys((*PUBLISHED, *ORDERS)))
    for seed in options.seeds:
        tokenizer = lab.tokenizer(max(lab.form.factors))
        for name in names:

            def measure(name: str = name, seed: int = seed, tokenizer: common.Path = tokenizer) -> dict:
                run = lab.prior(tokenizer, seed, order=name)
                return {"nats": min(common.nats(run).values()), **ends(run, real)}

            report.row({"order": name, "seed": seed}, measure)
    means = {name: report.mean("nats", order=name) for name in names}
    for first, then in pairwise(PUBLISHED):
        report.claim(f"{first} has fewer nats than {then}", means[first], means[then])
    report.claim("row is the best of all", means["row"], min(means[name] for name in names if name != "row"))
    shown = [
        common.drawn(lab.prior(tokenizer, 0, order=name), 8, seed=1, top_k=100)
        for name in ("row", "subsample", "spiral_in")
    ]
    report.sheet(torch.cat(shown), 8, ["row", "subsample", "spiral_in"])


if __name__ == "__main__":
    main()
