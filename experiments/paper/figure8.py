"""How strongly should a tokenizer compress? Nats a token against reconstruction, by factor.

One tokenizer a factor, with as many levels as it needs; equal transformers on windows of 8 x 8 codes,
whatever these cover; equal steps. Figure 8 of the paper (11 of its version 3), appendix B.

    python experiments/paper/figure8.py --data IMAGES
"""

import math

import common
import results
import torch

PAPER = "the larger the factor, the fewer nats a code and the worse the reconstruction; 16 at most for faces"
PREDICTION = (
    "reconstruction gets worse with every factor; nats a code do not simply fall with it: codes of small "
    "factors repeat (flat grounds), so that they are fewer nats at f 1 and 2, and bits a pixel fall with "
    "every factor"
)


def main() -> None:
    options = common.options(__doc__)
    lab = common.Lab(options)
    report = results.Report(options, globals(), lab)
    real = lab.real("val")
    shown = [real[:8]]
    for seed in options.seeds:
        for factor in sorted(lab.form.factors, reverse=True):

            def measure(factor: int = factor, seed: int = seed) -> dict:
                run = lab.tokenizer(factor, seed)
                value = min(common.nats(lab.prior(run, seed)).values())
                found = {"codes": (lab.form.side // factor) ** 2, "nats": value}
                return {
                    **found,
                    "bits a pixel": value / math.log(2) / factor**2,
                    **common.rebuilt(lab, run, real),
                }

            report.row({"f": factor, "seed": seed}, measure)
    factors = sorted(lab.form.factors)
    shown += [common.load(lab.tokenizer(factor)).reconstruct(real[:8]) for factor in factors]
    report.sheet(torch.cat(shown), 8, ["real", *(f"f{factor}" for factor in factors)])
    report.claim(
        "reconstruction gets worse as f grows", *(report.mean("distance", f=factor) for factor in factors)
    )
    report.claim(
        "nats a token fall as f grows", *(report.mean("nats", f=factor) for factor in reversed(factors))
    )


if __name__ == "__main__":
    main()
