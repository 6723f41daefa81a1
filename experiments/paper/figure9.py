"""What does the adversary buy? VQVAE against VQGAN: the same network, the largest factor.

VQVAE learns by the squared error alone; VQGAN by the demo's recipe (absolute and squared error, perceptual
distance, patch discriminator); a third without the discriminator tells which of the two it is. Old Figure 9.

    python experiments/paper/figure9.py --data IMAGES
"""

import common
import results
import torch

PAPER = "a VQVAE of f 16 blurs and keeps little, a VQGAN of the same size recovers the picture"
PREDICTION = (
    "VQVAE has the best PSNR and the worst perceptual distance and FD; the perceptual loss brings most of "
    "the gain, the discriminator little in so few steps, or harm"
)
LOSSES = {
    "VQVAE": {
        "losses": {"l1": 0.0, "l2": 4.0, "perceptual": {"weight": 0.0}},
        "losses.perceptual.kind": "none",
        "discriminator_optimizer": None,
    },
    "without discriminator": {"losses.adversarial": None, "discriminator_optimizer": None},
    "VQGAN": {},
}


def main() -> None:
    options = common.options(__doc__)
    lab = common.Lab(options)
    report = results.Report(options, globals(), lab)
    real, factor = lab.real("val"), max(lab.form.factors)
    for seed in options.seeds:
        for name in LOSSES:

            def measure(name: str = name, seed: int = seed) -> dict:
                run = lab.tokenizer(factor, seed, **LOSSES[name])
                images = common.load(run).reconstruct(real)
                found = {"weights": common.parameters(run), **common.rebuilt(lab, run, real)}
                return {**found, "FD": lab.frechet(images)}

            report.row({"losses": name, "seed": seed}, measure)
    for what, column in (("perceptual distance", "distance"), ("FD of reconstructions", "FD")):
        report.claim(
            f"VQGAN has a lower {what} than VQVAE",
            report.mean(column, losses="VQGAN"),
            report.mean(column, losses="VQVAE"),
        )
    shown = [common.load(lab.tokenizer(factor, **LOSSES[name])).reconstruct(real[:8]) for name in LOSSES]
    report.sheet(torch.cat([real[:8], *shown]), 8, ["real", *LOSSES])


if __name__ == "__main__":
    main()
