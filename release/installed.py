"""Is the wheel whole? It is installed where nothing else is, with each extra alone and with all, and used.

    python release/installed.py WHEEL [--story [PACKAGE ...]]

An environment with torch and the wheel stands below those of the extras, which add what they bring, so that
torch is installed once. In each one the command is run that the extra is for; without it, that command must
say which extra it needs, in one line. --story: the tests of tests/story too, from the installed package, with
the packages whose weights they read.
Prints what each adds in MB, and the licences of all that came.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
LICENCES = """
import importlib.metadata, json

def licence(about):
    lines = about.get_all("Classifier") or []
    told = [one.rsplit(" :: ", 1)[1] for one in lines if one.startswith("License")]
    return about.get("License-Expression") or ", ".join(told) or (about.get("License") or "not stated")[:60]

found = importlib.metadata.distributions()
print(json.dumps([[one.metadata["Name"], one.version, licence(one.metadata)] for one in found]))
"""
TIFF = """
import numpy, tifffile
tifffile.imwrite("one.tif", numpy.zeros((64, 64, 3), "uint16"), compression="deflate")
"""
IMAGES = """
import pathlib, numpy
from PIL import Image
for number in range(8):
    values = numpy.random.default_rng(number).integers(0, 255, (64, 80, 3), "uint8")
    folder = pathlib.Path("images" if number < 4 else "others")
    folder.mkdir(exist_ok=True)
    Image.fromarray(values).save(folder / f"{number}.png")
"""
# what each extra is for: Python that makes a file first, and the words of a command
USES = {
    "text": ("", ["sample", "emoji", "OUT", "--text", "red heart", "--num", "1"]),
    "eval": ("", ["evaluate", "others", "images", "--metrics", "fd", "--spaces", "lite0"]),
    "tiff": (TIFF, ["reconstruct", "emoji", "one.tif", "OUT"]),
    "edges": (
        "",
        ["train", "tokenizer_edges_minutes", "--data", "images", "--out", "OUT", "steps=1", "batch=1"],
    ),
    "train": (
        "",
        ["train", "tokenizer_hour", "--data", "images", "--out", "OUT", "steps=1", "batch=1", "size=32"],
    ),
    "studio": ("", ["studio", "--help"]),
    "onnx": ("", ["export", "emoji/tokenizer", "OUT", "--format", "onnx"]),
}
FREE = ("train", "studio", "tiff")  # here they work without their extra, or miss it later


@dataclass(frozen=True)
class Place:
    """An environment, and the one below it."""

    folder: Path
    below: "Place | None" = None

    def made(self) -> "Place":
        """Make it, empty."""
        venv.create(self.folder, with_pip=True, clear=True)
        if self.below is not None:
            (self.packages / "below.pth").write_text(f"{self.below.packages}\n")
        return self

    @property
    def packages(self) -> Path:
        (found,) = self.folder.glob("lib/python*/site-packages")
        return found

    @property
    def megabytes(self) -> float:
        return sum(one.lstat().st_size for one in self.packages.rglob("*") if one.is_file()) / 1e6

    def install(self, *words: str) -> None:
        pip = [
            str(self.folder / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "-q",
            "--disable-pip-version-check",
        ]
        subprocess.run([*pip, "-c", str(CONSTRAINTS), *words], check=True)

    def python(self, code: str, where: Path) -> str:
        words = [str(self.folder / "bin" / "python"), "-c", code]
        return subprocess.run(words, cwd=where, check=True, capture_output=True, text=True).stdout

    def smalti(self, words: list[str], where: Path) -> tuple[int, str]:
        """Run the command; returns its exit status and the last line that it says."""
        run = [str(self.folder / "bin" / "python"), "-m", "smalti", *words]
        done = subprocess.run(run, cwd=where, capture_output=True, text=True)
        return done.returncode, (done.stderr.strip() or done.stdout.strip()).splitlines()[-1]


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    given.add_argument("wheel", type=Path)
    given.add_argument("--story", nargs="*", metavar="PACKAGE")
    asked = given.parse_args()
    wheel = str(asked.wheel.absolute())
    print(f"{asked.wheel.name}: {asked.wheel.stat().st_size / 1e6:.1f} MB")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        core = Place(folder / "core").made()
        core.install(torch())
        before = core.megabytes
        core.install(wheel)
        print(f"without extras: {core.megabytes - before:.0f} MB beyond torch's {before:.0f}")
        failed = [extra for extra in USES if not works(extra, core, wheel, folder)]
        every = Place(folder / "all", core).made()
        every.install(f"{wheel}[{','.join(USES)}]")
        print(f"all extras: {every.megabytes:.0f} MB")
        if asked.story is not None:
            every.install(f"{wheel}[dev]")  # what tests need
            every.install("--no-deps", *asked.story)
            told(folder, every)
        for what, version, licence in sorted(json.loads(every.python(LICENCES, folder)), key=str):
            print(f"  {what} {version}: {licence.splitlines()[0]}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def torch() -> str:
    """Return the requirement of torch that the constraints name."""
    lines = CONSTRAINTS.read_text().splitlines()
    return next((line for line in lines if line.startswith("torch==")), "torch==2.13.0")


def works(extra: str, core: Place, wheel: str, folder: Path) -> bool:
    """Run what an extra is for without it and with it; print how that went."""
    made, words = USES[extra]
    place = Place(folder / extra, core).made()
    place.install(f"{wheel}[{extra}]")
    where = folder / f"files-{extra}"
    where.mkdir()
    place.python(IMAGES + made, where)
    status, line = core.smalti([word.replace("OUT", "without") for word in words], where)
    is_said = extra in FREE or (status == 2 and f"smalti[{extra}]" in line)
    begun = time.monotonic()
    done, last = place.smalti(words, where)
    print(f"{extra:<7} {place.megabytes:6.0f} MB  {time.monotonic() - begun:5.1f} s", end="  ")
    print("works" if done == 0 else f"FAILS: {last}", end="" if is_said else f"; without it: {line}\n")
    print()
    return done == 0 and is_said


def told(folder: Path, place: Place) -> None:
    """Run the tests that tell a story, against the installed package alone."""
    for name in ("tests", "docs"):
        shutil.copytree(ROOT / name, folder / "checkout" / name)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder / "checkout")
    python = str(place.folder / "bin" / "python")
    words = [python, "-m", "pytest", "-q", "-m", "not slow", "tests/story"]
    subprocess.run(words, cwd=folder / "checkout", check=True)


if __name__ == "__main__":
    main()
