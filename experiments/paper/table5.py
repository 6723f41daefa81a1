"""How good are reconstructions by codes and codebook? The columns of Table 5 for tokenizers of ours.

Distances of reconstructions to real images, of held-out ones and of as many from training, in the space named
below. Steps, data and batch are the same for all.

    python experiments/paper/table5.py --data IMAGES
"""

import common
import results
import torch

PAPER = (
    "more codes an image and larger codebooks rebuild better: FID 7.94 (16 x 16, 1024 entries), 4.98 "
    "(16384), 1.49 (Gumbel, 32 x 32, 8192), 1.45 (64 x 64 and 32 x 32, 512)"
)
PREDICTION = (
    "the number of codes decides (FD of f 4 half that of f 8 or less); four times the entries gain less than "
    "half as much, since few steps leave many unused; Gumbel learns slower than VQ and is last of its factor"
)
SIZES, SHOWN = (64, 256, 1024), 6
GUMBEL = {"quantizer": {"kind": "gumbel", "codebook_size": 256}, "network.code_dim": 16}


def main() -> None:
    options = common.options(__doc__)
    lab = common.Lab(options)
    report = results.Report(options, globals(), lab)
    large, *others = sorted(lab.form.factors, reverse=True)
    members = [("vq", large, size, {"quantizer.codebook_size": size}) for size in SIZES]
    members = [(kind, f, size, {} if size == 256 else how) for kind, f, size, how in members]
    members += [("gumbel", large, 256, GUMBEL), *(("vq", factor, 256, {}) for factor in others[:2])]
    train, val = lab.real("train"), lab.real("val")
    for seed in options.seeds:
        for kind, factor, size, changes in members:

            def measure(factor: int = factor, changes: dict = changes, seed: int = seed) -> dict:
                run = lab.tokenizer(factor, seed, **changes)
                found = common.load(run)
                return {
                    "FD val": lab.frechet(found.reconstruct(val)),
                    "FD train": lab.frechet(found.reconstruct(train), lab.space.features(train)),
                    **common.rebuilt(lab, run, val),
                }

            codes = (lab.form.side // factor) ** 2
            report.row(
                {"quantizer": kind, "f": factor, "codes": codes, "entries": size, "seed": seed}, measure
            )
    near = [factor for _, factor, _, _ in members if factor != large]
    report.claim(
        "more codes rebuild better (256 entries)",
        *(report.mean("FD val", f=f, entries=256, quantizer="vq") for f in sorted([large, *near])),
    )
    report.claim(
        "more entries rebuild better",
        *(report.mean("FD val", f=large, entries=size, quantizer="vq") for size in reversed(SIZES)),
    )
    shown = [
        common.load(lab.tokenizer(factor, **how)).reconstruct(val[:SHOWN]) for _, factor, _, how in members
    ]
    rows = [f"{kind} f{factor} {size}" for kind, factor, size, _ in members]
    report.sheet(torch.cat([val[:SHOWN], *shown]), SHOWN, ["real", *rows])


if __name__ == "__main__":
    main()
