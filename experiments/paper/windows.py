"""Does a window that moves need to know where it is? Images larger than it, with and without coordinates.

Priors over crops of 8 x 8 codes of images whose things stand in the middle, which are drawn whole: 16 x 16
codes. One is told where each of its cells lies in the whole image, the other is not. Section 3.2.

    python experiments/paper/windows.py --data IMAGES
"""

import common
import results
import torch

PAPER = (
    "a window suffices where data are stationary or a condition says what lies where; of aligned data "
    "(faces) without a condition, coordinates are needed"
)
PREDICTION = (
    "without coordinates things are drawn wherever a window stands, cut and repeated; with them FD is lower "
    "by a fifth or more and the ground stays empty at the sides"
)


def main() -> None:
    options = common.options(__doc__)
    lab = common.Lab(options)
    report = results.Report(options, globals(), lab)
    side, half = lab.form.side, lab.form.samples // 2
    factor = side // (2 * common.WINDOW)
    runs = {}
    for seed in options.seeds:
        tokenizer = lab.tokenizer(factor, seed)
        crop = {"crop.resize": "none"}
        runs[seed] = {
            "none": lab.prior(tokenizer, seed, lab.images, **crop),
            "coordinates": lab.prior(tokenizer, seed, lab.images, condition={"kind": "coordinates"}, **crop),
        }
        for name, run in runs[seed].items():

            def measure(run: common.Path = run) -> dict:
                images = common.drawn(run, half, size=side, seed=1000, top_k=100)
                edge = torch.cat([images[..., :4].flatten(1), images[..., -4:].flatten(1)], 1)
                return {
                    "nats": min(common.nats(run).values()),
                    "FD": lab.frechet(images),
                    "white at the sides": (edge > 0.9).float().mean().item(),
                }

            report.row({"condition": name, "seed": seed}, measure)
    real = lab.real("val")
    edge = torch.cat([real[..., :4].flatten(1), real[..., -4:].flatten(1)], 1)
    report.row({"condition": "real images", "seed": 0}, lambda: {
        "FD": lab.frechet(common.evenly(lab.real("train"), half)),
        "white at the sides": (edge > 0.9).float().mean().item(),
    })  # fmt: skip
    report.claim(
        "coordinates lower FD", *(report.mean("FD", condition=name) for name in ("coordinates", "none"))
    )
    first = runs[options.seeds[0]]
    shown = [common.drawn(run, 8, size=side, seed=1, top_k=100) for run in first.values()]
    report.sheet(torch.cat(shown), 8, list(first))


if __name__ == "__main__":
    main()
