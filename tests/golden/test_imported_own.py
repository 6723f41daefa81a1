"""Do imported quantizers learn as those of 2021? Made by own/make.py: also where 2021's files are absent."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

OWN = Path(__file__).parent / "own"


@pytest.fixture(scope="module")
def make():
    sys.path.insert(0, str(OWN))
    import make

    sys.path.remove(str(OWN))
    return make


def below(tensors, start):
    return {name.removeprefix(start): t for name, t in tensors.items() if name.startswith(start)}


@pytest.mark.parametrize("kind", ["vq", "ema"])
def test_own_numbers_stay(kind, make):
    mine = below(load_file(OWN / "imported_tiny.safetensors"), f"{kind}/")
    pinned, found = below(mine, "learned/"), make.learned(below(mine, "state/"), mine["latents"])
    assert found.keys() == pinned.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(
            tensor, pinned[name], atol=1e-6, rtol=1e-5, msg=lambda t, n=name: f"{n}: {t}"
        )


def test_terms_are_weighed_as_in_2021(make):
    """Latents are drawn with weight 1, entries with beta = 0.25; with running means latents with beta."""
    for kind, weight in (("vq", 1.0), ("ema", 0.25)):
        mine = below(load_file(OWN / "imported_tiny.safetensors"), f"{kind}/")
        latents, entries = mine["latents"], mine["state/embedding.weight"]
        rows = latents.movedim(1, -1).flatten(0, 2)
        near = torch.cdist(rows, entries).argmin(-1)
        pulls = 2 * (rows - entries[near]) / rows.numel()
        found = mine["learned/to_latents"].movedim(1, -1).flatten(0, 2)
        torch.testing.assert_close(found, weight * pulls)
        if kind == "vq":
            sums = torch.zeros_like(entries).index_add_(0, near, -0.25 * pulls)
            torch.testing.assert_close(mine["learned/to_entries"], sums)
        else:  # decay 0.99, epsilon 1e-5: original.md, 1.2.5
            counts = torch.bincount(near, minlength=len(entries))
            size = 0.99 * mine["state/embedding.cluster_size"] + 0.01 * counts
            sums = torch.zeros_like(entries).index_add_(0, near, rows)
            sums = 0.99 * mine["state/embedding.embed_avg"] + 0.01 * sums
            smoothed = (size + 1e-5) / (size.sum() + len(entries) * 1e-5) * size.sum()
            torch.testing.assert_close(mine["learned/after/codebook.weight"], sums / smoothed[:, None])
