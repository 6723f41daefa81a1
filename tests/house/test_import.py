"""`import smalti` and `smalti --help` wait for nothing slow."""

import subprocess
import sys

from tiny import generator

import smalti
from smalti import library

SLOW = {"torch", "numpy", "PIL", "pydantic", "einops", "jaxtyping", "safetensors"}
LISTS = {"yaml", "annotated_types"}  # which the lists of commands and names do without as well
# what a drawing has no use for: training and its data, other projects' formats, evidence
UNUSED = {"einops", "sklearn", "skimage", "scipy", "torchmetrics", "tensorboard", "tifffile", "h5py"}
ROOMS = ("training", "data", "losses", "formats", "metrics", "demo")


def modules_after(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_is_light():
    assert not (SLOW | LISTS) & modules_after("import smalti")


def test_help_is_light():
    code = (
        "from click.testing import CliRunner\n"
        "from smalti.cli.main import group\n"
        "assert 'sample' in CliRunner().invoke(group, ['--help']).output"
    )
    assert not (SLOW | LISTS) & modules_after(code)


def test_help_of_each_command_is_light():
    """Also of those whose options are what the members of shelves offer."""
    code = (
        "from click.testing import CliRunner\n"
        "from smalti.cli.main import COMMANDS, group\n"
        "told = {name: CliRunner().invoke(group, [name, '--help']).output for name in COMMANDS}\n"
        "assert all('Usage: ' in text for text in told.values())\n"
        "assert '--label TEXT' in told['sample'] and '--confidence-noise' in told['complete']"
    )
    assert not SLOW & modules_after(code)


def test_a_model_imports_what_drawing_needs(tmp_path):
    library.save(generator(), tmp_path / "model")
    found = modules_after(f"import smalti\nsmalti.load({str(tmp_path / 'model')!r}).sample(label=0).images")
    assert not UNUSED & found
    assert not {f"smalti.{room}" for room in ROOMS} & found
    ours = {name for name in found if name.startswith(("smalti.priors.", "smalti.conditions."))}
    unused = {"masked", "modern", "llamagen", "neighbourhood", "map", "scene", "coordinates"}
    assert not unused & {name.rpartition(".")[2] for name in ours}, "members that the model does not name"


def test_public_names():
    assert smalti.__all__ == [
        "Pipeline",
        "Tokenizer",
        "UserError",
        "best_of",
        "evaluate",
        "grid",
        "load",
        "save",
        "save_all",
        "train",
    ]
    for name in smalti.__all__:
        assert getattr(smalti, name).__name__ == name
