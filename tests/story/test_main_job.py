"""A person's way: a folder of images, a tokenizer, a prior, new images; and every mistake on the way."""

from pathlib import Path

import torch
from PIL import Image

import smalti
from smalti import imaging

TOKENIZER = (
    "size=32",
    "batch=4",
    "steps=12",
    "network={width: 8, multipliers: [1, 2, 2], blocks: 1, attention_levels: [], latent_channels: 8, "
    "code_dim: 4, groups: 4}",
    "quantizer.codebook_size=16",
    "losses.perceptual.kind=none",
    "losses.adversarial={start: 6, discriminator_start: 4, ramp: 4, patchgan: {width: 8, layers: 2}}",
    "optimizer.lr=1.0e-3",
    "log_every=4",
    "workers=0",
)
PRIOR = (
    "size=32",
    "batch=8",
    "steps=10",
    "prior={kind: modern, layers: 2, heads: 2, width: 32}",
    "log_every=5",
)


def succeed(outcome):
    status, out, err = outcome
    assert status == 0, err
    return out


def test_from_a_folder_of_images_to_new_images(home, photos, smalti_command):
    run = smalti_command
    told = succeed(run("train", "tokenizer_300", "--data", photos, "--out", "runs/tokenizer", *TOKENIZER))
    assert told.splitlines()[-1] == "runs/tokenizer"
    assert "factor 4, 16 codes" in succeed(run("info", "runs/tokenizer"))

    told = succeed(run("reconstruct", "runs/tokenizer", photos / "lying" / "0.png", "rebuilt"))
    assert "dB" in told
    (rebuilt,) = Path("rebuilt").glob("*.png")
    assert imaging.open_rgb(rebuilt).shape == (3, 40, 40)

    succeed(run("encode", "runs/tokenizer", photos, "tokens", "--size", 32, "--crops", 3))
    words = ("train", "prior_300", "--data", "tokens", "--out", "runs/prior", *PRIOR)
    succeed(run(*words, "tokenizer=runs/tokenizer"))
    assert "lying, standing" in succeed(run("info", "runs/prior"))

    how = ("--size", "32x48", "--label", "standing", "--micro-batch", 2)
    first = succeed(run("sample", "runs/prior", "drawn", "--num", 2, "--seed", 5, *how)).split()
    again = succeed(run("sample", "runs/prior", "again", "--num", 1, "--seed", 6, *how)).split()
    pixels = [imaging.open_rgb(path) for path in (*first, *again)]
    assert pixels[0].shape == (3, 32, 48)
    assert torch.equal(pixels[1], pixels[2]), "image i of seed s is image 0 of seed s + i"
    metadata = imaging.read_metadata(first[1])
    assert metadata["seed"] == 6
    assert metadata["label"] == "standing"
    assert metadata["model"] in succeed(run("info", "runs/prior"))

    Image.open(photos / "lying" / "0.png").resize((57, 43)).save("odd.png")
    made = succeed(run("complete", "runs/prior", "odd.png", "made", "--label", "lying", "--num", 2)).split()
    assert [imaging.open_rgb(path).shape for path in made] == [(3, 32, 32)] * 2
    status, _, err = run("sample", "runs/prior", "elsewhere", "--label", "lying", "--device", "gpu")
    assert (status, "device=cpu" in err) == (2, True)


def test_python_and_resume(home, photos):
    network = {"width": 8, "multipliers": [1, 2, 2], "blocks": 1, "attention_levels": [], "groups": 4}
    changes = {
        "size": 32, "batch": 4, "steps": 6, "network": {**network, "latent_channels": 8, "code_dim": 4},
        "quantizer.codebook_size": 16, "losses.perceptual.kind": "none", "losses.adversarial": None,
        "discriminator_optimizer": None,
    }  # fmt: skip
    smalti.train("tokenizer_300", data=photos, out="runs/whole", **changes)
    smalti.train(
        "tokenizer_300", data=photos, out="runs/parts", **{**changes, "checkpoint_every": 3, "keep": 9}
    )
    whole = smalti.load("runs/whole")
    parts = smalti.load("runs/parts")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), parts.parameters(), strict=True))

    prior = {"size": 32, "batch": 4, "prior": {"kind": "gpt", "layers": 1, "heads": 2, "width": 16}}
    smalti.train("prior_300", data=photos, out="runs/prior", tokenizer="runs/whole", steps=3, **prior)
    smalti.train("prior_300", out="runs/prior", resume=True, steps=5)
    model = smalti.load("runs/prior")
    images = model.sample(num=2, label="lying", seed=0)
    assert [image.size for image in images] == [(32, 32)] * 2
    wide = model.sample(size=(32, 64), label="standing", seed=0).codes
    assert wide.shape == (1, 8, 16)


def mistakes(photos: Path) -> list[tuple[tuple[object, ...], str]]:
    """(command, a word that its complaint must hold)"""
    return [
        (("smaple", "a", "b"), "did you mean sample?"),
        (("train", "tokeniser_300", "--data", photos), "did you mean tokenizer_300?"),
        (
            ("train", "tokenizer_300", "--data", photos, "quantizer.codebok_size=3"),
            "quantizer.codebook_size?",
        ),
        (("train", "tokenizer_300", "--data", photos, "size=33"), "multiple of 8"),
        (("train", "tokenizer_300", "--data", photos, "batch=many"), "batch"),
        (("train", "tokenizer_300", "--data", photos, "steps"), "key=value"),
        (("train", "tokenizer_300", "--data", "nowhere"), "nowhere"),
        (("train", "tokenizer_300"), "data.root"),
        (("train", "tokenizer_300", "--out", "new", "--resume"), "settings.yaml"),
        (("train", "prior_300", "--data", photos), "smalti train tokenizer_300"),
        (("sample", "nowhere", "out"), "nowhere"),
        (("info", photos), "model folder"),
        (("sample", "nowhere", "out", "--size", "wide"), "HxW"),
    ]


def test_mistakes_are_told_in_one_line(home, photos, smalti_command):
    for words, hint in mistakes(photos):
        status, out, err = smalti_command(*words)
        complaint = err.strip().splitlines()[-1]
        assert status == 2, (words, out, err)
        assert hint in complaint, (words, complaint)
        assert "Traceback" not in err
        assert complaint.startswith(("smalti: expected", "Error")), complaint


def test_nothing_is_overwritten(home, photos, smalti_command):
    for command in (
        ("train", "tokenizer_300", "--data", photos, "--out", photos, *TOKENIZER),
        ("sample", "nowhere", photos),
        ("reconstruct", "nowhere", photos, photos),
        ("encode", "nowhere", photos, photos, "--size", 32),
        ("demo", "--out", photos),
    ):
        before = {path: path.stat().st_mtime_ns for path in photos.rglob("*")}
        status, _, err = smalti_command(*command)
        assert status == 2, command
        assert str(photos) in err
        assert {path: path.stat().st_mtime_ns for path in photos.rglob("*")} == before
