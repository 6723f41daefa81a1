"""Why not pixels? Seconds a sample, distance to real images and pictures by factor, equal transformers.

Each transformer sees 8 x 8 codes, a larger image is drawn through its moving window. Seconds of one thread, a
batch of the same size for all. Figure 7 of the paper. The prior of f 1 has pixels as codes, all but: a
codebook of 256 found through two small convolutional networks that keep the size.

    python experiments/paper/figure7.py --data IMAGES
"""

import common
import results
import torch

PAPER = (
    "7258 s a sample for f 1, 1880 for f 2, 110 for f 8, 25.9 for f 16 (1, 3.86, 65.8, 280 times as fast); "
    "only f 16 draws coherent faces"
)
PREDICTION = (
    "time goes with the number of codes: about 4 times for each halving of f, more where a window moves "
    "since nothing is cached then; the largest f has the best distance and alone draws whole things"
)
TIMED, LONG = 4, 2048  # images timed together; codes beyond which no set is drawn, only what is timed


def main() -> None:
    options = common.options(__doc__)
    lab = common.Lab(options)
    report = results.Report(options, globals(), lab)
    side = lab.form.side
    half = lab.form.samples // 2
    for seed in options.seeds:
        for factor in sorted(lab.form.factors, reverse=True):

            def measure(factor: int = factor, seed: int = seed) -> dict:
                run = lab.prior(lab.tokenizer(factor, seed), seed)
                model, codes = common.load(run), (side // factor) ** 2
                took = common.seconds(lambda: model.sample(TIMED, size=side, seed=1, top_k=100))
                found = {"codes": codes, "seconds a sample": took / TIMED}
                if codes > LONG:
                    return {**found, "FD": None}
                images = common.drawn(run, half, size=side, seed=1000, top_k=100)
                return {**found, "FD": lab.frechet(images)}

            report.row({"f": factor, "seed": seed}, measure)
    factors = sorted(lab.form.factors)
    for row in report.rows:
        (slowest,) = [r for r in report.rows if r["f"] == factors[0] and r["seed"] == row["seed"]]
        row["times as fast"] = slowest["seconds a sample"] / row["seconds a sample"]
    report.claim(
        "a larger f draws faster", *(report.mean("seconds a sample", f=f) for f in reversed(factors))
    )
    report.claim("a larger f lies nearer to real images", *(
        report.mean("FD", f=f) for f in reversed(factors) if report.values("FD", f=f)
    ))  # fmt: skip
    shown = [
        common.drawn(lab.prior(lab.tokenizer(factor)), TIMED, size=side, seed=1, top_k=100)
        for factor in reversed(factors)
    ]
    report.sheet(
        torch.cat([lab.real("val")[:TIMED], *shown]), TIMED, ["real", *(f"f{f}" for f in reversed(factors))]
    )


if __name__ == "__main__":
    main()
